//! The loss of a session is told, by the local clock, before anybody else is let in.

use super::prelude::*;
use crate::context::Waiting;

trials!("loss", Network: [
    a_holder_that_is_cut_off_is_told_before_the_next_is_let_in,
    a_holder_that_hears_nothing_is_told,
    a_holder_is_warned_half_way_to_the_loss,
    a_waiter_that_is_cut_off_is_told_if_its_place_matters,
    all_locks_of_a_session_are_lost_together,
    a_new_session_serves_later_acquisitions,
    a_session_that_ends_between_enqueue_and_answer_leaves_nothing,
    a_protected_future_ends_with_the_lock,
    the_way_back_does_not_revive_a_lost_guard,
    an_answer_that_comes_late_prolongs_nothing,
    a_request_that_comes_after_the_end_of_its_session_leaves_nothing,
]);

async fn a_holder_that_is_cut_off_is_told_before_the_next_is_let_in(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let waiting = context.enqueue(&b, bob.options(), 1).await?;
    let signal = guard.loss_signal();
    let told = tokio::spawn(async move { (signal.lost().await, tokio::time::Instant::now()) });
    alice.network()?.cut();
    let next = context.granted_in_the_end(waiting).await?;
    let let_in = tokio::time::Instant::now();
    check!(!guard.is_valid(), "two valid guards");
    let (loss, at) = tokio::time::timeout(context.patience(), told).await??;
    check!(at <= let_in, "told {:?} too late", at - let_in);
    check!(matches!(loss, Loss::Deadline | Loss::Expired), "lost because {loss}");
    check!(next.fencing_token() > guard.fencing_token(), "the new guard's token is not larger");
    let released = guard.release().await?;
    check!(matches!(released, Released::Lost(_)), "released: {released:?}");
    next.verify().await?;
    Ok(())
}

async fn a_holder_that_hears_nothing_is_told(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    alice.network()?.mute();
    tokio::time::timeout(context.patience(), guard.lost()).await?;
    check!(!guard.is_valid(), "lost, and still valid");
    let deadline = guard.deadline();
    check!(
        deadline.is_some_and(|deadline| deadline <= tokio::time::Instant::now()),
        "lost before {deadline:?}"
    );
    let next = b.acquire_timeout(context.patience()).await?;
    check!(next.is_some(), "the lock of a lost session is never free");
    Ok(())
}

/// Its place in the queue goes with its session.
async fn a_holder_is_warned_half_way_to_the_loss(context: Context) -> Verdict {
    let alice = context.client().await?;
    let guard = alice.locks.exclusive(context.name())?.acquire().await?;
    alice.network()?.cut();
    tokio::time::timeout(context.patience(), guard.at_risk()).await?;
    check!(guard.is_valid(), "warned when it is lost already");
    let deadline = guard.deadline().ok_or_else(|| Failure::new("cut off, and no deadline"))?;
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    // Half of four fifths.
    let expected = context.fixture().session_timeout().mul_f64(0.4);
    check!(left <= expected, "{left:?} before the loss instead of {expected:?}");
    tokio::time::timeout(context.patience(), guard.lost()).await?;
    tokio::time::timeout(context.patience(), guard.at_risk()).await?;
    Ok(())
}

async fn a_waiter_that_is_cut_off_is_told_if_its_place_matters(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let carol = context.client().await?;
    let [a, b, c] = [&alice, &bob, &carol].map(|client| client.locks.exclusive(context.name()));
    let (a, b, c) = (a?, b?, c?);
    let guard = a.acquire().await?;
    let cut_off = context.enqueue(&b, bob.options().with_requeue(false), 1).await?;
    let last = context.enqueue(&c, carol.options(), 2).await?;
    bob.network()?.cut();
    ends_with_its_session(&context, cut_off).await?;
    context.until_queue(&*a, "the lost entry is gone", |queue| queue.len() == 2).await?;
    check!(!last.is_finished(), "the loss of a waiter let somebody in");
    guard.verify().await?;
    drop(guard);
    drop(context.granted(last).await?);
    Ok(())
}

async fn ends_with_its_session(context: &Context, waiting: Waiting) -> Verdict {
    let ended = tokio::time::timeout(context.patience(), waiting).await??;
    check!(
        ended.as_ref().is_err_and(|error| error.kind() == ErrorKind::SessionLost),
        "the loss of the session is not the end, but {ended:?}"
    );
    Ok(())
}

async fn all_locks_of_a_session_are_lost_together(context: Context) -> Verdict {
    let alice = context.client().await?;
    let mut guards = Vec::new();
    for number in 0..100 {
        let name = format!("{}/{number}", context.name());
        guards.push(alice.locks.exclusive(&name)?.acquire().await?);
    }
    alice.network()?.cut();
    for guard in &guards {
        tokio::time::timeout(context.patience(), guard.lost()).await?;
        check!(!guard.is_valid(), "lost, and still valid");
    }
    Ok(())
}

async fn a_new_session_serves_later_acquisitions(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    let old = lock.acquire().await?;
    alice.network()?.cut();
    tokio::time::timeout(context.patience(), old.lost()).await?;
    alice.network()?.heal();
    // The old session's entry may still be there: it must be waited for, not adopted.
    let new = lock.acquire_timeout(context.patience()).await?;
    let new = new.ok_or_else(|| Failure::new("no new session after a loss"))?;
    check!(new.fencing_token() > old.fencing_token(), "the entry of a lost session was adopted");
    check!(!old.is_valid() && new.is_valid(), "the old guard lives on");
    drop(old);
    new.verify().await?;
    Ok(())
}

async fn a_session_that_ends_between_enqueue_and_answer_leaves_nothing(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = b.acquire().await?;
    alice.network()?.mute();
    let attempt = context.enqueue_unanswered(&a, alice.options().with_requeue(false), &b, 1).await?;
    alice.network()?.cut();
    ends_with_its_session(&context, attempt).await?;
    context.until_queue(&*b, "the lost entry is gone", |queue| queue.len() == 1).await?;
    alice.network()?.heal();
    drop(guard);
    let again = a.acquire_timeout(context.patience()).await?;
    check!(again.is_some(), "the client is of no use any more");
    Ok(())
}

async fn a_protected_future_ends_with_the_lock(context: Context) -> Verdict {
    let alice = context.client().await?;
    let guard = alice.locks.exclusive(context.name())?.acquire().await?;
    check!(guard.protect(async { 7 }).await? == 7, "a protected future has no output");
    alice.network()?.cut();
    let ended = guard.protect(std::future::pending::<()>());
    let ended = tokio::time::timeout(context.patience(), ended).await?;
    check!(
        ended.is_err_and(|error| error.kind() == ErrorKind::SessionLost && error.is_retryable()),
        "the loss is not the error"
    );
    Ok(())
}

async fn the_way_back_does_not_revive_a_lost_guard(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    alice.network()?.cut();
    tokio::time::timeout(context.patience(), guard.lost()).await?;
    alice.network()?.heal();
    // Even if the server had kept the session, its entry must go.
    let next = b.acquire_timeout(context.patience()).await?;
    check!(next.is_some(), "a lost session lives on");
    check!(!guard.is_valid(), "a lost guard is valid again");
    Ok(())
}

/// The server counts from when it got the renewal, so whoever sent it must not count from the answer.
async fn an_answer_that_comes_late_prolongs_nothing(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let waiting = context.enqueue(&b, bob.options(), 1).await?;
    let network = alice.network()?;
    network.delay();
    // More than the margin, and less than the session.
    tokio::time::sleep(context.fixture().session_timeout().mul_f64(0.45)).await;
    // The answers come, and no other renewal is heard.
    network.hold();
    let next = context.granted_in_the_end(waiting).await?;
    check!(!guard.is_valid(), "two valid guards");
    next.verify().await?;
    Ok(())
}

/// It was sent in time, on a connection that lives on.
async fn a_request_that_comes_after_the_end_of_its_session_leaves_nothing(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let sign = format!("{}/sign", context.name());
    let held = alice.locks.exclusive(&sign)?.acquire().await?;
    alice.network()?.hold();
    let sent = alice.network()?.held();
    let options = alice.options().with_requeue(false);
    let attempt = tokio::spawn(async move { a.acquire_with(&options).await });
    context.until("the request is sent", async || Ok(alice.network()?.held() > sent)).await?;
    let over = bob.locks.exclusive(&sign)?.acquire_timeout(context.patience()).await?;
    check!(over.is_some() && !held.is_valid(), "the session of whoever sends nothing lives on");
    alice.network()?.heal();
    ends_with_its_session(&context, attempt).await?;
    // It may still be on its way, and a server may need as long as a session lives to find that nobody renews it.
    for _ in 0..20 {
        let next = b.acquire_timeout(context.patience()).await?;
        check!(next.is_some(), "an entry of a session that has ended is in the way");
        drop(next);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

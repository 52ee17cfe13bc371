//! A short disconnect is no loss, and a lost reply leaves no orphan.

use super::prelude::*;

trials!("disconnect", Network: [
    a_holder_keeps_its_lock,
    a_waiter_keeps_its_place,
    many_short_disconnects_are_no_loss,
    a_lost_reply_to_the_enqueue_leaves_one_entry,
    a_cancelled_enqueue_without_reply_leaves_nothing,
    a_lost_reply_to_the_release_is_no_error,
    a_guard_dropped_while_disconnected_is_given_back,
    a_timeout_ends_while_disconnected,
    a_wake_up_during_the_disconnect_is_not_missed,
    a_request_that_comes_after_its_removal_brings_nothing_back,
]);

async fn a_holder_keeps_its_lock(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    alice.network()?.cut();
    check!(guard.is_valid(), "a disconnect is taken for a loss");
    alice.network()?.heal();
    context.until("the server confirms the hold", async || guard.verify().await.map(|()| true)).await?;
    let queue = b.queue().await?;
    check!(queue.len() == 1 && queue[0].token == guard.fencing_token(), "not the same entry: {queue:?}");
    let released = guard.release().await?;
    check!(released == Released::Held, "released: {released:?}");
    Ok(())
}

async fn a_waiter_keeps_its_place(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let carol = context.client().await?;
    let [a, b, c] = [&alice, &bob, &carol].map(|client| client.locks.exclusive(context.name()));
    let (a, b, c) = (a?, b?, c?);
    let guard = a.acquire().await?;
    let middle = context.enqueue(&b, bob.options(), 1).await?;
    let last = context.enqueue(&c, carol.options(), 2).await?;
    let before = a.queue().await?;
    bob.network()?.cut();
    bob.network()?.heal();
    drop(guard);
    let next = context.granted(middle).await?;
    check!(next.fencing_token() == before[1].token, "the waiter was queued anew");
    check!(!last.is_finished(), "somebody overtook a disconnected waiter");
    drop(next);
    drop(context.granted(last).await?);
    Ok(())
}

async fn many_short_disconnects_are_no_loss(context: Context) -> Verdict {
    let alice = context.client().await?;
    let guard = alice.locks.exclusive(context.name())?.acquire().await?;
    for _ in 0..10 {
        alice.network()?.cut();
        alice.network()?.heal();
        context.until("the server confirms the hold", async || guard.verify().await.map(|()| true)).await?;
    }
    check!(guard.is_valid(), "short disconnects are taken for a loss");
    Ok(())
}

async fn a_lost_reply_to_the_enqueue_leaves_one_entry(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    bob.network()?.mute();
    let unknown = context.enqueue_unanswered(&b, bob.options(), &a, 1).await?;
    let last = context.enqueue(&a, alice.options(), 2).await?;
    let before = a.queue().await?;
    bob.network()?.cut();
    bob.network()?.heal();
    drop(guard);
    let next = context.granted(unknown).await?;
    check!(next.fencing_token() == before[1].token, "enqueued again instead of adopted");
    let queue = a.queue().await?;
    check!(queue.len() == 2, "{} entries for two acquisitions", queue.len());
    drop(next);
    drop(context.granted(last).await?);
    Ok(())
}

async fn a_cancelled_enqueue_without_reply_leaves_nothing(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    bob.network()?.mute();
    let unknown = context.enqueue_unanswered(&b, bob.options(), &a, 1).await?;
    unknown.abort();
    bob.network()?.cut();
    bob.network()?.heal();
    context.until_queue(&*a, "only the holder is there", |queue| queue.len() == 1).await?;
    drop(guard);
    check!(b.acquire_timeout(context.patience()).await?.is_some(), "the client blocks itself");
    Ok(())
}

async fn a_lost_reply_to_the_release_is_no_error(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    alice.network()?.mute();
    let release = tokio::spawn(guard.release());
    context.until_empty(&*b).await?;
    let next = b.acquire().await?;
    alice.network()?.cut();
    alice.network()?.heal();
    let released = tokio::time::timeout(context.patience(), release).await???;
    check!(released == Released::Held, "released: {released:?}");
    next.verify().await?;
    Ok(())
}

async fn a_guard_dropped_while_disconnected_is_given_back(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let other = alice.locks.exclusive(&format!("{}/other", context.name()))?.acquire().await?;
    let guard = a.acquire().await?;
    alice.network()?.cut();
    drop(guard);
    alice.network()?.heal();
    let next = b.acquire_timeout(context.patience()).await?;
    check!(next.is_some(), "a guard that was dropped while disconnected holds on");
    check!(other.is_valid(), "it was given back only by losing the session");
    Ok(())
}

async fn a_timeout_ends_while_disconnected(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let brief = Duration::from_secs(1);
    let waiting = context.enqueue(&b, bob.options().with_wait(Wait::For(brief)), 1).await?;
    // Once this is answered, bob has heard of his entry too.
    b.queue().await?;
    bob.network()?.cut();
    check!(context.finished(waiting).await?.is_none(), "two holders");
    bob.network()?.heal();
    context.until_queue(&*a, "only the holder is there", |queue| queue.len() == 1).await?;
    guard.verify().await?;
    Ok(())
}

async fn a_wake_up_during_the_disconnect_is_not_missed(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let waiting = context.enqueue(&b, bob.options(), 1).await?;
    bob.network()?.cut();
    let released = guard.release().await?;
    check!(released == Released::Held, "released: {released:?}");
    bob.network()?.heal();
    drop(context.granted(waiting).await?);
    Ok(())
}

/// The client gave its connection up, asked again on another, gave the wait up, and the server said that the entry is gone.
async fn a_request_that_comes_after_its_removal_brings_nothing_back(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    bob.network()?.hold();
    let held = bob.network()?.held();
    let options = bob.options().with_wait(Wait::For(Duration::from_millis(300)));
    let waiting = tokio::spawn(async move { b.acquire_with(&options).await });
    context.until("the request is sent", async || Ok(bob.network()?.held() > held)).await?;
    bob.network()?.abandon();
    check!(context.finished(waiting).await?.is_none(), "two holders");
    context.until_queue(&*a, "only the holder is there", |queue| queue.len() == 1).await?;
    bob.network()?.deliver();
    for _ in 0..20 {
        let queue = a.queue().await?;
        check!(queue.len() == 1, "an entry came back that nobody waits with: {queue:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    guard.verify().await?;
    Ok(())
}

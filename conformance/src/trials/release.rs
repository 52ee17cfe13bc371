//! A release says whether the lock was held, and touches nobody else's entry.

use super::cancellation::poll_at_most;
use super::prelude::*;

trials!("release", Clients: [
    release_is_confirmed,
    a_dropped_release_goes_on,
    a_late_release_of_one_hold_leaves_the_next_alone,
]);

async fn release_is_confirmed(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let signal = guard.loss_signal();
    let released = guard.release().await?;
    check!(released == Released::Held, "released: {released:?}");
    check!(b.queue().await?.is_empty(), "released, but still in the queue");
    check!(signal.loss().is_none(), "a release is reported as a loss");
    Ok(())
}

async fn a_dropped_release_goes_on(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    for polls in 0.. {
        let guard = a.acquire().await?;
        let finished = poll_at_most(polls, guard.release()).await.transpose()?.is_some();
        let next = b.acquire_timeout(context.patience()).await?;
        check!(next.is_some(), "a release that was dropped after {polls} polls never happened");
        drop(next);
        context.until_empty(&*b).await?;
        if finished {
            break;
        }
    }
    Ok(())
}

async fn a_late_release_of_one_hold_leaves_the_next_alone(context: Context) -> Verdict {
    let alice = context.client().await?;
    let (first, second) = (alice.locks.shared(context.name())?, alice.locks.shared(context.name())?);
    let early = first.acquire().await?;
    let late = second.acquire().await?;
    // By position, the first entry would be removed.
    let released = late.release().await?;
    check!(released == Released::Held, "released: {released:?}");
    early.verify().await?;
    let token = early.fencing_token();
    let queue = first.queue().await?;
    check!(queue.len() == 1 && queue[0].token == token, "the wrong entry was removed: {queue:?}");
    Ok(())
}

//! Every guard carries a token that grows along the queue, for as long as the service lives.

use super::prelude::*;

trials!("fencing", Clients: [
    tokens_rise_from_guard_to_guard,
    tokens_rise_after_the_lock_was_unused,
    the_queue_shows_the_token_of_the_guard,
]);

async fn tokens_rise_from_guard_to_guard(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let mut last = None;
    for round in 0..5 {
        for client in [&alice, &bob] {
            for lock in [client.locks.exclusive(context.name())?, client.locks.shared(context.name())?] {
                let guard = lock.acquire().await?;
                let token = guard.fencing_token();
                check!(Some(token) > last, "round {round}: token {token} after {last:?}");
                last = Some(token);
                let released = guard.release().await?;
                check!(released == Released::Held, "released: {released:?}");
            }
        }
    }
    Ok(())
}

async fn tokens_rise_after_the_lock_was_unused(context: Context) -> Verdict {
    let mut last = None;
    for _ in 0..3 {
        let alice = context.client().await?;
        let lock = alice.locks.exclusive(context.name())?;
        let guard = lock.acquire().await?;
        let token = guard.fencing_token();
        check!(Some(token) > last, "token {token} after {last:?}");
        last = Some(token);
        drop(guard);
        context.until_empty(&*lock).await?;
        // The lock's data may go, and the session goes.
        alice.locks.cleanup().await?;
        alice.locks.close().await?;
    }
    Ok(())
}

async fn the_queue_shows_the_token_of_the_guard(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let waiting = context.enqueue(&b, bob.options(), 1).await?;
    let queue = a.queue().await?;
    check!(queue[0].token == guard.fencing_token(), "{queue:?} shows another token than {guard:?}");
    drop(guard);
    let next = context.granted(waiting).await?;
    check!(queue[1].token == next.fencing_token(), "a waiter's token changed with the grant");
    Ok(())
}

//! Every guard carries a token that grows along the queue, for as long as the service lives.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::try_join_all;
use lockcore::FencingToken;

use super::prelude::*;

trials!("fencing", Clients: [
    tokens_rise_from_guard_to_guard,
    tokens_rise_after_the_lock_was_unused,
    the_queue_shows_the_token_of_the_guard,
    tokens_rise_along_a_crowd,
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

/// All come at once, on connections of their own: whoever gets a token before he gets a place is overtaken in between.
async fn tokens_rise_along_a_crowd(context: Context) -> Verdict {
    const CROWD: usize = 8;
    let keeper = context.client().await?;
    let lock = keeper.locks.exclusive(context.name())?;
    let clients = try_join_all((0..CROWD).map(|_| context.client())).await?;
    let locks = clients.iter().map(|client| client.locks.exclusive(context.name()));
    let locks = locks.collect::<lockcore::Result<Vec<_>>>()?;
    for _ in 0..20 {
        let guard = lock.acquire().await?;
        let granted = Arc::<Mutex<Vec<FencingToken>>>::default();
        let crowd: Vec<_> =
            locks.iter().map(|lock| tokio::spawn(once(lock.clone(), granted.clone()))).collect();
        context.until_queue(&*lock, "all wait", |queue| queue.len() == CROWD + 1).await?;
        let queue = lock.queue().await?;
        check!(queue.is_sorted_by(|one, next| one.token < next.token), "tokens out of order: {queue:?}");
        drop(guard);
        for one in crowd {
            tokio::time::timeout(context.patience(), one).await???;
        }
        let tokens = granted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shown: Vec<_> = queue.iter().skip(1).map(|entry| entry.token).collect();
        check!(tokens == shown, "granted in the order {tokens:?}, queued in the order {shown:?}");
    }
    Ok(())
}

/// Has the lock once.
async fn once(
    lock: Arc<dyn DistributedLock>,
    granted: Arc<Mutex<Vec<FencingToken>>>,
) -> lockcore::Result<()> {
    let guard = lock.acquire().await?;
    granted.lock().unwrap_or_else(PoisonError::into_inner).push(guard.fencing_token());
    Ok(())
}

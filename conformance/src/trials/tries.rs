//! A try takes what is free, waits for nobody, and leaves nothing.

use super::prelude::*;

trials!("try", Clients: [
    a_try_takes_a_free_lock,
    failed_tries_leave_nothing,
    a_try_is_not_in_the_way,
]);

async fn a_try_takes_a_free_lock(context: Context) -> Verdict {
    let alice = context.client().await?;
    for lock in [
        alice.locks.exclusive(context.name())?,
        alice.locks.shared(context.name())?,
        alice.locks.semaphore(context.name(), 2)?,
    ] {
        check!(lock.acquirable().await?, "a free {} is not acquirable", lock.kind());
        let guard = lock.try_acquire().await?;
        let guard = guard.ok_or_else(|| Failure::new(format!("a free {} is not to be had", lock.kind())))?;
        let released = guard.release().await?;
        check!(released == Released::Held, "released: {released:?}");
    }
    Ok(())
}

async fn failed_tries_leave_nothing(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let guard = alice.locks.exclusive(context.name())?.acquire().await?;
    for lock in [bob.locks.exclusive(context.name())?, bob.locks.shared(context.name())?] {
        for _ in 0..10 {
            check!(lock.try_acquire().await?.is_none(), "a try succeeded beside a holder");
            check!(!lock.acquirable().await?, "acquirable, although somebody holds");
        }
    }
    let lock = bob.locks.exclusive(context.name())?;
    context.until_queue(&*lock, "only the holder is there", |queue| queue.len() == 1).await?;
    guard.verify().await?;
    Ok(())
}

async fn a_try_is_not_in_the_way(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    for _ in 0..10 {
        let guard = a.acquire().await?;
        check!(b.try_acquire().await?.is_none(), "a try succeeded beside a holder");
        drop(guard);
        let next = b.acquire_timeout(context.patience()).await?;
        check!(next.is_some(), "a failed try blocks the queue");
    }
    Ok(())
}

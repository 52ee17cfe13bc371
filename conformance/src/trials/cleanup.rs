//! Cleaning up removes leftovers, beside live locks.

use super::prelude::*;

trials!("cleanup", Clients: [
    unused_locks_leave_no_name,
    used_locks_are_left_alone,
    cleaning_does_not_disturb_acquisitions,
]);

async fn unused_locks_leave_no_name(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    for lock in [alice.locks.exclusive(context.name())?, alice.locks.semaphore(context.name(), 2)?] {
        drop(lock.acquire().await?);
        context.until_empty(&*lock).await?;
    }
    bob.locks.cleanup().await?;
    let name = context.name();
    let left = bob.locks.names().await?.iter().any(|key| key.name.as_str() == name);
    check!(!left, "an unused lock is still listed after cleaning up");
    Ok(())
}

async fn used_locks_are_left_alone(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let waiting = context.enqueue(&b, bob.options(), 1).await?;
    context.client().await?.locks.cleanup().await?;
    guard.verify().await?;
    check!(!waiting.is_finished(), "cleaning up let a waiter in");
    drop(guard);
    drop(context.granted(waiting).await?);
    Ok(())
}

async fn cleaning_does_not_disturb_acquisitions(context: Context) -> Verdict {
    let (alice, cleaner) = context.pair().await?;
    let lock = alice.locks.exclusive(context.name())?;
    let cleaning = tokio::spawn(async move {
        loop {
            cleaner.locks.cleanup().await?;
            tokio::task::yield_now().await;
        }
        #[allow(unreachable_code)]
        Ok::<_, lockcore::Error>(())
    });
    for _ in 0..100 {
        let released = lock.acquire().await?.release().await?;
        check!(released == Released::Held, "released: {released:?}");
    }
    check!(!cleaning.is_finished(), "cleaning up failed: {:?}", cleaning.await);
    cleaning.abort();
    Ok(())
}

//! A wait with a limit ends in time, and leaves nothing.

use super::prelude::*;

trials!("timeout", Clients: [
    timeout_leaves_nothing,
    timeout_does_not_disturb_others,
    zero_is_a_try,
    the_longest_duration_is_for_ever,
    a_lock_that_comes_in_time_is_had,
]);

const SHORT: Duration = Duration::from_millis(500);

async fn timeout_leaves_nothing(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    check!(b.acquire_timeout(SHORT).await?.is_none(), "two holders");
    context.until_queue(&*a, "only the holder is there", |queue| queue.len() == 1).await?;
    guard.verify().await?;
    Ok(())
}

async fn timeout_does_not_disturb_others(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let impatient = context.enqueue(&b, bob.options().with_wait(Wait::For(SHORT)), 1).await?;
    let patient = context.enqueue(&b, bob.options(), 2).await?;
    check!(context.finished(impatient).await?.is_none(), "two holders");
    check!(!patient.is_finished(), "a timeout let the next waiter in");
    drop(guard);
    drop(context.granted(patient).await?);
    Ok(())
}

async fn zero_is_a_try(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire_timeout(Duration::ZERO).await?;
    check!(guard.is_some(), "a free lock is not had with a timeout of zero");
    check!(b.acquire_timeout(Duration::ZERO).await?.is_none(), "two holders");
    context.until_queue(&*a, "only the holder is there", |queue| queue.len() == 1).await
}

async fn the_longest_duration_is_for_ever(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire_timeout(Duration::MAX).await?;
    check!(guard.is_some(), "a free lock is not had");
    let waiting = context.enqueue(&b, bob.options().with_wait(Wait::For(Duration::MAX)), 1).await?;
    drop(guard);
    drop(context.granted(waiting).await?);
    Ok(())
}

async fn a_lock_that_comes_in_time_is_had(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let waiting = context.enqueue(&b, bob.options().with_wait(Wait::For(context.patience())), 1).await?;
    drop(guard);
    drop(context.granted(waiting).await?);
    Ok(())
}

//! At most as many permits are held as there are, in the order of the queue.

use super::prelude::*;

trials!("semaphore", Clients: [
    as_many_hold_as_there_are_permits,
    departure_of_any_holder_lets_the_next_in,
    permits_are_taken_all_at_once,
    a_large_request_is_not_starved,
    disagreement_about_the_limit_is_an_error,
    the_limit_may_change_while_nobody_is_there,
    impossible_numbers_of_permits_are_refused,
    semaphores_and_locks_do_not_meet,
]);

async fn as_many_hold_as_there_are_permits(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.semaphore(context.name(), 3)?, bob.locks.semaphore(context.name(), 3)?);
    let mut guards = vec![a.acquire().await?, b.acquire().await?, a.acquire().await?];
    check!(b.try_acquire().await?.is_none(), "four hold three permits");
    let waiting = context.enqueue(&b, bob.options(), 3).await?;
    guards.pop();
    drop(context.granted(waiting).await?);
    Ok(())
}

async fn departure_of_any_holder_lets_the_next_in(context: Context) -> Verdict {
    for leaver in [1, 0] {
        let (alice, bob) = context.pair().await?;
        let (a, b) = (alice.locks.semaphore(context.name(), 2)?, bob.locks.semaphore(context.name(), 2)?);
        let mut guards = vec![a.acquire().await?, a.acquire().await?];
        let first = context.enqueue(&b, bob.options(), 2).await?;
        let second = context.enqueue(&b, bob.options(), 3).await?;
        drop(guards.remove(leaver));
        let next = context.granted(first).await?;
        check!(!second.is_finished(), "one departure let two in");
        drop(guards);
        drop((next, context.granted(second).await?));
        context.until_empty(&*a).await?;
    }
    Ok(())
}

async fn permits_are_taken_all_at_once(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.semaphore(context.name(), 3)?, bob.locks.semaphore(context.name(), 3)?);
    let first = a.acquire_with(&alice.options().with_permits(2)).await?;
    let waiting = context.enqueue(&b, bob.options().with_permits(2), 1).await?;
    check!(!b.acquirable().await?, "one permit is free, but a waiter is first");
    drop(first);
    drop(context.granted(waiting).await?);
    Ok(())
}

async fn a_large_request_is_not_starved(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.semaphore(context.name(), 3)?, bob.locks.semaphore(context.name(), 3)?);
    let small = a.acquire().await?;
    let large = context.enqueue(&b, bob.options().with_permits(3), 1).await?;
    check!(a.try_acquire().await?.is_none(), "a small request overtook a large one");
    let later = context.enqueue(&a, alice.options(), 2).await?;
    drop(small);
    let all = context.granted(large).await?;
    check!(!later.is_finished(), "more permits are held than there are");
    drop(all);
    drop(context.granted(later).await?);
    Ok(())
}

async fn disagreement_about_the_limit_is_an_error(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.semaphore(context.name(), 2)?, bob.locks.semaphore(context.name(), 3)?);
    let guard = a.acquire().await?;
    match b.acquire_timeout(context.patience()).await {
        Err(error) => check!(error.kind() == ErrorKind::LimitMismatch, "not a mismatch: {error:?}"),
        Ok(got) => check!(false, "two limits for one semaphore: {got:?}"),
    }
    context.until_queue(&*a, "the refused entry is gone", |queue| queue.len() == 1).await?;
    guard.verify().await?;
    Ok(())
}

async fn the_limit_may_change_while_nobody_is_there(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    drop(alice.locks.semaphore(context.name(), 2)?.acquire().await?);
    let lock = bob.locks.semaphore(context.name(), 5)?;
    context.until_empty(&*lock).await?;
    check!(lock.try_acquire().await?.is_some(), "an unused semaphore has a limit");
    Ok(())
}

async fn impossible_numbers_of_permits_are_refused(context: Context) -> Verdict {
    let alice = context.client().await?;
    let zero = alice.locks.semaphore(context.name(), 0);
    check!(zero.is_err_and(|error| error.kind() == ErrorKind::InvalidInput), "a limit of 0 is accepted");
    for (lock, permits) in [
        (alice.locks.semaphore(context.name(), 3)?, 0),
        (alice.locks.semaphore(context.name(), 3)?, 4),
        (alice.locks.exclusive(context.name())?, 2),
    ] {
        let refused = lock.acquire_with(&alice.options().with_permits(permits)).await;
        let refused = refused.is_err_and(|error| error.kind() == ErrorKind::InvalidInput);
        check!(refused, "{permits} permits of a {} are accepted", lock.kind());
        check!(lock.queue().await?.is_empty(), "a refused request left an entry");
    }
    Ok(())
}

async fn semaphores_and_locks_do_not_meet(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?.try_acquire().await?;
    let semaphore = alice.locks.semaphore(context.name(), 1)?.try_acquire().await?;
    check!(lock.is_some() && semaphore.is_some(), "a lock and a semaphore of one name exclude each other");
    Ok(())
}

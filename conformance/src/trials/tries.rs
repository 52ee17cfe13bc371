//! A try takes what is free, waits for nobody, and leaves nothing.

use super::prelude::*;

trials!("try", Clients: [
    a_try_takes_a_free_lock,
    failed_tries_leave_nothing,
    a_try_is_not_in_the_way,
    who_finds_too_many_ahead_gives_up_at_once,
    a_handle_waits_and_asks_as_it_was_told,
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

async fn who_finds_too_many_ahead_gives_up_at_once(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let behind = |most| bob.options().with_max_ahead(most);
    let free = b.acquire_with(&behind(0)).await?;
    check!(free.is_some(), "nobody is ahead, and it gives up");
    drop(free);
    let guard = a.acquire().await?;
    let first = context.enqueue(&b, behind(1), 1).await?;
    let second = tokio::time::timeout(context.patience(), b.acquire_with(&behind(1))).await??;
    check!(second.is_none(), "two were ahead, and it did not give up");
    context.until_queue(&*a, "who gave up is gone", |queue| queue.len() == 2).await?;
    check!(!first.is_finished(), "one was ahead, and it gave up");
    drop(guard);
    drop(context.granted(first).await?);
    Ok(())
}

async fn a_handle_waits_and_asks_as_it_was_told(context: Context) -> Verdict {
    let alice = context.client().await?;
    let options = alice.options().with_permits(3);
    // A busy server may need longer to answer than the other handle waits.
    let patient = alice.locks.semaphore(context.name(), 4)?.with_options(options.clone());
    let options = options.with_wait(Wait::For(Duration::from_millis(50)));
    let semaphore = alice.locks.semaphore(context.name(), 4)?.with_options(options);
    let guard = patient.acquire().await?;
    let queue = semaphore.queue().await?;
    check!(queue.len() == 1 && queue[0].label == alice.label, "{queue:?}");
    check!(queue.free_permits == Some(1), "{:?} of 4 are free, and 3 were asked for", queue.free_permits);
    let late = semaphore.acquire().await;
    check!(late.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotInTime), "{late:?}");
    check!(semaphore.try_with(|_| async {}).await?.is_none(), "it ran without the lock");
    let limit = Duration::from_millis(20);
    check!(semaphore.with_timeout(limit, |_| async {}).await?.is_none(), "it ran without the lock");
    let token = guard.fencing_token();
    drop(guard);
    context.until_empty(&*semaphore).await?;
    check!(
        semaphore.try_with(|held| async move { held.fencing_token() > token }).await? == Some(true),
        "it is free"
    );
    context.until_empty(&*semaphore).await
}

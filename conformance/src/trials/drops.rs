//! A guard that is dropped, anywhere and however, gives its lock back.

use super::prelude::*;

trials!("drop", Clients: [
    a_dropped_guard_gives_back,
    dropped_outside_a_runtime,
    dropped_by_a_panic,
    dropped_with_an_aborted_task,
    with_gives_back_whatever_happens,
]);

async fn a_dropped_guard_gives_back(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    drop(a.acquire().await?);
    let next = b.acquire_timeout(context.patience()).await?;
    check!(next.is_some(), "a dropped guard holds on");
    Ok(())
}

async fn dropped_outside_a_runtime(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let dropped = std::thread::spawn(move || drop(guard)).join();
    check!(dropped.is_ok(), "dropping a guard outside a runtime panics");
    let next = b.acquire_timeout(context.patience()).await?;
    check!(next.is_some(), "a guard that was dropped outside a runtime holds on");
    Ok(())
}

async fn dropped_by_a_panic(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let holder = tokio::spawn(async move {
        let _guard = a.acquire().await?;
        // Unlike `panic!` this does not call the panic hook, which would print a message.
        std::panic::resume_unwind(Box::new("the critical section panics"));
        #[allow(unreachable_code)]
        Ok::<_, lockcore::Error>(())
    });
    check!(holder.await.is_err_and(|error| error.is_panic()), "the holder did not panic");
    let next = b.acquire_timeout(context.patience()).await?;
    check!(next.is_some(), "a panicked holder holds on");
    Ok(())
}

async fn dropped_with_an_aborted_task(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let holder = tokio::spawn(async move {
        let guard = a.acquire().await?;
        std::future::pending::<()>().await;
        drop(guard);
        Ok::<_, lockcore::Error>(())
    });
    context.until_queue(&*b, "the holder is there", |queue| queue.len() == 1).await?;
    holder.abort();
    let next = b.acquire_timeout(context.patience()).await?;
    check!(next.is_some(), "an aborted holder holds on");
    Ok(())
}

async fn with_gives_back_whatever_happens(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let sum = a.with(|held| async move { held.fencing_token().get() }).await?;
    check!(sum > 0, "the closure has no token");
    check!(b.try_acquire().await?.is_some(), "still held after with()");
    context.until_empty(&*b).await?;
    let dropped = tokio::time::timeout(Duration::from_millis(50), a.with(|_| std::future::pending::<()>()));
    check!(dropped.await.is_err(), "a closure that never ends has ended");
    let next = b.acquire_timeout(context.patience()).await?;
    check!(next.is_some(), "a dropped with() holds on");
    Ok(())
}

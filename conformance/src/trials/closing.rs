//! Closing a service gives everything back at once.

use super::prelude::*;

trials!("close", Clients: [
    closing_gives_everything_back,
    a_closed_service_refuses,
    closing_ends_waiting,
]);

async fn closing_gives_everything_back(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let waiting = context.enqueue(&b, bob.options(), 1).await?;
    alice.locks.close().await?;
    check!(!guard.is_valid(), "a guard outlives its service");
    let loss = guard.lost().await;
    check!(loss == Loss::Closed, "lost because {loss}");
    let next = context.granted(waiting).await?;
    let released = guard.release().await?;
    check!(released == Released::Lost(Loss::Closed), "released: {released:?}");
    next.verify().await?;
    Ok(())
}

async fn a_closed_service_refuses(context: Context) -> Verdict {
    let alice = context.client().await?;
    let lock = alice.locks.exclusive(context.name())?;
    alice.locks.close().await?;
    alice.locks.close().await?;
    for refused in [
        lock.acquire().await.map(drop),
        lock.queue().await.map(drop),
        alice.locks.names().await.map(drop),
        alice.locks.cleanup().await.map(drop),
    ] {
        let refused = refused.is_err_and(|error| error.kind() == ErrorKind::Closed && !error.is_retryable());
        check!(refused, "a closed service works");
    }
    Ok(())
}

async fn closing_ends_waiting(context: Context) -> Verdict {
    let (alice, bob) = context.pair().await?;
    let (a, b) = (alice.locks.exclusive(context.name())?, bob.locks.exclusive(context.name())?);
    let guard = a.acquire().await?;
    let waiting = context.enqueue(&b, bob.options(), 1).await?;
    bob.locks.close().await?;
    let ended = tokio::time::timeout(context.patience(), waiting).await??;
    check!(ended.is_err_and(|error| error.kind() == ErrorKind::Closed), "waiting goes on after the close");
    context.until_queue(&*a, "only the holder is there", |queue| queue.len() == 1).await?;
    guard.verify().await?;
    Ok(())
}

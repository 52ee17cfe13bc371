//! `fairlock wait` and `fairlock check`: whether a lock is free, and when.

use std::process::ExitCode;
use std::time::Duration;

use fairlock::{DistributedLock, LockService, QueueEntry, Result as LockResult};

use crate::arguments::{CheckOptions, FreeOptions};
use crate::exit::{Failure, HELD, NOT_IN_TIME};
use crate::output;
use crate::queue::rows;
use crate::service::looking;

/// Returns when the lock is free. Takes nothing.
pub(crate) async fn wait(url: Option<&str>, options: &FreeOptions) -> Result<ExitCode, Failure> {
    match looking(url, async |service| becomes_free(service, options, None).await).await? {
        None => Ok(ExitCode::SUCCESS),
        Some(_) => Err(Failure::new(NOT_IN_TIME, "it was not free in time")),
    }
}

/// Says who holds the lock, if anybody does.
pub(crate) async fn check(url: Option<&str>, options: &CheckOptions) -> Result<ExitCode, Failure> {
    let free =
        async |service: &dyn LockService| becomes_free(service, &options.free, Some(Duration::ZERO)).await;
    let queue = looking(url, free).await?;
    let holders: Vec<QueueEntry> = queue.into_iter().flatten().filter(|entry| entry.holds).collect();
    if options.json {
        output::json(&rows(&holders))?;
    } else {
        holders.iter().try_for_each(|holder| output::line(crate::terminal::printable(&holder.label)))?;
    }
    Ok(if holders.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(HELD) })
}

/// Waits until the lock is free; the queue if it is not in time.
async fn becomes_free(
    service: &dyn LockService,
    options: &FreeOptions,
    default: Option<Duration>,
) -> Result<Option<Vec<QueueEntry>>, Failure> {
    let lock = options.lock.find(service).await?;
    if lock.acquirable().await? {
        return Ok(None);
    }
    let waited = match options.wait.or(default) {
        Some(limit) => tokio::time::timeout(limit, until_free(&*lock)).await.ok(),
        None => Some(until_free(&*lock).await),
    };
    match waited {
        Some(free) => free.map(|()| None).map_err(Failure::from),
        None => Ok(Some(lock.queue().await?.entries)),
    }
}

/// Goes on through what may be over later, as who waits for a lock does.
async fn until_free(lock: &dyn DistributedLock) -> LockResult<()> {
    /// How often to look by ourselves: of several that hold, any may leave, or a waiter behind them.
    const INTERVAL: Duration = Duration::from_secs(1);
    loop {
        match lock.acquirable().await {
            Ok(true) => return Ok(()),
            Err(error) if !error.is_retryable() => return Err(error),
            Ok(false) | Err(_) => {}
        }
        let head = lock.queue().await.unwrap_or_default().into_iter().next();
        let changed = lock.head_changed(head.as_ref().map(|entry| &entry.id));
        // An error comes at once, and is that of the next look too.
        if let Ok(Err(_)) = tokio::time::timeout(INTERVAL, changed).await {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

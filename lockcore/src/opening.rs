//! Opening sessions within the connect timeout, for drivers.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::error::{Effect, Error, ErrorKind, Result};

/// How long to wait before servers are tried again that could not be reached.
const PAUSE: Duration = Duration::from_millis(50);

/// The session that one attempt opens within `limit`, the [connect timeout](crate::QueueBackend::connect_timeout) of this
/// [place](crate::QueueBackend::place).
///
/// # Errors
///
/// That of the attempt; [`Unreachable`](ErrorKind::Unreachable) when the time is over.
///
/// # Cancel safety
///
/// Dropping it drops the attempt.
pub async fn open_once<S>(
    place: &str,
    limit: Duration,
    attempt: impl Future<Output = Result<S>> + Send,
) -> Result<S> {
    timeout(limit, attempt).await.unwrap_or_else(|_| Err(not_in_time(place, limit)))
}

/// The session that an attempt opens within `limit`, as [`open_once`] does; one that fails, and is
/// [worth it](Error::is_retryable), is followed by another.
///
/// # Errors
///
/// Those of [`open_once`]; when the time is over, why the last attempt failed is the source.
///
/// # Cancel safety
///
/// Dropping it drops the attempt that is under way.
pub async fn open_repeatedly<S, F>(
    place: &str,
    limit: Duration,
    attempt: impl Fn() -> F + Send + Sync,
) -> Result<S>
where
    S: Send,
    F: Future<Output = Result<S>> + Send,
{
    let mut failure = None;
    let opened = async {
        loop {
            match attempt().await {
                Err(error) if error.is_retryable() => failure = Some(error),
                opened => return opened,
            }
            sleep(PAUSE).await;
        }
    };
    if let Ok(opened) = timeout(limit, opened).await {
        return opened;
    }
    let late = not_in_time(place, limit);
    Err(match failure {
        Some(failure) => late.with_source(failure),
        None => late,
    })
}

fn not_in_time(place: &str, limit: Duration) -> Error {
    let message = format!("{place} did not answer within {limit:?}: see whether it runs and can be reached");
    Error::new(ErrorKind::Unreachable, message).with_effect(Effect::None)
}

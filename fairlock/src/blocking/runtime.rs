//! The thread on which sessions live, and how others wait for what happens there.

use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Waker};
use std::time::Duration;

use lockcore::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::coop::consume_budget;

/// Started at the first use, ends with the process.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime>> = OnceLock::new();
    let start = || {
        let mut builder = Builder::new_multi_thread();
        let started = builder.worker_threads(1).thread_name("fairlock").enable_all().build();
        started.map_err(|error| {
            Error::new(ErrorKind::Backend, "the thread of the blocking locks cannot be started")
                .with_source(error)
        })
    };
    RUNTIME.get_or_init(start).as_ref().map_err(Clone::clone)
}

/// Waits for the future on the calling thread.
pub(super) fn wait<F: Future>(future: F) -> Result<F::Output> {
    if is_async() {
        let message = "called inside an async context, which it would block: use the async locks there, or tokio's spawn_blocking";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(runtime()?.block_on(future))
}

/// Waits for the future, at most for this long.
pub(super) fn wait_for<F: Future>(limit: Duration, future: F) -> Result<Option<F::Output>> {
    // The timer belongs to the runtime.
    wait(async { tokio::time::timeout(limit, future).await.ok() })
}

/// Whether this thread is polling a task of tokio's now.
///
/// Threads for blocking know their runtime as well. What they do not have is the budget that makes a task yield, and tokio tells nobody
/// but by a panic: so we see whether it is ever used up.
fn is_async() -> bool {
    /// More than tokio gives.
    const STEPS: usize = 1024;
    let step = |_| pin!(consume_budget()).poll(&mut Context::from_waker(Waker::noop())).is_pending();
    Handle::try_current().is_ok() && (0..STEPS).any(step)
}

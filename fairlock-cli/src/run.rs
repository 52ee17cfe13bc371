//! `fairlock run`: a program under a lock.

use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlock::{DistributedLock, LockGuard, LockService, Released, Result as LockResult};

use crate::arguments::RunOptions;
use crate::child::{self, Ended};
use crate::exit::{self, Failure};
use crate::output;
use crate::progress::Progress;
use crate::service::{close, connect, place, shown};
use crate::signals::Signals;

pub(crate) async fn run(url: Option<&str>, options: &RunOptions) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    if options.verbose {
        output::diagnostic(format_args!("the locks live at {}", shown(&place(url)?)?));
    }
    let service = tokio::select! {
        biased;
        signal = signals.ending() => return Ok(exit::by_signal(signal)),
        service = connect(url) => service?,
    };
    let ended = under_lock(&*service, options, &mut signals).await;
    close(&*service).await;
    ended
}

async fn under_lock(
    service: &dyn LockService,
    options: &RunOptions,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    if !service.capabilities().interprocess {
        let message = "no other process shares these locks: run needs a directory or a server, \
                       for example --url file:///var/lib/app/locks or --url zookeeper://localhost:2181";
        return Err(Failure::new(exit::CONFIG, message));
    }
    let lock = lock(service, options)?;
    let guard = tokio::select! {
        biased;
        signal = signals.ending() => return Ok(exit::by_signal(signal)),
        guard = acquire(&*lock, options) => guard?,
    };
    match guard {
        Some(guard) => holding(guard, options, signals).await,
        None => {
            let message = format!("{:?} was not free in time", options.name);
            Err(Failure::new(options.conflict_exit_code, message))
        }
    }
}

async fn acquire(lock: &dyn DistributedLock, options: &RunOptions) -> LockResult<Option<LockGuard>> {
    let acquire = options.acquire();
    if !options.verbose {
        return lock.acquire_with(&acquire).await;
    }
    let (start, mut progress) = (Instant::now(), Progress::new());
    let guard = tokio::select! {
        biased;
        guard = lock.acquire_with(&acquire) => guard?,
        never = progress.follow(lock, acquire.label.as_deref().unwrap_or_default()) => never,
    };
    drop(progress);
    if let Some(guard) = &guard {
        let waited = humantime::format_duration(Duration::from_millis(start.elapsed().as_millis() as u64));
        let token = guard.fencing_token();
        output::diagnostic(format_args!("got {:?} after {waited}, token {token}", options.name));
    }
    Ok(guard)
}

fn lock(service: &dyn LockService, options: &RunOptions) -> LockResult<Arc<dyn DistributedLock>> {
    match options.semaphore {
        Some(limit) => service.semaphore(&options.name, limit),
        None if options.shared => service.shared(&options.name),
        None => service.exclusive(&options.name),
    }
}

async fn holding(guard: LockGuard, options: &RunOptions, signals: &mut Signals) -> Result<ExitCode, Failure> {
    let mut child = child::spawn(&options.command(), &guard)?;
    match child::supervise(&mut child, &guard, signals, options.grace).await? {
        Ended::Exited(status) => release(guard, status).await,
        Ended::LockLost(loss) => Err(Failure::new(exit::LOST, format!("lost {:?}: {loss}", options.name))),
    }
}

/// A loss that only the release finds out matters most where the program thinks that all went well.
async fn release(guard: LockGuard, status: ExitStatus) -> Result<ExitCode, Failure> {
    let name = guard.name().clone();
    let trouble = match guard.release().await {
        Ok(Released::Held) => return Ok(exit::of_child(status)),
        Ok(Released::Lost(loss)) => Failure::new(exit::LOST, format!("lost {name:?}: {loss}")),
        Err(error) => Failure::from(error).during("the lock will be free when the session ends"),
    };
    if status.success() {
        return Err(trouble);
    }
    let _ = trouble.report();
    Ok(exit::of_child(status))
}

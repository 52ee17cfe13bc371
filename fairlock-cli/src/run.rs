//! `fairlock run`: a program under a lock.

use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlock::{DistributedLock, LockGuard, LockService, Released, Result as LockResult};

use crate::arguments::RunOptions;
use crate::exit::{self, Failure};
use crate::output;
use crate::progress::Progress;
use crate::service::{close, connect, place, shown};
use crate::signals::Signals;
use crate::supervise::{Ended, Standby, Supervised, Terms};

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
    let terms = terms(options, service.session_time())?;
    let lock = lock(service, options)?;
    let standby = Standby::new(&options.command(), lock.name(), terms)?;
    let guard = tokio::select! {
        biased;
        signal = signals.ending() => return Ok(exit::by_signal(signal)),
        guard = acquire(&*lock, options) => guard?,
    };
    match guard {
        Some(guard) => holding(guard, standby, options, terms, signals).await,
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

/// The grace ends with the time for which the lock is sure to be held: four fifths of the session after the last renewal.
/// It may take half of that. So it begins when one renewal has failed and the next one as well, which are due in each
/// sixth of a session, and no earlier.
fn longest_grace(session: Duration) -> Duration {
    session.saturating_mul(2) / 5
}

/// The grace, if the session is long enough for it.
fn terms(options: &RunOptions, session: Option<Duration>) -> Result<Terms, Failure> {
    const DEFAULT: Duration = Duration::from_secs(10);
    let longest = session.map_or(Duration::MAX, longest_grace);
    let grace = options.grace.unwrap_or(DEFAULT.min(longest));
    if grace > longest {
        let [grace, longest] = [grace, longest].map(humantime::format_duration);
        let session = humantime::format_duration(session.unwrap_or_default());
        let message = format!(
            "--grace {grace} is too long: at most {longest}, two fifths of the session of {session}, as the program \
             must be gone before the server lets somebody else in"
        );
        return Err(Failure::new(exit::USAGE, message));
    }
    Ok(Terms { grace, session })
}

async fn holding(
    guard: LockGuard,
    mut standby: Standby,
    options: &RunOptions,
    terms: Terms,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    if !standby.is_ready()? {
        standby = Standby::new(&options.command(), guard.name(), terms)?;
    }
    let mut supervised = Supervised::start(standby, &guard, terms)?;
    let ended = supervised.attend(signals).await?;
    let _link = supervised.into_link();
    match ended {
        Ended::Exited(status) => release(guard, status).await,
        Ended::Revoked => Err(revoked(guard).await),
    }
}

/// Even if the session has recovered meanwhile, the program could not do what it was to do.
async fn revoked(guard: LockGuard) -> Failure {
    let name = guard.name().clone();
    let why = match guard.release().await {
        Ok(Released::Lost(loss)) => loss.to_string(),
        Ok(Released::Held) | Err(_) => {
            "it was given back, as the service did not answer for too long".to_owned()
        }
    };
    Failure::new(exit::LOST, format!("lost {name:?}: {why}"))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lockcore::session::{Clock, LeaseClock};

    use super::longest_grace;

    #[test]
    fn the_longest_grace_leaves_time_for_a_renewal_that_failed() {
        for session in [1, 2, 3, 10, 60].map(Duration::from_secs) {
            let renewed = Clock::Boot.now();
            let lease = LeaseClock::new(Some(session), renewed);
            let sure = renewed.until(lease.deadline().unwrap());
            let told = sure - longest_grace(session);
            assert!(told > 2 * lease.renewal_interval().unwrap(), "{session:?}");
            assert_eq!(told, longest_grace(session), "half of the time for which the lock is sure");
        }
    }
}

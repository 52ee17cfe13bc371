//! `fairlock run`: a program under a lock.

use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlock::{DistributedLock, LockService, LockServiceExt, Released, Result as LockResult, RunEnd, Turn};

use crate::arguments::RunOptions;
use crate::exit::{self, Failure};
use crate::held::Held;
use crate::link::SHARED;
use crate::output;
use crate::patience::Patience;
use crate::progress::Progress;
use crate::service::{close, connect, place, shown};
use crate::signals::Signals;
use crate::supervise::{Ended, Standby, Supervised, Terms};

pub(crate) async fn run(url: Option<&str>, options: &RunOptions) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new()?;
    if options.verbose {
        output::diagnostic(format_args!("the locks live at {}", shown(&place(url)?)?));
    }
    let patience = Patience::new(options.acquire().wait);
    let service = tokio::select! {
        biased;
        signal = signals.ending() => return Ok(exit::by_signal(signal)),
        service = patience.repeat(|| connect(url)) => service?,
    };
    let ended = under_lock(&*service, options, patience, &mut signals).await;
    close(&*service).await;
    ended
}

async fn under_lock(
    service: &dyn LockService,
    options: &RunOptions,
    patience: Patience,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    if !service.capabilities().interprocess {
        let message = "no other process shares these locks: run needs a directory or a server, \
                       for example --url file:///var/lib/app/locks or --url zookeeper://localhost:2181";
        return Err(Failure::new(exit::CONFIG, message));
    }
    // One of the open files is the program's input.
    if options.and.len() + 2 > SHARED {
        let message = format!("--and can be given {} times at most", SHARED - 2);
        return Err(Failure::new(exit::USAGE, message));
    }
    let terms = terms(options, service.session_time())?;
    let lock = lock(service, options)?;
    let command = options.command();
    let prepare = async || Ok(Standby::new(&command, lock.name(), terms)?);
    let taken = tokio::select! {
        biased;
        signal = signals.ending() => return Ok(exit::by_signal(signal)),
        taken = async {
            let mut standby = patience.repeat(&prepare).await?;
            let taken = take(service, &lock, options).await?;
            // Somebody may have killed it meanwhile, or it failed for want of open files.
            if matches!(taken, Taken::Held(_)) && !standby.is_ready()? {
                standby = patience.repeat(&prepare).await?;
            }
            Ok::<_, Failure>((taken, standby))
        } => taken?,
    };
    let (taken, standby) = taken;
    match taken {
        Taken::Held(held) => holding(held, standby, options, terms, signals).await,
        Taken::NotInTime => {
            let message = format!("{:?} was not free in time", options.name);
            Err(Failure::new(options.conflict_exit_code, message))
        }
        Taken::NotNeeded(why) => {
            if options.verbose {
                output::diagnostic(why);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

enum Taken {
    Held(Held),
    NotInTime,
    /// The job has run, or is being run by somebody else.
    NotNeeded(String),
}

async fn take(
    service: &dyn LockService,
    lock: &Arc<dyn DistributedLock>,
    options: &RunOptions,
) -> Result<Taken, Failure> {
    if let Some(period) = options.once_per {
        return begin(service, period, options).await;
    }
    let held = match options.and.is_empty() {
        true => acquire(&**lock, options).await?,
        false => acquire_all(service, lock, options).await?,
    };
    Ok(held.map_or(Taken::NotInTime, Taken::Held))
}

/// Begins a run of the job, if it is due.
async fn begin(service: &dyn LockService, period: Duration, options: &RunOptions) -> Result<Taken, Failure> {
    let name = &options.name;
    let mut job = service.once(name, period)?.with_label(options.label());
    if options.again_if_unfinished {
        job = job.again_if_unfinished();
    }
    if options.again_if_failed {
        job = job.again_if_failed();
    }
    Ok(match job.begin().await? {
        Turn::Ran(run) => Taken::Held(Held::Job(run)),
        Turn::Busy => Taken::NotNeeded(format!("{name:?} is held: somebody else is at it")),
        Turn::NotDue(last) => {
            let began = humantime::format_rfc3339_seconds(last.started);
            Taken::NotNeeded(format!("{name:?} is not due: {} began it at {began}", last.by))
        }
    })
}

async fn acquire_all(
    service: &dyn LockService,
    lock: &Arc<dyn DistributedLock>,
    options: &RunOptions,
) -> Result<Option<Held>, Failure> {
    let mut acquire = options.acquire();
    let first = (lock, std::mem::replace(&mut acquire.permits, 1));
    let others = options.and.iter().map(|name| service.exclusive(name));
    let others = others.collect::<LockResult<Vec<_>>>()?;
    let all = std::iter::once(first).chain(others.iter().map(|lock| (lock, 1)));
    Ok(service.all(all)?.acquire_with(&acquire).await?.map(Held::Several))
}

async fn acquire(lock: &dyn DistributedLock, options: &RunOptions) -> LockResult<Option<Held>> {
    let acquire = options.acquire();
    if !options.verbose {
        return Ok(lock.acquire_with(&acquire).await?.map(Held::Lock));
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
    Ok(guard.map(Held::Lock))
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
    mut held: Held,
    standby: Standby,
    options: &RunOptions,
    terms: Terms,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    let began = tokio::time::Instant::now();
    let mut supervised = Supervised::start(standby, &held, terms)?;
    let ended = supervised.attend(signals).await?;
    let asked = supervised.was_asked();
    let _link = supervised.into_link();
    match ended {
        Ended::Exited(status) => {
            held.ended(end_of(status)).await;
            if let Some(least) = options.at_least.filter(|_| !asked) {
                keep(&held, began + least, signals).await;
            }
            release(held, &options.name, status).await
        }
        Ended::Revoked => {
            held.ended(RunEnd::Lost("the program was ended for want of the lock".to_owned())).await;
            Err(revoked(held, &options.name).await)
        }
    }
}

/// How a program has ended, for the record of its job.
fn end_of(status: ExitStatus) -> RunEnd {
    match status.success() {
        true => RunEnd::Succeeded,
        // Such as `exit status: 3`.
        false => RunEnd::Failed(status.to_string()),
    }
}

/// Keeps the lock until then, unless a signal asks to end.
async fn keep(held: &Held, until: tokio::time::Instant, signals: &mut Signals) {
    tokio::select! {
        () = tokio::time::sleep_until(until) => {}
        _ = signals.ending() => {}
        _ = held.lost() => {}
    }
}

/// Even if the session has recovered meanwhile, the program could not do what it was to do.
async fn revoked(held: Held, name: &str) -> Failure {
    let why = match held.release().await {
        Ok(Released::Lost(loss)) => loss.to_string(),
        Ok(Released::Held) | Err(_) => {
            "it was given back, as the service did not answer for too long".to_owned()
        }
    };
    Failure::new(exit::LOST, format!("lost {name:?}: {why}"))
}

/// A loss that only the release finds out matters most where the program thinks that all went well.
async fn release(held: Held, name: &str, status: ExitStatus) -> Result<ExitCode, Failure> {
    let trouble = match held.release().await {
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

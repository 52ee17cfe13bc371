//! `fairlock run`: a program under a lock.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use fairlock::{DistributedLock, LockService, Released, RunEnd};

use crate::arguments::RunOptions;
use crate::environment::{Outer, refuse_nested, variables};
use crate::exit::{self, Exit, Failure};
use crate::held::Held;
use crate::link::SHARED;
use crate::output;
use crate::patience::Patience;
use crate::service::{check_shared, close, connect, place, shown};
use crate::signals::Signals;
use crate::supervise::{Ended, Standby, Supervised, Terms};
use crate::taking::{Taken, locks, take};

/// Runs the program; `started` is told when it runs.
pub(crate) async fn run(
    url: Option<&str>,
    options: &RunOptions,
    started: impl FnOnce(),
) -> Result<Exit, Failure> {
    let mut signals =
        Signals::new().map_err(|error| Failure::from(error).during("no signals can be received"))?;
    let place = place(url)?;
    if options.wanted.verbose {
        output::diagnostic(format_args!("the locks live at {}", shown(&place)?));
    }
    let patience = Patience::new(options.acquire().wait);
    let service = tokio::select! {
        biased;
        signal = signals.ending() => return Ok(Exit::Signal(signal)),
        service = patience.repeat(|| connect(url)) => service?,
    };
    let work = Work { service: &*service, place: &place, options, patience };
    let ended = work.under_lock(&mut signals, started).await;
    close(&*service).await;
    ended
}

/// A program that is to run under its lock.
struct Work<'w> {
    service: &'w dyn LockService,
    place: &'w str,
    options: &'w RunOptions,
    patience: Patience,
}

impl Work<'_> {
    async fn under_lock(&self, signals: &mut Signals, started: impl FnOnce()) -> Result<Exit, Failure> {
        let Self { service, place, options, .. } = self;
        check(*service, options)?;
        let terms = terms(options, service.session_time())?;
        let locks = locks(*service, options)?;
        if options.may_wait_for_itself() {
            refuse_nested(&locks).await?;
        }
        let (taken, standby) = tokio::select! {
            biased;
            signal = signals.ending() => return Ok(Exit::Signal(signal)),
            taken = self.take(&locks, terms) => taken?,
        };
        match taken {
            Taken::Held(held) => {
                let variables = told(place, &locks, &held)?;
                holding(held, standby, variables, options, terms, signals, started).await
            }
            Taken::NotInTime => Err(options.wanted.not_in_time()),
            Taken::NotNeeded(why) => {
                if options.wanted.verbose {
                    output::diagnostic(why);
                }
                Ok(Exit::Code(0))
            }
        }
    }

    /// Takes the locks, and has a process ready for the program.
    async fn take(
        &self,
        locks: &[Arc<dyn DistributedLock>],
        terms: Terms,
    ) -> Result<(Taken, Standby), Failure> {
        let command = self.options.command();
        let failed = |error| Failure::from(error).during("no process can be started for the program");
        let prepare = async || Standby::new(&command, terms).map_err(failed);
        let mut standby = self.patience.repeat(&prepare).await?;
        let taken = take(self.service, locks, self.options).await?;
        // Somebody may have killed it meanwhile, or it failed for want of open files.
        if matches!(taken, Taken::Held(_)) && !standby.is_ready()? {
            standby = self.patience.repeat(&prepare).await?;
        }
        Ok((taken, standby))
    }
}

fn check(service: &dyn LockService, options: &RunOptions) -> Result<(), Failure> {
    check_shared(service)?;
    // One of the open files is the program's input.
    if options.and.len() + 2 > SHARED {
        let message = format!("--and can be given {} times at most", SHARED - 2);
        return Err(Failure::new(exit::USAGE, message));
    }
    Ok(())
}

/// What the program is told of its locks.
fn told(
    place: &str,
    locks: &[Arc<dyn DistributedLock>],
    held: &Held,
) -> Result<Vec<(String, String)>, Failure> {
    let guards = held.guards();
    let inner = locks.iter().zip(&guards).map(|(lock, guard)| Outer::new(&**lock, guard.fencing_token()));
    variables(place, &*locks[0], guards[0].id().as_str(), inner.collect())
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
    Ok(Terms { grace, session, close: options.close })
}

async fn holding(
    mut held: Held,
    standby: Standby,
    variables: Vec<(String, String)>,
    options: &RunOptions,
    terms: Terms,
    signals: &mut Signals,
    started: impl FnOnce(),
) -> Result<Exit, Failure> {
    let began = tokio::time::Instant::now();
    let mut supervised = Supervised::start(standby, &held, variables, terms)?;
    started();
    let ended = supervised.attend(signals).await?;
    let asked = supervised.was_asked();
    let _link = supervised.into_link();
    match ended {
        Ended::Exited(status) => {
            held.ended(end_of(status)).await;
            if let Some(least) = options.at_least.filter(|_| !asked) {
                keep(&held, began + least, signals).await;
            }
            release(held, &options.wanted.name, status).await
        }
        Ended::Revoked => {
            held.ended(RunEnd::Lost("the program was ended for want of the lock".to_owned())).await;
            Err(revoked(held, &options.wanted.name).await)
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
async fn release(held: Held, name: &str, status: ExitStatus) -> Result<Exit, Failure> {
    let trouble = match held.release().await {
        Ok(Released::Held) => return Ok(Exit::of_child(status)),
        Ok(Released::Lost(loss)) => Failure::new(exit::LOST, format!("lost {name:?}: {loss}")),
        Err(error) => Failure::from(error).during("the lock will be free when the session ends"),
    };
    if status.success() {
        return Err(trouble);
    }
    let _ = trouble.report();
    Ok(Exit::of_child(status))
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

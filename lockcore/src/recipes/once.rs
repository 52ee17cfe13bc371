//! Scheduled work: at most once in a period, whoever comes.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::error::{Error, Result, invalid_input};
use crate::guard::LockGuard;
use crate::lock::DistributedLock;
use crate::loss_signal::HeldLock;
use crate::name::LockName;
use crate::options::{AcquireOptions, Wait};
use crate::queue::default_label;
use crate::recipes::run::{LastRun, RunEnd};
use crate::record::Recorded;
use crate::session::Loss;

/// A job that runs at most once in a period, over all machines that try: when it ran last is recorded where the lock lives.
///
/// Whoever comes looks at the record, takes the exclusive lock of that name if the job is due and nobody else has it, looks again, records
/// that it begins, does the work, records how that ended. A run counts from its beginning, also if it fails or breaks off: so a job whose
/// machine dies in the middle runs again in the next period, not in this one, unless it is told [otherwise](Self::again_if_unfinished).
///
/// Two runs begin at least a period apart, less a [tolerance](Self::with_tolerance), by the clock of the server where that tells the
/// time (Redis), else by the clocks of the machines.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use lockcore::{LockService, LockServiceExt, Turn};
///
/// // Called by a timer of every machine.
/// async fn nightly(locks: &dyn LockService) -> lockcore::Result<()> {
///     let job = locks.once("nightly", Duration::from_secs(24 * 3600))?;
///     match job.run(|_held| async { report().await }).await? {
///         Turn::Ran(Ok(pages)) => println!("{pages} pages"),
///         Turn::Ran(Err(error)) => println!("it failed: {error}"),
///         Turn::NotDue(last) => println!("{} began it at {:?}", last.by, last.started),
///         Turn::Busy => println!("somebody is at it"),
///     }
///     Ok(())
/// }
/// # async fn report() -> Result<u32, std::io::Error> { Ok(1) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is run before run() is called"]
pub struct Once {
    lock: Arc<dyn DistributedLock>,
    period: Duration,
    tolerance: Duration,
    hold_at_least: Duration,
    again_if_unfinished: bool,
    again_if_failed: bool,
    options: AcquireOptions,
}

/// What came of a [turn](Once::run).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the job may not have run"]
pub enum Turn<T> {
    /// The job ran, with this result.
    Ran(T),
    /// It ran in this period already.
    NotDue(LastRun),
    /// Somebody else has the lock, and is likely to be running it.
    Busy,
}

impl Once {
    /// The longest tolerance that is not asked for.
    const TOLERANCE: Duration = Duration::from_secs(60);

    pub(super) fn new(lock: Arc<dyn DistributedLock>, period: Duration) -> Result<Self> {
        if period.is_zero() {
            return Err(invalid_input("a job runs at most once in a period that is longer than nothing"));
        }
        Ok(Self {
            lock,
            period,
            tolerance: (period / 10).min(Self::TOLERANCE),
            hold_at_least: Duration::ZERO,
            again_if_unfinished: false,
            again_if_failed: false,
            options: AcquireOptions::new(),
        })
    }

    /// How much earlier than a period after the last one a run may begin: a tenth of the period by default, a minute at most. Without it, a
    /// timer that fires once in a period would find every second time that it is a moment too early.
    pub fn with_tolerance(self, tolerance: Duration) -> Self {
        Self { tolerance, ..self }
    }

    /// Keeps the lock at least for so long after a run has begun. Those whose clocks are behind then still find it busy, and
    /// do not even ask; [`run`](Self::run) returns only after that.
    pub fn hold_at_least(self, duration: Duration) -> Self {
        Self { hold_at_least: duration, ..self }
    }

    /// Takes a run whose end was not recorded for none: if its machine died, or lost the lock, the job runs again as soon as somebody
    /// comes and the lock is free. Then it may run more than once in a period.
    pub fn again_if_unfinished(self) -> Self {
        Self { again_if_unfinished: true, ..self }
    }

    /// Takes a run that failed for none.
    pub fn again_if_failed(self) -> Self {
        Self { again_if_failed: true, ..self }
    }

    /// Who runs it, for people: in the queue, and in the record (its first 256 bytes). Default: the host's name and the process id.
    pub fn with_label(self, label: impl AsRef<str>) -> Self {
        Self { options: self.options.with_label(label), ..self }
    }

    /// Its name.
    pub fn name(&self) -> &LockName {
        self.lock.name()
    }

    /// When it ran last, who ran it, and how that ended; `None` if it never did.
    ///
    /// # Errors
    ///
    /// Those of [`DistributedLock::record`].
    ///
    /// # Cancel safety
    ///
    /// Safe to drop: it changes nothing.
    pub async fn last_run(&self) -> Result<Option<LastRun>> {
        Ok(self.lock.record().await?.record.and_then(LastRun::decode))
    }

    /// Runs the job if it is due and nobody else is at it. The work's future is dropped when the lock is lost.
    ///
    /// # Errors
    ///
    /// Those of [`DistributedLock::acquire_with`] and of [`DistributedLock::record`]; then the job has not run, but if recording the beginning
    /// failed, the period may be taken. [`SessionLost`](crate::ErrorKind::SessionLost) or
    /// [`EntryRemoved`](crate::ErrorKind::EntryRemoved) if the lock was lost while the job ran.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the work and gives the lock back; the run stays recorded as unfinished.
    pub async fn run<T, E, F, Fut>(&self, work: F) -> Result<Turn<Result<T, E>>>
    where
        F: FnOnce(HeldLock) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: Display + Send,
    {
        let mut run = match self.begin().await? {
            Turn::Ran(run) => run,
            Turn::NotDue(last) => return Ok(Turn::NotDue(last)),
            Turn::Busy => return Ok(Turn::Busy),
        };
        let result = run.guard.protect(work(run.guard.held())).await;
        run.ended(RunEnd::of(&result)).await;
        let result = result?;
        run.hold().await;
        give_back(run.into_guard()).await;
        Ok(Turn::Ran(result))
    }

    /// Begins a run if the job is due and nobody else is at it, for those who do the work themselves: [`run`](Self::run) is made of this.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// When dropped, the lock is given back, and a run may be recorded that has not begun.
    pub async fn begin(&self) -> Result<Turn<Run>> {
        // Without the lock: most who come are too early.
        if let Err(last) = self.due(self.lock.record().await?) {
            return Ok(Turn::NotDue(last));
        }
        let Some(guard) = self.lock.acquire_with(&self.options.clone().with_wait(Wait::Never)).await? else {
            return Ok(Turn::Busy);
        };
        let now = match self.due(self.lock.record().await?) {
            Ok(now) => now,
            Err(last) => {
                give_back(guard).await;
                return Ok(Turn::NotDue(last));
            }
        };
        let (began, hold_at_least) = (Instant::now(), self.hold_at_least);
        let by = self.options.label.as_deref().unwrap_or(default_label());
        let record = LastRun::begun(guard.fencing_token(), now, by);
        if !self.lock.set_record(record.token, &record.encode()).await? {
            return Err(Error::lost(Loss::Expired).with_context("somebody came after us and ran the job"));
        }
        Ok(Turn::Ran(Run { guard, lock: self.lock.clone(), record, began, hold_at_least }))
    }

    /// The present, if a run is due; else the last one.
    fn due(&self, Recorded { record, now }: Recorded) -> Result<SystemTime, LastRun> {
        let Some(last) = record.and_then(LastRun::decode) else { return Ok(now) };
        let void = match &last.end {
            RunEnd::Unfinished | RunEnd::Lost(_) => self.again_if_unfinished,
            RunEnd::Failed(_) => self.again_if_failed,
            RunEnd::Succeeded => false,
        };
        let over = match now.duration_since(last.started) {
            Ok(elapsed) => elapsed + self.tolerance >= self.period,
            // Nobody waits for a clock that was years ahead.
            Err(ahead) => ahead.duration() > self.period,
        };
        if void || over { Ok(now) } else { Err(last) }
    }
}

/// A run that has [begun](Once::begin). Dropping it gives the lock back and leaves the run unfinished.
#[must_use = "whoever drops a run gives the lock back and leaves the run unfinished"]
#[derive(Debug)]
#[clippy::has_significant_drop]
pub struct Run {
    guard: LockGuard,
    lock: Arc<dyn DistributedLock>,
    record: LastRun,
    began: Instant,
    hold_at_least: Duration,
}

impl Run {
    /// The guard of the job's lock.
    pub fn guard(&self) -> &LockGuard {
        &self.guard
    }

    /// Records how the work has ended, unless a later run has begun. If that fails, which is logged, the run stays unfinished for others.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the end may be recorded or not.
    pub async fn ended(&mut self, end: RunEnd) {
        const ATTEMPTS: usize = 3;
        self.record.ended(self.record.started + self.began.elapsed(), end);
        let text = self.record.encode();
        for _ in 0..ATTEMPTS {
            match self.lock.set_record(self.record.token, &text).await {
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(name = %self.lock.name(), %error, "the end of a run is not recorded");
                    if !error.is_retryable() {
                        return;
                    }
                }
            }
        }
    }

    /// Returns when the lock has been held for as long as it has to be, or is lost.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again.
    pub async fn hold(&self) {
        // Whatever ends this wait, the work is done.
        let _ = self.guard.protect(tokio::time::sleep_until(self.began + self.hold_at_least)).await;
    }

    /// The guard, to be given back.
    pub fn into_guard(self) -> LockGuard {
        self.guard
    }
}

/// What the record is worth does not depend on it.
async fn give_back(guard: LockGuard) {
    if let Err(error) = guard.release().await {
        tracing::debug!(%error, "the release is not confirmed");
    }
}

//! `fairlock demo`: executors that contend for one lock, and a checker that they take turns.

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fairlock::{AcquireOptions, DistributedLock, Error, LockGuard, LockService};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::arguments::DemoOptions;
use crate::exit::{self, Failure};
use crate::output;
use crate::service::{acquire, close_all, connect, place, release, shown};
use crate::turn_checker::{Turn, TurnChecker};

pub(crate) async fn demo(url: Option<&str>, options: &DemoOptions) -> Result<ExitCode, Failure> {
    let url = place(url)?;
    let services = services(&url, options.executors).await?;
    output::line(format_args!("the locks live at {}", shown(&url)?))?;
    let checks = Arc::new(Mutex::new(Checks::new()));
    let contended = contend(&services, options, &checks).await;
    let elapsed = locked(&checks).began.elapsed();
    close_all(&services).await;
    contended?;
    Ok(sum_up(&locked(&checks), options.executors, elapsed)?)
}

/// What is checked, and how long it takes to look at the queue. The longer a queue is, the longer that takes, and the more often somebody
/// would look.
#[derive(Debug)]
struct Checks {
    turns: TurnChecker,
    began: Instant,
    looking: Duration,
}

impl Checks {
    /// Of which part of the time the queue is looked at, at most.
    const SHARE: u32 = 5;

    fn new() -> Self {
        Self { turns: TurnChecker::default(), began: Instant::now(), looking: Duration::ZERO }
    }

    /// Whether there is time to look at the queue.
    fn may_look(&self) -> bool {
        self.looking * Self::SHARE <= self.began.elapsed()
    }
}

/// A service for each executor, as if each were a process; one for all where processes could not share it.
async fn services(url: &str, executors: u32) -> Result<Vec<Arc<dyn LockService>>, Failure> {
    let first = connect(Some(url)).await?;
    if !first.capabilities().interprocess {
        return Ok((0..executors).map(|_| first.clone()).collect());
    }
    let others = (1..executors).map(|_| connect(Some(url)));
    let mut services = futures::future::try_join_all(others).await?;
    services.push(first);
    Ok(services)
}

async fn contend(
    services: &[Arc<dyn LockService>],
    options: &DemoOptions,
    checks: &Arc<Mutex<Checks>>,
) -> Result<(), Failure> {
    let mut executors: JoinSet<Result<(), Failure>> = JoinSet::new();
    for (executor, service) in (1..).zip(services) {
        let lock = service.exclusive(&options.name)?;
        let (tasks, hold, checks) = (options.tasks, options.hold, checks.clone());
        executors.spawn(async move {
            for task in 1..=tasks {
                turn(&*lock, hold, Turn { executor, task }, &checks).await?;
            }
            Ok(())
        });
    }
    while let Some(ended) = executors.join_next().await {
        ended.map_err(io::Error::from)??;
    }
    Ok(())
}

/// Once through the lock.
async fn turn(
    lock: &dyn DistributedLock,
    hold: Duration,
    turn: Turn,
    checks: &Mutex<Checks>,
) -> Result<(), Failure> {
    let label = format!("executor {}", turn.executor);
    let guard = acquire(lock, &AcquireOptions::new().with_label(label)).await?;
    let token = guard.fencing_token();
    let grant = locked(checks).turns.enter(turn, token);
    output::line(grant)?;
    let may_look = locked(checks).may_look();
    if may_look {
        look(lock, &guard, checks).await?;
    }
    // A timer takes a millisecond for no time at all.
    if !hold.is_zero() {
        tokio::time::sleep(hold).await;
    }
    locked(checks).turns.leave();
    release(guard).await
}

/// Looks at the queue while this guard holds.
async fn look(lock: &dyn DistributedLock, guard: &LockGuard, checks: &Mutex<Checks>) -> Result<(), Failure> {
    let start = Instant::now();
    let queue = lock.queue().await?;
    // A lock that was lost does not show in the queue.
    if let Some(loss) = guard.loss_signal().loss() {
        return Err(Error::lost(loss).into());
    }
    let mut checks = locked(checks);
    checks.looking += start.elapsed();
    checks.turns.see(guard.fencing_token(), &queue);
    Ok(())
}

fn locked(checks: &Mutex<Checks>) -> MutexGuard<'_, Checks> {
    checks.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sum_up(checks: &Checks, executors: u32, elapsed: Duration) -> io::Result<ExitCode> {
    let turns = &checks.turns;
    let grants = turns.grants();
    let rate = f64::from(grants) / elapsed.as_secs_f64();
    let elapsed = Duration::from_millis(elapsed.as_millis() as u64);
    let elapsed = humantime::format_duration(elapsed);
    output::line(format_args!("{grants} grants to {executors} executors in {elapsed} ({rate:.0}/s)"))?;
    let violations = turns.violations();
    if violations.is_empty() {
        output::line("never two at once, and in the order of the queue")?;
        return Ok(ExitCode::SUCCESS);
    }
    violations.iter().for_each(output::diagnostic);
    Ok(ExitCode::from(exit::VIOLATED))
}

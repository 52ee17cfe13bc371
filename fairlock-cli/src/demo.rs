//! `fairlock demo`: executors that contend for one lock, and a checker that they take turns.

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fairlock::{AcquireOptions, DistributedLock, Error, LockService};
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
    let checker = Arc::new(Mutex::new(TurnChecker::default()));
    let start = Instant::now();
    let contended = contend(&services, options, &checker).await;
    let elapsed = start.elapsed();
    close_all(&services).await;
    contended?;
    Ok(sum_up(&locked(&checker), options.executors, elapsed)?)
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
    checker: &Arc<Mutex<TurnChecker>>,
) -> Result<(), Failure> {
    let mut executors: JoinSet<Result<(), Failure>> = JoinSet::new();
    for (executor, service) in (1..).zip(services) {
        let lock = service.exclusive(&options.name)?;
        let (tasks, hold, checker) = (options.tasks, options.hold, checker.clone());
        executors.spawn(async move {
            for task in 1..=tasks {
                turn(&*lock, hold, Turn { executor, task }, &checker).await?;
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
    checker: &Mutex<TurnChecker>,
) -> Result<(), Failure> {
    let label = format!("executor {}", turn.executor);
    let guard = acquire(lock, &AcquireOptions::new().with_label(label)).await?;
    let token = guard.fencing_token();
    let grant = locked(checker).enter(turn, token);
    output::line(grant)?;
    let queue = lock.queue().await?;
    // A lock that was lost does not show in the queue.
    if let Some(loss) = guard.loss_signal().loss() {
        return Err(Error::lost(loss).into());
    }
    locked(checker).see(token, &queue);
    tokio::time::sleep(hold).await;
    locked(checker).leave();
    release(guard).await
}

fn locked(checker: &Mutex<TurnChecker>) -> MutexGuard<'_, TurnChecker> {
    checker.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sum_up(checker: &TurnChecker, executors: u32, elapsed: Duration) -> io::Result<ExitCode> {
    let grants = checker.grants();
    let rate = f64::from(grants) / elapsed.as_secs_f64();
    let elapsed = Duration::from_millis(elapsed.as_millis() as u64);
    let elapsed = humantime::format_duration(elapsed);
    output::line(format_args!("{grants} grants to {executors} executors in {elapsed} ({rate:.0}/s)"))?;
    let violations = checker.violations();
    if violations.is_empty() {
        output::line("never two at once, and in the order of the queue")?;
        return Ok(ExitCode::SUCCESS);
    }
    violations.iter().for_each(output::diagnostic);
    Ok(ExitCode::from(exit::VIOLATED))
}

//! A process that contends.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockcore::queue::rule::UNBOUNDED;
use lockcore::{AcquireOptions, Config, DistributedLock, LockGuard, LockService, Registry, Wait};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use super::now;
use super::resource::Writer;
use crate::failure::Failure;
use crate::history::{Event, What};

/// Tells the started program that it is a contender; its value says how it contends.
const ROLE: &str = "FAIRLOCK_CONFORMANCE_CONTENDER";
/// The tasks of one process.
const TASKS: u64 = 3;

/// How a process contends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Role {
    /// No other process has it.
    pub(super) number: u64,
    pub(super) seed: u64,
    /// What the names of the locks begin with.
    pub(super) name: String,
    /// When to begin nothing new.
    pub(super) until: Duration,
    /// Where to log.
    pub(super) log: PathBuf,
    /// Where what the locks protect is.
    pub(super) resource: String,
}

impl Role {
    /// The environment of the process.
    pub(super) fn environment(&self) -> Result<(&'static str, String), Failure> {
        Ok((ROLE, serde_json::to_string(self)?))
    }

    /// The exclusive and shared locks, and the semaphores, of all.
    pub(super) fn locks(&self, locks: &dyn LockService) -> lockcore::Result<[Arc<dyn DistributedLock>; 3]> {
        let (busy, permits) = (format!("{}/busy", self.name), format!("{}/permits", self.name));
        Ok([locks.exclusive(&busy)?, locks.shared(&busy)?, locks.semaphore(&permits, 3)?])
    }
}

/// In a process that was started to contend: does so until its time is over. In any other: `None`, at once.
pub fn serve_as_contender(registry: &Registry) -> Option<ExitCode> {
    let role = std::env::var(ROLE).ok()?;
    Some(match contend(registry, &role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("contender: {failure}");
            ExitCode::FAILURE
        }
    })
}

fn contend(registry: &Registry, role: &str) -> Result<(), Failure> {
    let role: Role = serde_json::from_str(role)?;
    // Whoever started it may die.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    let log = File::options().create(true).append(true).open(&role.log)?;
    let log = Log { file: Arc::new(Mutex::new(log)) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let locks = connect(registry, role.until).await?;
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let rng = StdRng::seed_from_u64(role.seed ^ (role.number << 8) ^ task);
                let contender =
                    Contender { role: role.clone(), locks: locks.clone(), log: log.clone(), task, rng };
                tokio::spawn(contender.run())
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        // Also if no server can be told.
        let _ = timeout(Duration::from_secs(5), locks.close()).await;
        Ok(())
    })
}

async fn connect(registry: &Registry, until: Duration) -> Result<Arc<dyn LockService>, Failure> {
    loop {
        match registry.connect(&Config::from_env()?).await {
            Err(error) if error.is_retryable() && now() < until => sleep(Duration::from_millis(100)).await,
            connected => return Ok(connected?),
        }
    }
}

#[derive(Clone)]
struct Log {
    file: Arc<Mutex<File>>,
}

impl Log {
    fn add(&self, at: Duration, acquisition: u64, what: What) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(&Event { at, acquisition, what })?;
        line.push(b'\n');
        Ok(self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)?)
    }
}

struct Contender {
    role: Role,
    locks: Arc<dyn LockService>,
    log: Log,
    task: u64,
    rng: StdRng,
}

impl Contender {
    async fn run(mut self) -> Result<(), Failure> {
        let mut writer = Writer::connect(&self.role.resource).await?;
        for round in 0.. {
            if now() >= self.role.until {
                break;
            }
            let acquisition = (self.role.number * TASKS + self.task) * 1_000_000 + round;
            self.turn(acquisition, &mut writer).await?;
        }
        Ok(())
    }

    async fn turn(&mut self, acquisition: u64, writer: &mut Writer) -> Result<(), Failure> {
        let kind = self.rng.random_range(0..6usize).saturating_sub(3);
        let lock = self.role.locks(&*self.locks)?[kind].clone();
        let permits = if kind == 2 { self.rng.random_range(1..=3) } else { 1 };
        let (weight, limit) = [(UNBOUNDED, UNBOUNDED), (1, UNBOUNDED), (permits, 3)][kind];
        let limited = Duration::from_millis(self.rng.random_range(0..5000));
        let wait = match self.rng.random_range(0..10) {
            0 => Wait::Never,
            1..4 => Wait::For(limited),
            _ => Wait::Forever,
        };
        let options =
            AcquireOptions::new().with_wait(wait).with_permits(permits).with_label(acquisition.to_string());
        self.log.add(now(), acquisition, What::Asked { lock: lock.name().to_string(), weight, limit })?;
        let patience = match self.rng.random_bool(0.2) {
            true => Duration::from_millis(self.rng.random_range(0..500)),
            false => Duration::MAX,
        };
        // What is not ready by then is dropped.
        if let Ok(Ok(Some(guard))) = timeout(patience, lock.acquire_with(&options)).await {
            let granted = What::Granted { token: guard.fencing_token().get(), until: until(&guard) };
            self.log.add(now(), acquisition, granted)?;
            self.hold(acquisition, guard, Some(writer).filter(|_| weight == limit)).await?;
        }
        self.log.add(now(), acquisition, What::Over)
    }

    async fn hold(
        &mut self,
        acquisition: u64,
        guard: LockGuard,
        mut writer: Option<&mut Writer>,
    ) -> Result<(), Failure> {
        let hold = Duration::from_millis(match self.rng.random_range(0..15) {
            0 => self.rng.random_range(0..6000),
            _ => self.rng.random_range(0..20),
        });
        let end = Instant::now() + hold;
        loop {
            if let Some(writer) = &mut writer {
                writer.write(acquisition, guard.name().as_str(), guard.fencing_token().get()).await?;
            }
            let at = now();
            if !guard.is_valid() {
                return self.log.add(at, acquisition, What::Lost);
            }
            self.log.add(at, acquisition, What::Valid { until: until(&guard) })?;
            if Instant::now() >= end {
                break;
            }
            let step = end.min(Instant::now() + Duration::from_millis(50));
            let _ = tokio::time::timeout_at(step, guard.lost()).await;
        }
        self.log.add(now(), acquisition, What::Releases)?;
        match self.rng.random_range(0..4) {
            0 => drop(guard),
            // It may be told that it was lost, or not be answered: then the entry goes with the session.
            _ => drop(guard.release().await),
        }
        Ok(())
    }
}

/// The deadline of a guard on the clock that all share.
fn until(guard: &LockGuard) -> Option<Duration> {
    let left = guard.deadline()?.saturating_duration_since(Instant::now());
    Some(now() + left)
}

//! A task that takes locks, as the users of the library do, careless ones included.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use conformance::history::{Event, History, What};
use lockcore::queue::rule::UNBOUNDED;
use lockcore::{AcquireOptions, DistributedLock, ErrorKind, LockGuard, LockService, Released, Wait};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep, timeout};

/// Writes down what happens to all.
#[derive(Debug, Clone)]
pub(super) struct Log {
    history: Arc<Mutex<History>>,
    begun: Instant,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { history: Arc::default(), begun: Instant::now() }
    }

    pub(super) fn add(&self, acquisition: u64, what: What) {
        let at = self.begun.elapsed();
        self.history.lock().expect("nothing panics while it is held").push(Event { at, acquisition, what });
    }

    pub(super) fn history(&self) -> History {
        self.history.lock().expect("nothing panics while it is held").clone()
    }

    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn until(&self, guard: &LockGuard) -> Option<Duration> {
        guard.deadline().map(|deadline| deadline.saturating_duration_since(self.begun))
    }

    /// The acquisition is over, however its task ends.
    fn over(&self, acquisition: u64) -> Over {
        Over { log: self.clone(), acquisition }
    }
}

struct Over {
    log: Log,
    acquisition: u64,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.log.add(self.acquisition, What::Over);
    }
}

pub(super) struct Actor {
    pub(super) locks: Arc<dyn LockService>,
    pub(super) log: Log,
    pub(super) resource: Arc<Mutex<std::collections::BTreeMap<String, u64>>>,
    pub(super) number: u64,
    rng: StdRng,
}

impl Actor {
    pub(super) fn new(
        locks: Arc<dyn LockService>,
        log: Log,
        resource: Resource,
        number: u64,
        seed: u64,
    ) -> Self {
        Self { locks, log, resource, number, rng: StdRng::seed_from_u64(seed) }
    }

    pub(super) async fn run(mut self, work: Duration) {
        let mut round = 0;
        while self.log.now() < work {
            let pause = self.rng.random_range(0..500);
            sleep(Duration::from_millis(pause)).await;
            round += 1;
            self.turn(self.number * 10_000 + round).await;
        }
    }

    /// One lock of four, and what is asked of it.
    fn choose(&mut self) -> (String, Arc<dyn DistributedLock>, u32, u32, u32) {
        let locks = &self.locks;
        let name = if self.rng.random_bool(0.7) { "busy" } else { "quiet" };
        let permits = self.rng.random_range(1..=3);
        let chosen = match self.rng.random_range(0..3) {
            0 => locks.exclusive(name).map(|lock| (name.to_owned(), lock, 1, UNBOUNDED, UNBOUNDED)),
            1 => locks.shared(name).map(|lock| (name.to_owned(), lock, 1, 1, UNBOUNDED)),
            _ => locks.semaphore(name, 3).map(|lock| (format!("{name} of 3"), lock, permits, permits, 3)),
        };
        chosen.expect("these are names")
    }

    async fn turn(&mut self, acquisition: u64) {
        let (lock_name, lock, permits, weight, limit) = self.choose();
        let limited = Duration::from_millis(self.rng.random_range(0..20_000));
        let wait = match self.rng.random_range(0..10) {
            0 => Wait::Never,
            1..4 => Wait::For(limited),
            _ => Wait::Forever,
        };
        let options =
            AcquireOptions::new().with_wait(wait).with_permits(permits).with_label(acquisition.to_string());
        let options = options.with_requeue(self.rng.random_bool(0.9));
        self.log.add(acquisition, What::Asked { lock: lock_name.clone(), weight, limit });
        let over = self.log.over(acquisition);
        let polls = self.rng.random_range(0..60);
        let cancels = self.rng.random_bool(0.3);
        let acquired = dropped_after(cancels.then_some(polls), lock.acquire_with(&options)).await;
        if let Some(Err(error)) = &acquired {
            let known =
                [ErrorKind::SessionLost, ErrorKind::Unreachable, ErrorKind::Closed].contains(&error.kind());
            assert!(known, "{acquisition} was told what is not so: {error}");
        }
        if let Some(Ok(Some(guard))) = acquired {
            let until = self.log.until(&guard);
            self.log.add(acquisition, What::Granted { token: guard.fencing_token().get(), until });
            self.hold(acquisition, &lock_name, weight == limit, guard).await;
        }
        drop(over);
    }

    /// Uses the guard for a while, and gives it back in one of the ways that there are.
    async fn hold(&mut self, acquisition: u64, lock: &str, alone: bool, guard: LockGuard) {
        let mut left = Duration::from_millis(match self.rng.random_range(0..10) {
            0 => self.rng.random_range(0..8000),
            _ => self.rng.random_range(0..200),
        });
        while !left.is_zero() {
            if alone {
                self.write(acquisition, lock, &guard);
            }
            let step = left.min(Duration::from_millis(50));
            left -= step;
            if timeout(step, guard.lost()).await.is_ok() {
                self.log.add(acquisition, What::Lost);
                assert!(!guard.is_valid(), "{acquisition} is lost and valid");
                // A careless one, who goes on all the same.
                sleep(Duration::from_secs(3)).await;
                if alone {
                    self.write(acquisition, lock, &guard);
                }
                return;
            }
            if guard.is_valid() {
                self.log.add(acquisition, What::Valid { until: self.log.until(&guard) });
            }
        }
        self.give_back(acquisition, guard).await;
    }

    async fn give_back(&mut self, acquisition: u64, guard: LockGuard) {
        let valid = guard.is_valid();
        self.log.add(acquisition, if valid { What::Releases } else { What::Lost });
        let polls = self.rng.random_range(0..6);
        match self.rng.random_range(0..6) {
            0 => drop(guard),
            1 => drop(std::thread::spawn(move || drop(guard)).join()),
            2 => drop(dropped_after(Some(polls), guard.release()).await),
            _ => {
                let released = guard.release().await;
                let held = matches!(released, Ok(Released::Held));
                assert!(valid || !held, "{acquisition} was lost, and released as if it had been held");
            }
        }
    }

    /// What the lock protects takes no token below one that it has seen.
    fn write(&self, acquisition: u64, lock: &str, guard: &LockGuard) {
        let token = guard.fencing_token().get();
        let mut resource = self.resource.lock().expect("nothing panics while it is held");
        let largest = resource.entry(lock.to_owned()).or_default();
        let accepted = token >= *largest;
        *largest = token.max(*largest);
        self.log.add(acquisition, What::Wrote { accepted });
    }
}

/// The largest token that each lock's resource has seen.
pub(super) type Resource = Arc<Mutex<std::collections::BTreeMap<String, u64>>>;

/// The output of the future, unless it is dropped before, at its so manyth poll.
async fn dropped_after<F: Future>(polls: Option<u32>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == Some(0) {
            return Poll::Ready(None);
        }
        left = left.map(|left| left - 1);
        future.as_mut().poll(context).map(Some)
    })
    .await
}

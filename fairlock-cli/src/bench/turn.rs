//! Contenders that take turns for a while, and what is noted down of that.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use fairlock::{DistributedLock, DistributedLockExt, LockKind};
use futures::future::try_join_all;
use lockcore::queue::rule::UNBOUNDED;
use tokio::task::JoinHandle;

use super::meter::{Meter, Usage};
use crate::exit::{Failure, NOT_IN_TIME, OTHER};
use crate::service::release;

/// Once through a lock. Times are those of the [`Clock`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// Grows along the queue.
    pub(super) token: u64,
    pub(super) weight: u32,
    pub(super) asked: u64,
    /// When it had the lock, and began to give it back.
    pub(super) granted: u64,
    /// When it had given it back.
    pub(super) finished: u64,
}

/// Nanoseconds since a round began; nothing but zeros in a turn that is not timed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
    timed: bool,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), timed: true }
    }

    pub(super) fn now(self) -> u64 {
        if self.timed { self.start.elapsed().as_nanos() as u64 } else { 0 }
    }
}

pub(super) trait Contender: Send + 'static {
    fn turn(&mut self, clock: Clock) -> impl Future<Output = Result<Turn, Failure>> + Send;
}

/// How a lock is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    Awaited,
    /// By dropping the guard.
    Dropped,
}

/// Takes a lock of ours.
pub(super) struct Ours {
    lock: Arc<dyn DistributedLock>,
    release: Release,
}

impl Ours {
    pub(super) fn new(lock: Arc<dyn DistributedLock>, release: Release) -> Self {
        Self { lock, release }
    }
}

impl Contender for Ours {
    async fn turn(&mut self, clock: Clock) -> Result<Turn, Failure> {
        let asked = clock.now();
        let guard = self.lock.acquire().await?;
        let granted = clock.now();
        let token = guard.fencing_token().get();
        match self.release {
            Release::Dropped => drop(guard),
            Release::Awaited => release(guard).await?,
        }
        let weight = if self.lock.kind() == LockKind::Exclusive { UNBOUNDED } else { 1 };
        Ok(Turn { token, weight, asked, granted, finished: clock.now() })
    }
}

/// What was seen in one round.
pub(super) struct Round {
    /// Of each contender; some of them if not every turn is timed.
    pub(super) turns: Vec<Vec<Turn>>,
    /// Between these times everybody contended.
    pub(super) window: (u64, u64),
    /// One of so many turns is in `turns`.
    pub(super) every: u64,
    /// What the server did in the window.
    pub(super) usage: Usage,
}

/// What contenders and those who watch them tell one another.
#[derive(Debug, Default)]
struct Signs {
    /// When the window began.
    begin: OnceLock<u64>,
    /// Somebody was granted since then: a window without a grant says nothing.
    granted: AtomicBool,
    over: AtomicBool,
}

/// Lets the contenders contend for this long, after a lead-in of a quarter of it in which connections and queues fill,
/// and until all who have asked by then were granted.
pub(super) async fn contend<C: Contender>(
    contenders: &mut Vec<C>,
    time: Duration,
    every: u64,
    meter: &mut Meter,
) -> Result<Round, Failure> {
    let (clock, signs) = (Clock::start(), Arc::new(Signs::default()));
    let tasks: Vec<_> = contenders
        .drain(..)
        .map(|contender| tokio::spawn(take_turns(contender, clock, every, signs.clone())))
        .collect();
    // An error is told at once: what waits behind it may wait for ever.
    let count = tasks.len() as u32;
    let mut ended = pin!(join(tasks));
    let watch = async {
        tokio::time::sleep(time / 4).await;
        let before = meter.read().await;
        let begin = clock.now();
        let _ = signs.begin.set(begin);
        tokio::time::sleep(time).await;
        while !signs.granted.load(Ordering::Relaxed) {
            tokio::time::sleep(time).await;
        }
        let window = (begin, clock.now());
        let usage = meter.read().await.since(before);
        signs.over.store(true, Ordering::Relaxed);
        (window, usage)
    };
    let (window, usage) = tokio::select! {
        watched = watch => watched,
        ended = &mut ended => return Err(ended.err().unwrap_or_else(|| Failure::new(OTHER, "a contender stopped early"))),
    };
    let patience = PATIENCE + count * Duration::from_millis(100);
    let late =
        |_| Failure::new(NOT_IN_TIME, format!("a contender still waits for its turn after {patience:?}"));
    let (back, turns) = tokio::time::timeout(patience, ended).await.map_err(late)??.into_iter().unzip();
    *contenders = back;
    Ok(Round { turns, window, every, usage })
}

/// How long those who wait at the end of a round may take, apart from what each adds.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the tasks return, or the first of their failures, as soon as there is one.
pub(super) async fn join<T>(tasks: Vec<JoinHandle<Result<T, Failure>>>) -> Result<Vec<T>, Failure> {
    let joined = async |task: JoinHandle<Result<T, Failure>>| task.await.map_err(std::io::Error::from)?;
    try_join_all(tasks.into_iter().map(joined)).await
}

async fn take_turns<C: Contender>(
    mut contender: C,
    clock: Clock,
    every: u64,
    signs: Arc<Signs>,
) -> Result<(C, Vec<Turn>), Failure> {
    let mut turns = Vec::new();
    while !signs.over.load(Ordering::Relaxed) {
        for _ in 1..every {
            contender.turn(Clock { timed: false, ..clock }).await?;
        }
        let turn = contender.turn(clock).await?;
        turns.push(turn);
        // Written once only, for the sake of the processors' caches.
        let counts = || signs.begin.get().is_some_and(|begin| turn.granted >= *begin);
        if !signs.granted.load(Ordering::Relaxed) && counts() {
            signs.granted.store(true, Ordering::Relaxed);
        }
        // Where nothing has to be waited for, nobody else would come to run: not even the clock that ends this.
        tokio::task::coop::consume_budget().await;
    }
    Ok((contender, turns))
}

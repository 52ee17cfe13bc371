//! The whole library over a simulated server, in virtual time: forty tasks of eight services take, lose, cancel and give back
//! locks, while the network and the server do what they do at their worst. Everything follows from one number, and the
//! [checker of histories](conformance::history) judges what happened.
//!
//! `SIMULATION_SEEDS=100000` runs that many, `SIMULATION_SEED=7` one, and prints what it did.

mod actor;
mod driver;
mod server;

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actor::{Actor, Log, Resource};
use conformance::history::{Conditions, History, Promise, Report, What};
use driver::Network;
use lockcore::queue::QueueLocks;
use lockcore::queue::rule::UNBOUNDED;
use lockcore::session::Clock;
use lockcore::{DistributedLockExt, LockService, Released};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use server::{Mistake, SESSION, Server};
use tokio::time::{sleep, timeout};

const SERVICES: u64 = 8;
const TASKS: u64 = 40;
/// For how long things go wrong; whoever was disturbed then has all forgotten a while later.
const NOISE: Duration = Duration::from_secs(20);
const CALMED: Duration = Duration::from_secs(52);
/// For how long the tasks begin something new.
const WORK: Duration = Duration::from_secs(60);
/// When everything has to be over.
const END: Duration = Duration::from_secs(3600);

struct Outcome {
    history: History,
    report: Report,
    faults: BTreeMap<&'static str, u64>,
    virtual_time: Duration,
}

fn simulate(seed: u64, mistake: Mistake) -> Outcome {
    lockcore::chance::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("the system has one").block_on(run(seed, mistake))
}

async fn run(seed: u64, mistake: Mistake) -> Outcome {
    let server = Server::new(seed, mistake);
    let (log, resource, clock) = (Log::new(), Resource::default(), Clock::tokio());
    tokio::spawn(server.clone().run());
    let networks: Vec<Network> = (0..SERVICES).map(|_| Network::new(server.clone(), clock)).collect();
    let nemesis = tokio::spawn(disturb(server.clone(), networks.clone(), seed));
    let mut services: Vec<Arc<dyn LockService>> = Vec::new();
    for network in &networks {
        services.push(connect(network).await);
    }
    let actors = (0..TASKS).map(|number| {
        let locks = services[(number % SERVICES) as usize].clone();
        let actor = Actor::new(locks, log.clone(), resource.clone(), number, seed ^ (number << 32));
        tokio::spawn(actor.run(WORK))
    });
    let actors: Vec<_> = actors.collect();
    let aborted = seed % TASKS;
    sleep(Duration::from_millis(seed % 5000)).await;
    actors[aborted as usize].abort();
    let mut panics = Vec::new();
    for (number, actor) in actors.into_iter().enumerate() {
        match timeout(END, actor).await {
            Ok(Err(error)) if error.is_panic() => panics.push(format!("task {number} panicked: {error}")),
            Ok(_) => {}
            // Its acquisition has no end in the history.
            Err(_) => break,
        }
    }
    assert_eq!(panics, [""; 0], "seed {seed}");
    nemesis.await.expect("the nemesis does not panic");
    settle(&log, &server, &services).await;
    let faults = server.lock().faults.clone();
    let (history, virtual_time) = (log.history(), log.now());
    let conditions = Conditions {
        handover: Some(Duration::from_secs(1)),
        leftover: Some(Duration::from_secs(5)),
        told: Duration::from_millis(100),
        disturbed: vec![(Duration::ZERO, CALMED)],
        must_refuse: false,
    };
    let report = history.check(&conditions);
    Outcome { history, report, faults, virtual_time }
}

async fn connect(network: &Network) -> Arc<dyn LockService> {
    loop {
        match QueueLocks::connect(network.clone()).await {
            Ok(locks) => return Arc::new(locks),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// When all is over, nothing is left, and whoever comes gets every lock.
async fn settle(log: &Log, server: &Server, services: &[Arc<dyn LockService>]) {
    sleep(CALMED.saturating_sub(log.now()) + SESSION + Duration::from_secs(5)).await;
    for label in server.lock().labels() {
        log.add(label.parse().expect("labels are numbers"), What::Seen);
    }
    for name in ["busy", "quiet"] {
        let lock = services[0].exclusive(name).expect("it is a name");
        let Ok(acquired) = timeout(END, lock.acquire()).await else {
            // It has no end in the history.
            let asked = What::Asked { lock: name.to_owned(), weight: UNBOUNDED, limit: UNBOUNDED };
            return log.add(u64::MAX, asked);
        };
        let guard = acquired.expect("nothing goes wrong any more");
        assert_eq!(guard.release().await.expect("nothing goes wrong any more"), Released::Held);
    }
    for service in services {
        service.close().await.expect("nothing goes wrong any more");
    }
}

/// Cuts networks, restarts the server, sets its clock back.
async fn disturb(server: Server, networks: Vec<Network>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(!seed);
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < NOISE {
        let pause = rng.random_range(0..3000);
        sleep(Duration::from_millis(pause)).await;
        match rng.random_range(0..10) {
            0 => {
                let downtime = Duration::from_millis(rng.random_range(0..3000));
                server.execute(|state| state.restart(downtime));
                server.lock().happened("restarts");
            }
            1 => {
                let by = Duration::from_millis(rng.random_range(0..5000));
                server.execute(|state| state.set_clock_back(by));
                server.lock().happened("clock set back");
            }
            _ => {
                let network = &networks[rng.random_range(0..networks.len())];
                network.cut(true);
                server.lock().happened("networks cut");
                let longest = if rng.random_bool(0.3) { 1000 } else { 10_000 };
                let (network, cut) = (network.clone(), rng.random_range(0..longest));
                tokio::spawn(async move {
                    sleep(Duration::from_millis(cut)).await;
                    network.cut(false);
                });
            }
        }
    }
    server.lock().noisy = false;
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")))
}

fn replay(seed: u64) -> String {
    format!(
        "SIMULATION_SEED={seed} cargo test -p fairlock-conformance --test simulation seeds -- --nocapture"
    )
}

/// In CI five hundred.
#[test]
fn seeds() {
    let one = variable("SIMULATION_SEED");
    let seeds = one.map_or_else(|| 0..variable("SIMULATION_SEEDS").unwrap_or(500), |seed| seed..seed + 1);
    let sum = Mutex::new(Sum::default());
    on_all_processors(seeds.clone(), |seed| {
        let outcome = catch_unwind(|| simulate(seed, Mistake::None));
        let outcome = outcome.unwrap_or_else(|_| panic!("again: {}", replay(seed)));
        if one.is_some() {
            eprintln!("{}\n{:?} in {:?}", outcome.report, outcome.faults, outcome.virtual_time);
        }
        assert!(outcome.report.violations.is_empty(), "{}\nagain: {}", outcome.report, replay(seed));
        sum.lock().expect("nobody panics with it").add(&outcome);
    });
    let sum = sum.into_inner().expect("nobody panics with it");
    eprintln!("{} seeds: {sum:?}", seeds.end - seeds.start);
}

/// Each seed on one thread, from its beginning to its end.
fn on_all_processors(seeds: Range<u64>, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    let works = || {
        while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| seeds.contains(seed))
        {
            work(seed);
        }
    };
    std::thread::scope(|threads| {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        (0..workers).for_each(|_| drop(threads.spawn(works)));
    });
}

/// What happened in all runs.
#[derive(Debug, Default)]
struct Sum {
    grants: usize,
    lost: usize,
    stale_writes_refused: usize,
    longest_handover: Duration,
    faults: BTreeMap<&'static str, u64>,
}

impl Sum {
    fn add(&mut self, Outcome { report, faults, .. }: &Outcome) {
        self.grants += report.grants;
        self.lost += report.losses;
        self.stale_writes_refused += report.refused;
        self.longest_handover = self.longest_handover.max(report.longest_handover);
        faults.iter().for_each(|(fault, times)| *self.faults.entry(fault).or_default() += times);
    }
}

#[test]
fn a_seed_runs_twice_alike() {
    for seed in [3, 4] {
        let (once, again) = (simulate(seed, Mistake::None), simulate(seed, Mistake::None));
        assert_eq!(once.history.events(), again.history.events());
        assert!(once.report.grants > 100);
    }
}

/// Each mistake breaks a promise within this many seeds.
#[test]
fn mistakes_are_found() {
    let mistakes: [(Mistake, &[Promise]); 7] = [
        (Mistake::NoTombstones, &[Promise::NoLeftover, Promise::Answer]),
        (Mistake::CountsFromReceipt, &[Promise::Exclusion]),
        (Mistake::ExpiresTooEarly, &[Promise::Exclusion]),
        (Mistake::WatchMissesThePast, &[Promise::HandOver, Promise::Answer]),
        (Mistake::AppendsTwice, &[Promise::NoLeftover, Promise::Answer]),
        (Mistake::LooksTooFarBack, &[Promise::Exclusion, Promise::Order]),
        (Mistake::ForgetsTokens, &[Promise::Order, Promise::Fencing]),
    ];
    on_all_processors(0..mistakes.len() as u64, |number| {
        let (mistake, expected) = mistakes[number as usize];
        // What a task finds out by itself is found as well.
        let found = (0..100).find(|seed| match catch_unwind(|| simulate(*seed, mistake)) {
            Ok(outcome) => {
                outcome.report.violations.iter().any(|violation| expected.contains(&violation.promise))
            }
            Err(_) => true,
        });
        eprintln!("{mistake:?}: seed {found:?}");
        assert!(found.is_some(), "{mistake:?} was not found");
    });
}

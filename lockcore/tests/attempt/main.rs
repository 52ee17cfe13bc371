//! Explores every order of events in which a few clients can run [`Attempt`]s against one server: lost replies,
//! late requests, expiry, time-outs, cancellation, spurious wake-ups.
//!
//! What runs the attempt in the library is asynchronous; here it is a few lines of `world.rs`, so that each of
//! its moves can be interleaved with the others'.

mod client;
mod world;

use std::time::Duration;

use client::{Client, Doing, Life};
use lockcore::EntryKind;
use lockcore::queue::Standing;
use lockcore::queue::rule::holders;
use stateright::{Checker, Model, Property};
use world::{Action, Asks, Bug, Lock, Queued, World, gone};

impl Model for Lock {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            queue: Vec::new(),
            tokens: 0,
            clients: self.clients.iter().map(|asks| Client::new(asks.waits, asks.requeues)).collect(),
            faults_left: self.faults,
            granted: 0,
            overtaken: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.progress(world, actions);
        self.choices(world, actions);
        self.faults(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        self.apply(&mut world, action);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("valid grants exclude each other", |lock: &Lock, world: &World| {
                let weights: Vec<u32> = lock.valid(world).map(|i| lock.kind(i).weight()).collect();
                let limit = lock.kind(0).limit();
                holders(limit, weights.iter().copied()) == weights.len()
            }),
            Property::always(
                "a valid grant has its entry, and the entry's token",
                |lock: &Lock, world: &World| {
                    lock.valid(world).all(|i| {
                        let own = world.queue.iter().find(|queued| queued.owner == world.owner(i));
                        own.is_some_and(|own| Some(own.token) == world.clients[i].token)
                    })
                },
            ),
            Property::always("exclusive grants follow the queue", |lock: &Lock, world: &World| {
                !(world.overtaken && lock.clients.iter().all(|asks| asks.kind == EntryKind::Exclusive))
            }),
            Property::always("an attempt that is over leaves no entry", |lock: &Lock, world: &World| {
                let left = |queued: &Queued| world.clients[queued.owner.0].doing == Doing::Over;
                !lock.quiet(world) || !world.queue.iter().any(left)
            }),
            Property::always("nobody sleeps who may hold", |lock: &Lock, world: &World| {
                let sleeps = |i: usize| matches!(world.clients[i].doing, Doing::Watching(_));
                let mut clients = 0..world.clients.len();
                !lock.quiet(world)
                    || !clients.any(|i| sleeps(i) && lock.standing(world, i) == Standing::Holds)
            }),
            Property::always("nobody sleeps whose entry is gone", |lock: &Lock, world: &World| {
                let sleeps = |i: usize| matches!(world.clients[i].doing, Doing::Watching(_));
                let unnoticed =
                    |i: usize| sleeps(i) && gone(world, world.owner(i)) && !world.clients[i].meddled;
                !lock.quiet(world) || !(0..world.clients.len()).any(unnoticed)
            }),
            Property::always("no guard is lost when it is given", |_: &Lock, world: &World| {
                !world.clients.iter().any(|client| client.granted_too_late)
            }),
            Property::sometimes("a grant after a lost answer", |lock: &Lock, world: &World| {
                lock.valid(world).any(|i| world.clients[i].lost_reply)
            }),
            Property::sometimes("a grant after an expiry", |lock: &Lock, world: &World| {
                let mut sessions = world.clients.iter().flat_map(|client| &client.sessions);
                sessions.any(|session| session.life == Life::Ended) && lock.valid(world).next().is_some()
            }),
            Property::sometimes("a grant on the second session of a client", |lock: &Lock, world: &World| {
                lock.valid(world).any(|i| world.clients[i].sessions.len() > 1)
            }),
            Property::sometimes("a grant beside a late request", |lock: &Lock, world: &World| {
                let over = world.clients.iter().filter(|client| client.doing == Doing::Over);
                let late = over.flat_map(|client| &client.sessions).any(|session| session.late_enqueue);
                late && lock.valid(world).next().is_some()
            }),
            Property::sometimes("everybody is done and nothing is left", |lock: &Lock, world: &World| {
                let mut clients = world.clients.iter();
                clients.all(|client| client.doing == Doing::Over)
                    && lock.quiet(world)
                    && world.queue.is_empty()
            }),
        ]
    }
}

/// Two minutes are for the slowest of machines; a search that does not end proves nothing.
const LONGEST: Duration = Duration::from_secs(120);

fn explore(lock: Lock) -> impl Checker<Lock> {
    let checker = lock.checker().threads(2).timeout(LONGEST).spawn_dfs().join();
    eprintln!("{} states", checker.unique_state_count());
    checker
}

/// Explores all of it: nothing bad can be reached, everything good can.
fn check(clients: &[Asks], faults: u8) {
    let checker = explore(Lock { clients: clients.to_vec(), faults, meddling: false, bug: Bug::None });
    assert!(checker.is_done(), "not explored to the end");
    checker.assert_properties();
}

const EXCLUSIVE: Asks = Asks { kind: EntryKind::Exclusive, waits: true, requeues: true };
const SHARED: Asks = Asks { kind: EntryKind::Shared, ..EXCLUSIVE };
const TRY: Asks = Asks { waits: false, ..EXCLUSIVE };
const ENDS_WITH_ITS_SESSION: Asks = Asks { requeues: false, ..EXCLUSIVE };

const fn of_two(permits: u32) -> Asks {
    Asks { kind: EntryKind::Permits { permits, limit: 2 }, ..EXCLUSIVE }
}

#[test]
fn two_exclusive_clients_and_two_faults() {
    check(&[EXCLUSIVE, EXCLUSIVE], 2);
}

#[test]
fn three_exclusive_clients_and_two_faults() {
    check(&[EXCLUSIVE, EXCLUSIVE, EXCLUSIVE], 2);
}

#[test]
fn a_client_that_only_tries() {
    check(&[EXCLUSIVE, EXCLUSIVE, TRY], 1);
}

#[test]
fn a_client_that_does_not_queue_again() {
    check(&[EXCLUSIVE, EXCLUSIVE, ENDS_WITH_ITS_SESSION], 1);
}

#[test]
fn shared_and_exclusive_clients() {
    check(&[SHARED, EXCLUSIVE, SHARED], 1);
}

#[test]
fn a_semaphore_of_two() {
    check(&[of_two(1), of_two(1), of_two(2)], 1);
}

/// Outside the contract, but people do it.
#[test]
fn somebody_removes_the_entries_of_waiters() {
    let clients = vec![EXCLUSIVE, EXCLUSIVE];
    let checker = explore(Lock { clients, faults: 2, meddling: true, bug: Bug::None });
    assert!(checker.is_done(), "not explored to the end");
    checker.assert_no_discovery("valid grants exclude each other");
    checker.assert_no_discovery("an attempt that is over leaves no entry");
}

fn finds(bug: Bug, clients: &[Asks], violated: &'static str) {
    let checker = explore(Lock { clients: clients.to_vec(), faults: 1, meddling: false, bug });
    assert!(checker.discovery(violated).is_some(), "{bug:?} was not found");
}

#[test]
fn the_search_finds_a_forgotten_residue() {
    finds(Bug::ForgetsResidue, &[EXCLUSIVE, EXCLUSIVE], "an attempt that is over leaves no entry");
}

#[test]
fn the_search_finds_an_early_expiry() {
    finds(Bug::ExpiresTooEarly, &[EXCLUSIVE, EXCLUSIVE], "valid grants exclude each other");
}

#[test]
fn the_search_finds_a_watch_that_is_set_too_late() {
    finds(Bug::WatchMissesThePast, &[EXCLUSIVE, EXCLUSIVE], "nobody sleeps who may hold");
}

#[test]
fn the_search_finds_a_wake_set_that_is_too_small() {
    finds(Bug::WatchesOnlyOne, &[of_two(1), of_two(1), of_two(1)], "nobody sleeps who may hold");
}

#[test]
fn the_search_finds_an_enqueue_that_is_not_idempotent() {
    finds(Bug::EnqueuesTwice, &[EXCLUSIVE, EXCLUSIVE], "an attempt that is over leaves no entry");
}

#[test]
fn the_search_finds_a_removal_that_is_not_final() {
    finds(Bug::RemovalIsNotFinal, &[EXCLUSIVE, EXCLUSIVE], "an attempt that is over leaves no entry");
}

#[test]
fn the_search_finds_a_guard_that_comes_with_a_lost_lease() {
    finds(Bug::GrantsWithALostLease, &[EXCLUSIVE], "no guard is lost when it is given");
}

//! Explores every order of events in which a few clients can run [`Attempt`](lockcore::queue::attempt::Attempt)s against one
//! server: lost replies, late requests, reads of the past, expiry, crashes, time-outs, cancellation, spurious wake-ups.
//!
//! The attempt with its decision whether there is a guard, the rule and the lease's clock are those of the library. What runs
//! them there is asynchronous; here it is a few lines of `world.rs`, so that each of its moves can be interleaved with the
//! others'.

mod client;
mod moves;
mod properties;
mod world;

use std::time::Duration;

use lockcore::EntryKind;
use moves::Action;
use stateright::{Checker, Model, Property};
use world::{Asks, Bug, Lock, World};

impl Model for Lock {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
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
        properties::properties(self.only)
    }
}

/// Two minutes are for the slowest of machines; a search that does not end proves nothing.
const LONGEST: Duration = Duration::from_secs(120);

/// Explores all of it: nothing bad can be reached, everything good can.
fn check(lock: Lock) {
    check_within(LONGEST, lock);
}

fn check_within(longest: Duration, lock: Lock) {
    let checker = lock.checker().threads(2).timeout(longest).spawn_dfs().join();
    eprintln!("{} states", checker.unique_state_count());
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
    check(Lock::of(&[EXCLUSIVE, EXCLUSIVE], 2, Bug::None));
}

#[test]
fn three_exclusive_clients_and_one_fault() {
    check(Lock::of(&[EXCLUSIVE, EXCLUSIVE, EXCLUSIVE], 1, Bug::None));
}

#[test]
#[ignore = "takes minutes, and gigabytes of memory"]
fn three_exclusive_clients_and_two_faults() {
    check_within(10 * LONGEST, Lock::of(&[EXCLUSIVE, EXCLUSIVE, EXCLUSIVE], 2, Bug::None));
}

#[test]
fn a_client_that_only_tries() {
    check(Lock::of(&[EXCLUSIVE, EXCLUSIVE, TRY], 1, Bug::None));
}

#[test]
fn a_client_that_does_not_queue_again() {
    check(Lock::of(&[EXCLUSIVE, EXCLUSIVE, ENDS_WITH_ITS_SESSION], 1, Bug::None));
}

#[test]
fn shared_and_exclusive_clients() {
    check(Lock::of(&[SHARED, EXCLUSIVE, SHARED], 1, Bug::None));
}

#[test]
fn a_semaphore_of_two() {
    check(Lock::of(&[of_two(1), of_two(1), of_two(2)], 1, Bug::None));
}

/// Outside the contract, but people do it.
#[test]
fn somebody_removes_the_entries_of_waiters() {
    check(Lock { meddling: true, ..Lock::of(&[EXCLUSIVE, EXCLUSIVE], 2, Bug::None) });
}

/// A session whose time passes second by second; the server ends it by its own clock. Another client waits for that.
fn timed(bug: Bug) -> Lock {
    let clients = [ENDS_WITH_ITS_SESSION, ENDS_WITH_ITS_SESSION];
    Lock { timed: Some(0), renewals: 1, ..Lock::of(&clients, 0, bug) }
}

#[test]
fn sessions_that_are_renewed_and_expire() {
    check(timed(Bug::None));
}

/// How long the shortest way into the mistake is.
fn shortest(lock: &Lock, violated: &'static str) -> Option<usize> {
    let lock = Lock { only: Some(violated), ..lock.clone() };
    let checker = lock.checker().threads(1).timeout(LONGEST).spawn_bfs().join();
    Some(checker.discovery(violated)?.into_actions().len())
}

/// Each mistake, the promise that it breaks, and in how many moves.
fn mistakes() -> Vec<(Lock, &'static str, usize)> {
    use properties::{AWAKE, HONEST, IN_TIME, NOTHING_LEFT, ONE_ENTRY, RULE};
    let two = |bug| Lock::of(&[EXCLUSIVE, EXCLUSIVE], 1, bug);
    let permits = Lock::of(&[of_two(1), of_two(1), of_two(1)], 0, Bug::WatchesOnlyOne);
    vec![
        (two(Bug::ForgetsResidue), NOTHING_LEFT, 6),
        (two(Bug::ExpiresTooEarly), RULE, 5),
        (timed(Bug::CountsFromReceipt), RULE, 13),
        (two(Bug::WatchMissesThePast), AWAKE, 9),
        (permits, AWAKE, 13),
        (Lock { meddling: true, ..two(Bug::SkipsItsOwnEntry) }, RULE, 11),
        (two(Bug::LooksBeforeItsOwnEntry), HONEST, 10),
        (two(Bug::EnqueuesTwice), ONE_ENTRY, 6),
        (two(Bug::AdoptsAForeignEntry), RULE, 9),
        (two(Bug::RemovalIsNotFinal), NOTHING_LEFT, 7),
        (Lock::of(&[EXCLUSIVE], 1, Bug::GrantsWithALostLease), IN_TIME, 5),
    ]
}

/// Whoever changes the model sees by this whether it still bites.
#[test]
fn each_mistake_is_found_in_so_many_moves() {
    let found: Vec<_> = mistakes()
        .iter()
        .map(|(lock, violated, moves)| (lock.bug, *violated, *moves, shortest(lock, violated)))
        .collect();
    for (bug, violated, _, found) in &found {
        eprintln!(
            "| {bug:?} | {violated} | {} |",
            found.map_or("not found".to_owned(), |moves| moves.to_string())
        );
    }
    for (bug, _, moves, found) in found {
        assert_eq!(found, Some(moves), "{bug:?}");
    }
}

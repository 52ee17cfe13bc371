//! Redis: a request to make an entry that comes after the removal that was to undo it meets a tombstone; and one that comes
//! after the tombstone is gone makes an entry that nobody renews ([decision 7](../../../docs/decisions/0007-redis.md),
//! repetition).

use stateright::{Model, Property};

use super::{harm, holds};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// A removal leaves nothing.
    NoTombstone,
    /// The tombstone is left only where the entry was there.
    OnlyWhereItWas,
    /// A repeated request appends a second entry.
    NotIdempotent,
}

struct Entry {
    mistake: Mistake,
}

/// In ticks: how long an entry lives without a renewal, and a tombstone.
const LEASE: u8 = 2;
const HORIZON: u8 = 7;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    /// The deadlines of the entries of this id: one, or none.
    entries: Vec<u8>,
    tombstone: Option<u8>,
    /// Requests to make the entry that may still be executed.
    under_way: u8,
    /// How often the client may still repeat it.
    repeats: u8,
    /// When it gave up, and when that was executed.
    given_up: bool,
    removed: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Tick,
    Repeat,
    Execute,
    Lose,
    Renew,
    GiveUp,
    Remove,
    /// Whoever looks removes the dead.
    Sweep,
}

impl Model for Entry {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let (entries, tombstone, removed) = (Vec::new(), None, None);
        vec![State { now: 0, entries, tombstone, under_way: 1, repeats: 1, given_up: false, removed }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let dead = state.entries.iter().any(|deadline| *deadline <= state.now);
        // Somebody waits: what is dead is removed before time goes on.
        if dead {
            actions.push(Action::Sweep);
        } else if state.now < HORIZON {
            actions.push(Action::Tick);
        }
        if state.under_way > 0 {
            actions.extend([Action::Execute, Action::Lose]);
        }
        if !state.given_up {
            actions.push(Action::GiveUp);
            if state.repeats > 0 {
                actions.push(Action::Repeat);
            }
        }
        if !state.given_up && !state.entries.is_empty() {
            actions.push(Action::Renew);
        }
        if state.given_up && state.removed.is_none() {
            actions.push(Action::Remove);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        let now = state.now;
        match action {
            Action::Tick => state.now += 1,
            Action::Repeat => (state.repeats, state.under_way) = (state.repeats - 1, state.under_way + 1),
            Action::Execute => {
                state.under_way -= 1;
                let buried = state.tombstone.is_some_and(|until| now < until);
                match state.entries.first_mut() {
                    Some(deadline) if self.mistake != Mistake::NotIdempotent => *deadline = now + LEASE,
                    _ if buried => {}
                    _ => state.entries.push(now + LEASE),
                }
            }
            Action::Lose => state.under_way -= 1,
            Action::Renew => state.entries.iter_mut().for_each(|deadline| *deadline = now + LEASE),
            Action::GiveUp => state.given_up = true,
            Action::Remove => {
                let was = state.entries.pop().is_some();
                let leaves = match self.mistake {
                    Mistake::NoTombstone => false,
                    Mistake::OnlyWhereItWas => was,
                    _ => true,
                };
                state.tombstone = leaves.then_some(now + LEASE);
                state.removed = Some(now);
            }
            Action::Sweep => state.entries.retain(|deadline| *deadline > now),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(FINAL, |_, state: &State| {
                state.removed.is_none_or(|removed| state.now >= removed + LEASE || state.entries.is_empty())
            }),
            Property::always(MORTAL, |_, state: &State| {
                // Nobody renews what comes later still: with the last request it has one lease.
                let late = |deadline: &u8| *deadline <= state.now + LEASE && state.removed.is_some();
                state.entries.len() <= 1 && (state.removed.is_none() || state.entries.iter().all(late))
            }),
            Property::sometimes("a request that comes after the tombstone", |_, state: &State| {
                state.removed.is_some_and(|removed| state.now >= removed + LEASE) && !state.entries.is_empty()
            }),
        ]
    }
}

const FINAL: &str = "what was removed does not come back as long as a session lives";
const MORTAL: &str = "there is one entry at most, and it dies";

#[test]
fn what_comes_after_its_removal_finds_a_tombstone() {
    holds(Entry { mistake: Mistake::None });
}

#[test]
fn mistakes_with_removals_do_harm() {
    let found = [
        harm(Entry { mistake: Mistake::NoTombstone }, FINAL),
        harm(Entry { mistake: Mistake::OnlyWhereItWas }, FINAL),
        harm(Entry { mistake: Mistake::NotIdempotent }, MORTAL),
    ];
    assert_eq!(found, [3, 3, 3]);
}

//! Redis: entries with deadlines of their own, and a lease that counts from the sending of a round of renewals in which all
//! were acknowledged ([decision 7](../../../docs/decisions/0007-redis.md), deadlines and renewals). One session holds two
//! locks, somebody else waits for each.

use stateright::{Model, Property};

use super::{harm, holds};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// The lease counts from when the answer came.
    CountsFromReceipt,
    /// A round counts although one of its scripts was not answered.
    CountsHalfARound,
    /// A renewal makes an entry anew that has been removed.
    MakesAnew,
    /// Whoever waits takes over by its own idea of the time, a little ahead of the server's.
    JudgesByItsOwnClock,
}

struct Session {
    mistake: Mistake,
}

/// How long entries live, in ticks of the server; the client keeps one of them back.
const LEASE: u8 = 4;
const MARGIN: u8 = 1;
const LOCKS: usize = 2;
const HORIZON: u8 = 8;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    /// The deadline of the session's entry in each lock, while it is there.
    deadlines: [Option<u8>; LOCKS],
    /// Who waited holds.
    taken: [bool; LOCKS],
    /// When the round of renewals was sent; its scripts: sent, executed, answered.
    round: Option<u8>,
    scripts: [Script; LOCKS],
    rounds: u8,
    /// From when the lease counts.
    renewed: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Script {
    Nothing,
    Sent,
    Executed,
    Answered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Tick,
    Send,
    Execute(usize),
    Answer(usize),
    /// The round ends: all answered, or the rest given up (and perhaps executed later).
    EndOfRound,
    /// Somebody else looks, and takes over what is over.
    Take(usize),
}

impl Session {
    fn valid(state: &State) -> bool {
        state.now < state.renewed + LEASE - MARGIN
    }

    fn over(&self, state: &State, deadline: u8) -> bool {
        let ahead = if self.mistake == Mistake::JudgesByItsOwnClock { 2 } else { 0 };
        state.now + ahead >= deadline
    }
}

impl Model for Session {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: 0,
            deadlines: [Some(LEASE); LOCKS],
            taken: [false; LOCKS],
            round: None,
            scripts: [Script::Nothing; LOCKS],
            rounds: 2,
            renewed: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < HORIZON {
            actions.push(Action::Tick);
        }
        if state.round.is_none() && state.rounds > 0 && !state.scripts.contains(&Script::Sent) {
            actions.push(Action::Send);
        }
        for lock in 0..LOCKS {
            match state.scripts[lock] {
                Script::Sent => actions.push(Action::Execute(lock)),
                Script::Executed if state.round.is_some() => actions.push(Action::Answer(lock)),
                _ => {}
            }
            if !state.taken[lock] && state.deadlines[lock].is_none_or(|deadline| self.over(state, deadline)) {
                actions.push(Action::Take(lock));
            }
        }
        if state.round.is_some() {
            actions.push(Action::EndOfRound);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        match action {
            Action::Tick => state.now += 1,
            Action::Send => {
                state.rounds -= 1;
                (state.round, state.scripts) = (Some(state.now), [Script::Sent; LOCKS]);
            }
            Action::Execute(lock) => {
                state.scripts[lock] = Script::Executed;
                let there = state.deadlines[lock].is_some() || self.mistake == Mistake::MakesAnew;
                state.deadlines[lock] = there.then_some(state.now + LEASE);
            }
            Action::Answer(lock) => state.scripts[lock] = Script::Answered,
            Action::EndOfRound => {
                let sent = state.round.take()?;
                let answered = |script: &&Script| **script == Script::Answered;
                let there = state.deadlines.iter().all(Option::is_some) || self.mistake == Mistake::MakesAnew;
                let needed = if self.mistake == Mistake::CountsHalfARound { 1 } else { LOCKS };
                let counts = state.scripts.iter().filter(answered).count() >= needed && there;
                if counts && Self::valid(&state) {
                    let from = if self.mistake == Mistake::CountsFromReceipt { state.now } else { sent };
                    state.renewed = state.renewed.max(from);
                }
            }
            Action::Take(lock) => (state.deadlines[lock], state.taken[lock]) = (None, true),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(EXCLUSION, |_, state: &State| {
                !Self::valid(state) || !state.taken.contains(&true)
            }),
            Property::always(NOTHING_ANEW, |_, state: &State| {
                (0..LOCKS).all(|lock| !(state.taken[lock] && state.deadlines[lock].is_some()))
            }),
            Property::sometimes("a lease that a renewal made longer", |_, state: &State| {
                state.now >= LEASE && Self::valid(state)
            }),
            Property::sometimes("somebody else takes over", |_, state: &State| state.taken == [true; LOCKS]),
        ]
    }
}

const EXCLUSION: &str = "nobody takes over what is valid";
const NOTHING_ANEW: &str = "what was taken over does not come back";

#[test]
fn a_lease_ends_before_its_entries_do() {
    holds(Session { mistake: Mistake::None });
}

#[test]
fn mistakes_with_renewals_do_harm() {
    let found = [
        harm(Session { mistake: Mistake::CountsFromReceipt }, EXCLUSION),
        harm(Session { mistake: Mistake::CountsHalfARound }, EXCLUSION),
        harm(Session { mistake: Mistake::JudgesByItsOwnClock }, EXCLUSION),
        harm(Session { mistake: Mistake::MakesAnew }, NOTHING_ANEW),
    ];
    assert_eq!(found, [11, 9, 3, 7]);
}

//! A directory: a counter that one process at a time has locked, and entries that live while they are locked. A process can be
//! stopped between any two of its steps, and is passed by then ([decision 8](../../../docs/decisions/0008-file.md)).

use stateright::{Model, Property};

use super::{harm, holds};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// Whether the counter is still the one that counts is asked before the entry gets its name.
    AsksTooEarly,
    /// Nobody asks.
    NeverAsks,
    /// The entry gets its name before it is locked.
    NamesBeforeItLocks,
    /// A new counter begins anew, and so may give a ticket again.
    NewCounterForgets,
}

struct Directory {
    mistake: Mistake,
}

const PROCESSES: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Doing {
    Idle,
    /// It has locked this counter.
    Counting {
        counter: u8,
    },
    /// It has a ticket of that counter.
    Ticketed {
        counter: u8,
        ticket: u8,
    },
    /// Its entry has its name.
    Named {
        counter: u8,
        ticket: u8,
    },
    Waiting {
        ticket: u8,
    },
    Holding {
        ticket: u8,
    },
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Entry {
    ticket: u8,
    owner: usize,
    locked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// Which file is the counter, who has it locked, and what each of the files says.
    counter: u8,
    locked: Vec<Option<usize>>,
    last: Vec<u8>,
    entries: Vec<Entry>,
    doing: [Doing; PROCESSES],
    /// Tickets of all who ever held, in the order in which they did.
    held: Vec<u8>,
    replacements: u8,
    kills: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Lock(usize),
    Ticket(usize),
    Name(usize),
    /// Locks the entry, where that comes after its name.
    LockEntry(usize),
    Check(usize),
    Look(usize),
    Release(usize),
    /// Whoever waits for the counter puts another in its place: who has it may be stopped.
    Replace,
    Kill(usize),
}

impl Directory {
    fn unlock(state: &mut State, process: usize) {
        state.locked.iter_mut().filter(|locked| **locked == Some(process)).for_each(|locked| *locked = None);
    }

    fn own(state: &State, process: usize) -> Option<Entry> {
        state.entries.iter().copied().find(|entry| entry.owner == process)
    }

    fn withdraw(state: &mut State, process: usize) {
        state.entries.retain(|entry| entry.owner != process);
        Self::unlock(state, process);
        state.doing[process] = Doing::Idle;
    }

    /// The dead are removed by whoever looks; then the first holds.
    fn look(state: &mut State, process: usize, ticket: u8) {
        state.entries.retain(|entry| entry.locked || entry.owner == process);
        state.entries.sort_unstable();
        state.doing[process] = match state.entries.first() {
            Some(first) if first.owner == process => {
                state.held.push(ticket);
                Doing::Holding { ticket }
            }
            _ => Doing::Waiting { ticket },
        };
    }
}

impl Model for Directory {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            counter: 0,
            locked: vec![None],
            last: vec![0],
            entries: Vec::new(),
            doing: [Doing::Idle; PROCESSES],
            held: Vec::new(),
            replacements: 1,
            kills: 1,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (process, doing) in state.doing.iter().enumerate() {
            actions.extend(match doing {
                Doing::Idle if state.locked[usize::from(state.counter)].is_none() => {
                    Some(Action::Lock(process))
                }
                Doing::Counting { .. } => Some(Action::Ticket(process)),
                Doing::Ticketed { .. } => Some(Action::Name(process)),
                Doing::Named { .. } if Self::own(state, process).is_some_and(|own| !own.locked) => {
                    Some(Action::LockEntry(process))
                }
                Doing::Named { .. } => Some(Action::Check(process)),
                Doing::Waiting { .. } => Some(Action::Look(process)),
                Doing::Holding { .. } => Some(Action::Release(process)),
                Doing::Idle | Doing::Done => None,
            });
            if state.kills > 0 && !matches!(doing, Doing::Idle | Doing::Done) {
                actions.push(Action::Kill(process));
            }
        }
        if state.replacements > 0 && state.locked[usize::from(state.counter)].is_some() {
            actions.push(Action::Replace);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        match action {
            Action::Lock(process) => {
                let counter = state.counter;
                state.locked[usize::from(counter)] = Some(process);
                state.doing[process] = Doing::Counting { counter };
            }
            Action::Ticket(process) => {
                let Doing::Counting { counter } = state.doing[process] else { return None };
                let largest = state.entries.iter().map(|entry| entry.ticket).max().unwrap_or(0);
                let last = state.last[usize::from(counter)];
                let ticket =
                    if self.mistake == Mistake::NewCounterForgets { last } else { last.max(largest) } + 1;
                state.last[usize::from(counter)] = ticket;
                state.doing[process] = Doing::Ticketed { counter, ticket };
                if self.mistake == Mistake::AsksTooEarly && counter != state.counter {
                    Self::withdraw(&mut state, process);
                }
            }
            Action::Name(process) => {
                let Doing::Ticketed { counter, ticket } = state.doing[process] else { return None };
                let locked = self.mistake != Mistake::NamesBeforeItLocks;
                state.entries.push(Entry { ticket, owner: process, locked });
                state.entries.sort_unstable();
                state.doing[process] = Doing::Named { counter, ticket };
            }
            Action::LockEntry(process) => {
                let own = state.entries.iter_mut().find(|entry| entry.owner == process);
                own.into_iter().for_each(|own| own.locked = true);
            }
            Action::Check(process) => {
                let Doing::Named { counter, ticket } = state.doing[process] else { return None };
                let asks = !matches!(self.mistake, Mistake::AsksTooEarly | Mistake::NeverAsks);
                if asks && counter != state.counter {
                    Self::withdraw(&mut state, process);
                } else {
                    Self::unlock(&mut state, process);
                    Self::look(&mut state, process, ticket);
                }
            }
            Action::Look(process) => {
                let Doing::Waiting { ticket } = state.doing[process] else { return None };
                Self::look(&mut state, process, ticket);
            }
            Action::Release(process) | Action::Kill(process) => {
                state.kills -= u8::from(matches!(action, Action::Kill(_)));
                Self::withdraw(&mut state, process);
                state.doing[process] = Doing::Done;
            }
            Action::Replace => {
                state.replacements -= 1;
                let said = state.last[usize::from(state.counter)];
                state.last.push(if self.mistake == Mistake::NewCounterForgets { 0 } else { said });
                state.locked.push(None);
                state.counter += 1;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE, |_, state: &State| {
                state.doing.iter().filter(|doing| matches!(doing, Doing::Holding { .. })).count() <= 1
            }),
            Property::always(RISING, |_, state: &State| state.held.is_sorted_by(|one, next| one < next)),
            Property::always(THERE, |_, state: &State| {
                (0..PROCESSES).all(|process| match state.doing[process] {
                    Doing::Waiting { .. } | Doing::Holding { .. } => Self::own(state, process).is_some(),
                    _ => true,
                })
            }),
            Property::sometimes("a process that was passed by begins anew", |_, state: &State| {
                state.counter == 1 && state.held.len() == 2
            }),
        ]
    }
}

const ONE: &str = "one holds at most";
const RISING: &str = "tickets rise from holder to holder";
const THERE: &str = "whoever waits or holds has his entry";

#[test]
fn a_process_that_is_stopped_is_passed_by_and_does_no_harm() {
    holds(Directory { mistake: Mistake::None });
}

#[test]
fn mistakes_with_the_counter_do_harm() {
    let found = [
        harm(Directory { mistake: Mistake::AsksTooEarly }, ONE),
        harm(Directory { mistake: Mistake::NeverAsks }, ONE),
        harm(Directory { mistake: Mistake::NamesBeforeItLocks }, THERE),
        harm(Directory { mistake: Mistake::NewCounterForgets }, RISING),
    ];
    assert_eq!(found, [9, 9, 16, 13]);
}

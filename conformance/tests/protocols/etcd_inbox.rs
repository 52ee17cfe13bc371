//! etcd: messages that say who holds. A name is used again, so a message that names only the slot may mean an earlier stay
//! ([decision 6](../../../docs/decisions/0006-etcd.md), waking up).

use stateright::{Model, Property};

use super::{harm, holds};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// A message names the slot, not the create revision.
    NamesTheSlot,
    /// Whoever leaves tells the next one that he knows of, without comparing whether that is still there.
    TellsWithoutComparing,
    /// Whoever is told nothing never looks by itself.
    NeverLooks,
}

struct Inbox {
    mistake: Mistake,
}

const CLIENTS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Doing {
    Idle,
    /// With an entry of this revision.
    Waiting(u8),
    Holding(u8),
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// Revision and owner, in order. Each client has one slot.
    queue: Vec<(u8, usize)>,
    revision: u8,
    doing: [Doing; CLIENTS],
    /// Messages that have been written and not been heard: to whom, and which revision holds.
    messages: Vec<(usize, u8)>,
    /// How often each client may still ask.
    left: [u8; CLIENTS],
    crashes: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Append(usize),
    Cancel(usize),
    Hear(usize, u8),
    Look(usize),
    Release(usize),
    /// Its entry goes with its session, and nobody is told.
    Crash(usize),
}

impl Inbox {
    /// Removes the entry, and tells whoever is first then, in one transaction.
    fn leave(&self, state: &mut State, client: usize) {
        let was_first = state.queue.first().is_some_and(|first| first.1 == client);
        state.queue.retain(|entry| entry.1 != client);
        if let Some((revision, next)) = state.queue.first().copied().filter(|_| was_first) {
            state.messages.push((next, revision));
            state.messages.sort_unstable();
        }
        if self.mistake == Mistake::TellsWithoutComparing {
            // The next that was known may be anybody who stood there.
            let known = state.queue.get(1).copied();
            state.messages.extend(known.map(|(revision, next)| (next, revision)));
        }
    }

    fn hear(&self, state: &mut State, client: usize, revision: u8) {
        let told = state.messages.iter().position(|message| *message == (client, revision));
        state.messages.remove(told.unwrap_or_default());
        if let Doing::Waiting(own) = state.doing[client]
            && (own == revision || self.mistake == Mistake::NamesTheSlot)
        {
            state.doing[client] = Doing::Holding(own);
        }
    }
}

impl Model for Inbox {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let (doing, left) = ([Doing::Idle; CLIENTS], [2, 1, 1]);
        vec![State { queue: Vec::new(), revision: 0, doing, messages: Vec::new(), left, crashes: 1 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (client, doing) in state.doing.iter().enumerate() {
            match doing {
                Doing::Idle if state.left[client] > 0 => actions.push(Action::Append(client)),
                Doing::Waiting(_) => {
                    actions.push(Action::Cancel(client));
                    let first = state.queue.first().is_some_and(|first| first.1 == client);
                    if first && self.mistake != Mistake::NeverLooks {
                        actions.push(Action::Look(client));
                    }
                }
                Doing::Holding(_) => {
                    actions.push(Action::Release(client));
                    if state.crashes > 0 {
                        actions.push(Action::Crash(client));
                    }
                }
                Doing::Idle | Doing::Done => {}
            }
        }
        actions.extend(state.messages.iter().map(|(client, revision)| Action::Hear(*client, *revision)));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        match action {
            Action::Append(client) => {
                state.left[client] -= 1;
                state.revision += 1;
                state.queue.push((state.revision, client));
                // The transaction that appends sees whether anybody is ahead.
                let alone = state.queue.len() == 1;
                let revision = state.revision;
                state.doing[client] = if alone { Doing::Holding(revision) } else { Doing::Waiting(revision) };
            }
            Action::Cancel(client) | Action::Release(client) => {
                self.leave(&mut state, client);
                state.doing[client] = Doing::Idle;
            }
            Action::Hear(client, revision) => self.hear(&mut state, client, revision),
            Action::Look(client) => {
                let Doing::Waiting(own) = state.doing[client] else { return None };
                state.doing[client] = Doing::Holding(own);
            }
            Action::Crash(client) => {
                state.crashes -= 1;
                state.queue.retain(|entry| entry.1 != client);
                state.doing[client] = Doing::Done;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(FIRST, |_, state: &State| {
                state.doing.iter().enumerate().all(|(client, doing)| match doing {
                    Doing::Holding(own) => state.queue.first() == Some(&(*own, client)),
                    _ => true,
                })
            }),
            Property::always(AWAKE, |model: &Inbox, state: &State| {
                let mut actions = Vec::new();
                model.actions(state, &mut actions);
                let moves = |action: &Action| !matches!(action, Action::Cancel(_) | Action::Append(_));
                let first = state.queue.first().map(|first| state.doing[first.1]);
                actions.iter().any(moves) || !matches!(first, Some(Doing::Waiting(_)))
            }),
            Property::sometimes("a message comes when its entry is gone", |_, state: &State| {
                state.messages.iter().any(|message| !state.queue.contains(&(message.1, message.0)))
            }),
        ]
    }
}

const FIRST: &str = "whoever holds is the first of the queue";
const AWAKE: &str = "nobody sleeps who is the first";

#[test]
fn messages_that_come_late_are_believed_by_nobody() {
    holds(Inbox { mistake: Mistake::None });
}

#[test]
fn mistakes_with_messages_do_harm() {
    let found = [
        harm(Inbox { mistake: Mistake::NamesTheSlot }, FIRST),
        harm(Inbox { mistake: Mistake::TellsWithoutComparing }, FIRST),
        harm(Inbox { mistake: Mistake::NeverLooks }, AWAKE),
    ];
    assert_eq!(found, [7, 5, 3]);
}

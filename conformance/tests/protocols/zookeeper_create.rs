//! ZooKeeper: a create whose outcome is unknown, and a client that connects again, perhaps to a server that lags
//! ([decision 3](../../../docs/decisions/0003-zookeeper-layout.md), the layout).

use stateright::{Model, Property};

use super::{harm, holds};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// The search for the entry asks whatever the server has seen so far.
    DoesNotSync,
    /// The create is simply repeated.
    DoesNotSearch,
    /// What was not found is taken for removed, though its request may still come.
    BelievesThatNothingComes,
}

struct Session {
    mistake: Mistake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Doing {
    Creating,
    Connecting,
    Searching,
    Holding,
    /// It gave up, and searches for what is to be removed.
    Leaving,
    Removing,
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// The entries that the leader has, by number; and how much of its history each of two servers has seen.
    entries: Vec<u8>,
    /// After each change what there was.
    history: Vec<Vec<u8>>,
    seen: [usize; 2],
    /// The server to which the client is connected; what comes over the connection before that is refused once the leader knows.
    server: usize,
    /// Requests under way, by the connection over which they were sent.
    under_way: Vec<u8>,
    connection: u8,
    doing: Doing,
    breaks: u8,
    own: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// A create comes to the leader.
    Execute(u8),
    CatchUp(usize),
    /// The answer to the create arrives.
    Answer,
    Break,
    Connect(usize),
    Search,
    GiveUp,
    Remove,
}

impl Session {
    fn change(state: &mut State, entries: Vec<u8>) {
        state.entries = entries;
        state.history.push(state.entries.clone());
    }

    fn create(state: &mut State) {
        state.under_way.push(state.connection);
        state.doing = Doing::Creating;
    }

    /// What a listing shows, after a sync or without.
    fn listing(&self, state: &mut State) -> Vec<u8> {
        if self.mistake != Mistake::DoesNotSync {
            state.seen[state.server] = state.history.len() - 1;
        }
        state.history[state.seen[state.server]].clone()
    }
}

impl Model for Session {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            entries: Vec::new(),
            history: vec![Vec::new()],
            seen: [0; 2],
            server: 0,
            under_way: Vec::new(),
            connection: 0,
            doing: Doing::Creating,
            breaks: 2,
            own: None,
        };
        Self::create(&mut state);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(state.under_way.iter().map(|connection| Action::Execute(*connection)));
        for server in 0..2 {
            if state.seen[server] + 1 < state.history.len() {
                actions.push(Action::CatchUp(server));
            }
        }
        match state.doing {
            Doing::Creating if !state.under_way.contains(&state.connection) => actions.push(Action::Answer),
            Doing::Connecting => actions.extend([Action::Connect(0), Action::Connect(1)]),
            Doing::Searching | Doing::Leaving => actions.push(Action::Search),
            Doing::Removing => actions.push(Action::Remove),
            _ => {}
        }
        if state.doing == Doing::Creating && state.breaks > 0 {
            actions.push(Action::Break);
        }
        if matches!(state.doing, Doing::Creating | Doing::Searching) {
            actions.push(Action::GiveUp);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        match action {
            Action::Execute(connection) => {
                let position = state.under_way.iter().position(|other| *other == connection)?;
                state.under_way.remove(position);
                // A session that has moved on is not served over the old connection any more.
                if connection == state.connection {
                    let number = state.history.len() as u8;
                    let entries = [state.entries.as_slice(), &[number]].concat();
                    Self::change(&mut state, entries);
                }
            }
            Action::CatchUp(server) => state.seen[server] += 1,
            Action::Answer => {
                state.own = state.entries.last().copied();
                state.doing = Doing::Holding;
            }
            Action::Break => (state.breaks, state.doing) = (state.breaks - 1, Doing::Connecting),
            Action::Connect(server) => {
                state.connection += 1;
                // A client never goes back behind what it has seen; here it has seen nothing yet.
                state.server = server;
                match self.mistake {
                    Mistake::DoesNotSearch => Self::create(&mut state),
                    _ => state.doing = Doing::Searching,
                }
            }
            Action::Search => {
                let found = self.listing(&mut state).last().copied();
                match (state.doing, found) {
                    (Doing::Leaving, Some(own)) => (state.own, state.doing) = (Some(own), Doing::Removing),
                    // On one connection a create that was sent before is executed before the search.
                    (Doing::Leaving, None) => {
                        let comes = state.under_way.contains(&state.connection);
                        if comes && self.mistake != Mistake::BelievesThatNothingComes {
                            return None;
                        }
                        state.doing = Doing::Over;
                    }
                    (_, Some(own)) => (state.own, state.doing) = (Some(own), Doing::Holding),
                    (_, None) => Self::create(&mut state),
                }
            }
            Action::GiveUp => state.doing = Doing::Leaving,
            Action::Remove => {
                let own = state.own?;
                let entries = state.entries.iter().copied().filter(|entry| *entry != own).collect();
                Self::change(&mut state, entries);
                state.doing = Doing::Over;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE, |_, state: &State| state.entries.len() <= 1),
            Property::always(NOTHING_LEFT, |_, state: &State| {
                state.doing != Doing::Over || !state.under_way.is_empty() || state.entries.is_empty()
            }),
            Property::sometimes("an entry that was found again", |_, state: &State| {
                state.doing == Doing::Holding && state.connection > 0 && state.history.len() == 2
            }),
            Property::sometimes(
                "a request that is refused because the session has moved",
                |_, state: &State| {
                    state.doing == Doing::Holding
                        && state.under_way.iter().any(|sent| *sent < state.connection)
                },
            ),
        ]
    }
}

const ONE: &str = "an acquisition has one entry at most";
const NOTHING_LEFT: &str = "what is over has no entry";

#[test]
fn an_unknown_create_is_found_after_a_sync() {
    holds(Session { mistake: Mistake::None });
}

#[test]
fn mistakes_after_an_unknown_create_do_harm() {
    let found = [
        harm(Session { mistake: Mistake::DoesNotSync }, ONE),
        harm(Session { mistake: Mistake::DoesNotSearch }, ONE),
        harm(Session { mistake: Mistake::BelievesThatNothingComes }, NOTHING_LEFT),
    ];
    assert_eq!(found, [5, 4, 3]);
}

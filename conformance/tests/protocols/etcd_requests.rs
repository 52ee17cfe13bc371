//! etcd: two acquisitions, one after the other, in one slot of one session. A request to append may be executed after its
//! caller has given up ([decision 6](../../../docs/decisions/0006-etcd.md), late requests and keys that are used again).

use stateright::{Model, Property};

use super::{harm, holds};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// A removal does not refuse the requests before it.
    RefusesNothing,
    /// The entry is removed first, and the requests are refused afterwards.
    RefusesTooLate,
    /// The entry is removed by its name, whoever stands there.
    RemovesByName,
    /// The slot is used again although a request for it may be under way.
    ReusesTheSlotAtOnce,
}

struct Slot {
    mistake: Mistake,
}

/// What is on its way to the server, and may be executed at any time, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Request {
    /// Appends the entry of an acquisition, if the session's number is smaller than this.
    Append { acquisition: u8, number: u8 },
    /// Makes the session's number this one.
    Refuse { number: u8 },
    /// Removes the entry with this create revision (0: whatever is there).
    Remove { created: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Doing {
    Appending,
    Refusing,
    Removing { created: u8 },
    Holding { created: u8 },
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// On the server: the session's number, the key's acquisition and create revision, the revision.
    number: u8,
    key: Option<(u8, u8)>,
    revision: u8,
    under_way: Vec<Request>,
    /// The client: which acquisition, what it does, and what it has been answered.
    acquisition: u8,
    doing: Doing,
    answer: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Execute(Request),
    Lose(Request),
    /// The client repeats a removal, whose answer it may not have heard.
    Repeat(Request),
    /// The client hears the answer.
    Hear,
    /// It gives up before it hears one.
    GiveUp,
    Release,
}

const ACQUISITIONS: u8 = 2;

impl Slot {
    fn send(&self, state: &mut State, request: Request) {
        state.under_way.push(request);
        state.under_way.sort_unstable();
        state.answer = None;
    }

    fn begin(&self, state: &mut State) {
        state.acquisition += 1;
        if state.acquisition > ACQUISITIONS {
            state.doing = Doing::Done;
            return;
        }
        state.doing = Doing::Appending;
        let (acquisition, number) = (state.acquisition, state.acquisition);
        self.send(state, Request::Append { acquisition, number });
    }

    fn execute(&self, state: &mut State, request: Request) {
        let awaited = match (request, state.doing) {
            (Request::Append { acquisition, .. }, Doing::Appending) => acquisition == state.acquisition,
            (Request::Refuse { number }, Doing::Refusing) => number == state.acquisition,
            (Request::Remove { created }, Doing::Removing { created: awaited }) => created == awaited,
            _ => false,
        };
        let mut answer = 0;
        match request {
            Request::Append { acquisition, number } if number > state.number && state.key.is_none() => {
                state.revision += 1;
                state.key = Some((acquisition, state.revision));
                answer = state.revision;
            }
            Request::Append { .. } => {}
            Request::Refuse { number } => state.number = state.number.max(number),
            Request::Remove { created } => {
                let by_name = created == 0 || self.mistake == Mistake::RemovesByName;
                state.key = state.key.filter(|key| !(by_name || key.1 == created));
            }
        }
        if awaited {
            state.answer = Some(answer);
        }
    }

    /// What follows an answer.
    fn hear(&self, state: &mut State, answer: u8) {
        state.answer = None;
        let own = state.key.filter(|key| key.0 == state.acquisition).map(|key| key.1);
        match state.doing {
            Doing::Appending if answer > 0 => state.doing = Doing::Holding { created: answer },
            // The slot is taken by what is not ours: the driver takes another one, and that is the end here.
            Doing::Appending => self.begin(state),
            Doing::Refusing if self.mistake == Mistake::RefusesTooLate => self.begin(state),
            // The transaction that refuses also reads what is there.
            Doing::Refusing => self.remove(state, own),
            Doing::Removing { .. } if self.mistake == Mistake::RefusesTooLate && self.unheard(state) => {
                self.refuse(state)
            }
            Doing::Removing { .. } => self.begin(state),
            Doing::Holding { .. } | Doing::Done => {}
        }
    }

    fn unheard(&self, state: &State) -> bool {
        let number = state.acquisition;
        state
            .under_way
            .iter()
            .any(|request| matches!(request, Request::Append { acquisition, .. } if *acquisition == number))
    }

    fn refuse(&self, state: &mut State) {
        state.doing = Doing::Refusing;
        let number = state.acquisition;
        self.send(state, Request::Refuse { number });
    }

    fn remove(&self, state: &mut State, created: Option<u8>) {
        let Some(created) = created else { return self.begin(state) };
        state.doing = Doing::Removing { created };
        self.send(state, Request::Remove { created });
    }

    fn give_up(&self, state: &mut State) {
        let own = state.key.filter(|key| key.0 == state.acquisition).map(|key| key.1);
        match self.mistake {
            Mistake::ReusesTheSlotAtOnce => self.begin(state),
            Mistake::RefusesNothing => self.remove(state, own),
            Mistake::RefusesTooLate => {
                let created = own.unwrap_or(u8::MAX);
                state.doing = Doing::Removing { created };
                self.send(state, Request::Remove { created });
            }
            Mistake::None | Mistake::RemovesByName => self.refuse(state),
        }
    }
}

impl Model for Slot {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            number: 0,
            key: None,
            revision: 0,
            under_way: Vec::new(),
            acquisition: 0,
            doing: Doing::Done,
            answer: None,
        };
        self.begin(&mut state);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for request in &state.under_way {
            actions.push(Action::Execute(*request));
            if matches!(request, Request::Remove { .. }) && state.under_way.len() < 2 {
                actions.push(Action::Repeat(*request));
            }
            // What a client waits for is repeated until it is answered.
            if matches!(request, Request::Append { .. }) {
                actions.push(Action::Lose(*request));
            }
        }
        actions.extend(state.answer.map(|_| Action::Hear));
        match state.doing {
            Doing::Appending => actions.push(Action::GiveUp),
            Doing::Holding { .. } => actions.push(Action::Release),
            _ => {}
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        let take = |state: &mut State, request| {
            let position = state.under_way.iter().position(|other| *other == request);
            position.map(|position| state.under_way.remove(position))
        };
        match action {
            Action::Execute(request) => {
                take(&mut state, request);
                self.execute(&mut state, request);
            }
            Action::Repeat(request) => {
                state.under_way.push(request);
                state.under_way.sort_unstable();
            }
            Action::Lose(request) => drop(take(&mut state, request)),
            Action::Hear => {
                let answer = state.answer?;
                self.hear(&mut state, answer);
            }
            Action::GiveUp => self.give_up(&mut state),
            Action::Release => {
                let Doing::Holding { created } = state.doing else { return None };
                state.doing = Doing::Removing { created };
                self.send(&mut state, Request::Remove { created });
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOTHING_LEFT, |_, state: &State| {
                state.key.is_none_or(|key| key.0 >= state.acquisition)
            }),
            Property::always(KEPT, |_, state: &State| match state.doing {
                Doing::Holding { created } => state.key == Some((state.acquisition, created)),
                _ => true,
            }),
            Property::sometimes(
                "the second one holds while a request of the first is under way",
                |model: &Slot, state: &State| {
                    let late = |request: &Request| matches!(request, Request::Append { acquisition: 1, .. });
                    model.mistake != Mistake::None
                        || (matches!(state.doing, Doing::Holding { .. })
                            && state.acquisition == 2
                            && state.under_way.iter().any(late))
                },
            ),
        ]
    }
}

const NOTHING_LEFT: &str = "what is over has no entry";
const KEPT: &str = "whoever holds has his entry";

#[test]
fn requests_that_come_late_leave_nothing() {
    holds(Slot { mistake: Mistake::None });
}

#[test]
fn mistakes_with_late_requests_do_harm() {
    let found = [
        harm(Slot { mistake: Mistake::RefusesNothing }, NOTHING_LEFT),
        harm(Slot { mistake: Mistake::RefusesTooLate }, NOTHING_LEFT),
        harm(Slot { mistake: Mistake::ReusesTheSlotAtOnce }, NOTHING_LEFT),
        harm(Slot { mistake: Mistake::RemovesByName }, KEPT),
    ];
    assert_eq!(found, [2, 4, 2, 9]);
}

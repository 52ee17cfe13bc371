//! One client of the model: what it is doing, and what it has left behind.

use lockcore::queue::Standing;
use lockcore::queue::attempt::{Attempt, Event};
use lockcore::{EntryId, Loss, Revision};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) attempt: Attempt,
    pub(super) doing: Doing,
    /// The one that was opened last is in use, if the client has a place on it.
    pub(super) sessions: Vec<Session>,
    pub(super) has_place: bool,
    pub(super) token: Option<u8>,
    /// The janitor has been asked to remove the entry.
    pub(super) to_be_removed: bool,
    /// Somebody removed the entry by hand.
    pub(super) meddled: bool,
    pub(super) lost_reply: bool,
    /// It got a guard with a session that was known to be lost.
    pub(super) granted_too_late: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Session {
    pub(super) life: Life,
    /// An enqueue that nobody waits for any more, but that may still be executed.
    pub(super) late_enqueue: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Doing {
    Nothing,
    Opening,
    /// An enqueue or a look, and the server's answer when it has been executed.
    Asking(Request, Option<Answer>),
    Watching(Vec<Owner>),
    Pausing,
    Holding,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Request {
    Enqueue,
    Look,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Holds(Option<u8>),
    Waits(Option<u8>, Vec<Owner>),
    Absent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Life {
    Live,
    /// Lost by the client's clock; the server does not know yet.
    Lost,
    /// The server ended it, and its entries.
    Ended,
}

/// Whose an entry is: the client's number, and which of its sessions.
pub(super) type Owner = (usize, usize);

impl Client {
    pub(super) fn new(patient: bool, requeues: bool) -> Self {
        Self {
            attempt: Attempt::new(patient, requeues),
            doing: Doing::Nothing,
            sessions: Vec::new(),
            has_place: false,
            token: None,
            to_be_removed: false,
            meddled: false,
            lost_reply: false,
            granted_too_late: false,
        }
    }

    pub(super) fn open(&mut self) -> Event {
        self.sessions.push(Session { life: Life::Live, late_enqueue: false });
        (self.has_place, self.token) = (true, None);
        Event::Opened
    }

    /// The session in use, by its number.
    pub(super) fn current(&self) -> usize {
        self.sessions.len().saturating_sub(1)
    }

    pub(super) fn life(&self) -> Option<Life> {
        self.sessions.last().map(|session| session.life)
    }

    /// What the lease says.
    pub(super) fn loss(&self) -> Option<Loss> {
        (self.has_place && self.life() != Some(Life::Live)).then_some(Loss::Deadline)
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.doing, Doing::Opening | Doing::Asking(..) | Doing::Watching(_) | Doing::Pausing)
    }

    /// Nobody waits for the request any more; if it was sent, it may still be executed.
    pub(super) fn abandon(&mut self) {
        let sent = self.doing == Doing::Asking(Request::Enqueue, None);
        self.sessions.last_mut().into_iter().for_each(|session| session.late_enqueue |= sent);
    }

    pub(super) fn hear(&mut self) -> Event {
        let Doing::Asking(request, Some(answer)) = std::mem::replace(&mut self.doing, Doing::Nothing) else {
            unreachable!("there is an answer")
        };
        let (token, standing) = match answer {
            Answer::Holds(token) => (token, Standing::Holds),
            Answer::Waits(token, wake) => (
                token,
                Standing::Waits { wake: wake.into_iter().map(id).collect(), seen: Revision::default() },
            ),
            Answer::Absent => (None, Standing::Absent),
        };
        if request == Request::Enqueue {
            self.token = token;
        }
        Event::Stands(standing)
    }
}

pub(super) fn id((client, session): Owner) -> EntryId {
    format!("{client}-{session}").as_str().into()
}

pub(super) fn owner_of(id: &EntryId) -> Owner {
    let numbers = id.as_str().split_once('-').expect("the id is made of two numbers");
    let number = |text: &str| text.parse().expect("a number");
    (number(numbers.0), number(numbers.1))
}

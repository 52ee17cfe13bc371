//! One client of the model: what it is doing, and what it has left behind.

use lockcore::queue::Standing;
use lockcore::queue::attempt::{Attempt, Event};
use lockcore::{EntryId, Revision};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) attempt: Attempt,
    pub(super) doing: Doing,
    pub(super) session: Session,
    pub(super) token: Option<u8>,
    /// An enqueue that nobody waits for any more, but that may still be executed.
    pub(super) late_enqueue: bool,
    /// The janitor has been asked to remove the entry.
    pub(super) to_be_removed: bool,
    /// Somebody removed the entry by hand.
    pub(super) meddled: bool,
    pub(super) lost_reply: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Doing {
    Nothing,
    /// An enqueue or a look, and the server's answer when it has been executed.
    Asking(Request, Option<Answer>),
    Watching(Vec<usize>),
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
    Waits(Option<u8>, Vec<usize>),
    Absent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Session {
    Live,
    /// Lost by the client's clock; the server does not know yet.
    Lost,
    /// The server ended it, and its entries.
    Ended,
}

impl Client {
    pub(super) fn new(patient: bool) -> Self {
        Self {
            attempt: Attempt::new(patient),
            doing: Doing::Nothing,
            session: Session::Live,
            token: None,
            late_enqueue: false,
            to_be_removed: false,
            meddled: false,
            lost_reply: false,
        }
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.doing, Doing::Asking(..) | Doing::Watching(_) | Doing::Pausing)
    }

    /// Nobody waits for the request any more; if it was sent, it may still be executed.
    pub(super) fn abandon(&mut self) {
        self.late_enqueue |= self.doing == Doing::Asking(Request::Enqueue, None);
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

pub(super) fn id(client: usize) -> EntryId {
    client.to_string().as_str().into()
}

pub(super) fn client_of(id: &EntryId) -> usize {
    id.as_str().parse().expect("the id is the client's number")
}

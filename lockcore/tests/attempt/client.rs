//! One client of the model: what it is doing, and what it has left behind.

use std::time::Duration;

use lockcore::queue::Standing;
use lockcore::queue::attempt::{Attempt, Event};
use lockcore::session::{LeaseClock, LeaseState, Moment};
use lockcore::{Enqueued, EntryId, FencingToken, Loss, Revision};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) attempt: Attempt,
    pub(super) doing: Doing,
    /// The one that was opened last is in use, if the client has a place on it.
    pub(super) sessions: Vec<Session>,
    pub(super) has_place: bool,
    /// There may be an entry, which its place gives to the janitor when it is dropped.
    pub(super) armed: bool,
    /// The token of its guard.
    pub(super) token: Option<u8>,
    /// The janitor has been asked to remove the entry.
    pub(super) to_be_removed: bool,
    pub(super) crashed: bool,
    /// Somebody removed the entry by hand.
    pub(super) meddled: bool,
    pub(super) told_of_a_removal: bool,
    pub(super) lost_reply: bool,
    pub(super) read_the_past: bool,
    /// It got a guard with a session that was known to be lost.
    pub(super) granted_too_late: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Session {
    /// The shipped one.
    pub(super) lease: LeaseClock,
    /// Seconds since the session was asked for: one time for both sides, which measure it alike.
    pub(super) now: u8,
    /// When the server ends the session, unless it is renewed.
    pub(super) server_deadline: u8,
    /// The server ended it, and its entries.
    pub(super) ended: bool,
    pub(super) renewal: Option<Renewal>,
    pub(super) renewals_left: u8,
    /// An enqueue that nobody waits for any more, but that may still be executed.
    pub(super) late_enqueue: bool,
}

/// A renewal that has not been answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Renewal {
    pub(super) sent: u8,
    pub(super) executed: bool,
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

/// Whose an entry is: the client's number, and which of its sessions.
pub(super) type Owner = (usize, usize);

impl Session {
    /// For how many seconds the server grants one; a fifth of it is the client's margin.
    pub(super) const GRANTED: u8 = 5;

    pub(super) fn new(renewals_left: u8) -> Self {
        let granted = Some(Duration::from_secs(Self::GRANTED.into()));
        Self {
            lease: LeaseClock::new(granted, Moment::default()),
            now: 0,
            server_deadline: Self::GRANTED,
            ended: false,
            renewal: None,
            renewals_left,
            late_enqueue: false,
        }
    }

    /// What the client knows.
    pub(super) fn loss(&self) -> Option<Loss> {
        match self.lease.clone().state(at(self.now)) {
            LeaseState::Lost(loss) => Some(loss),
            _ => None,
        }
    }

    /// Until when it believes in the session.
    pub(super) fn believed_until(&self) -> u8 {
        (self.now..=u8::MAX)
            .find(|second| Self { now: *second, ..self.clone() }.loss().is_some())
            .unwrap_or(self.now)
    }

    /// The answer to a renewal counts from when it was sent, or (by mistake) from now.
    pub(super) fn acknowledge(&mut self, from_receipt: bool) {
        let Some(Renewal { sent, executed: true }) = self.renewal.take() else { return };
        if self.loss().is_none() {
            self.lease.renewed(at(if from_receipt { self.now } else { sent }));
        }
    }
}

fn at(second: u8) -> Moment {
    Moment::default() + Duration::from_secs(second.into())
}

impl Client {
    pub(super) fn new(patient: bool, requeues: bool) -> Self {
        Self {
            attempt: Attempt::new(patient, requeues),
            doing: Doing::Nothing,
            sessions: Vec::new(),
            has_place: false,
            armed: false,
            token: None,
            to_be_removed: false,
            crashed: false,
            meddled: false,
            told_of_a_removal: false,
            lost_reply: false,
            read_the_past: false,
            granted_too_late: false,
        }
    }

    pub(super) fn open(&mut self, renewals: u8) -> Event {
        self.sessions.push(Session::new(renewals));
        self.has_place = true;
        Event::Opened
    }

    /// The session in use, by its number.
    pub(super) fn current(&self) -> usize {
        self.sessions.len().saturating_sub(1)
    }

    /// What the lease of its place says.
    pub(super) fn loss(&self) -> Option<Loss> {
        self.sessions.last().filter(|_| self.has_place)?.loss()
    }

    pub(super) fn has_live_session(&self) -> bool {
        self.has_place && self.loss().is_none() && self.sessions.last().is_some_and(|session| !session.ended)
    }

    /// Whether the server answers it.
    pub(super) fn reachable(&self) -> bool {
        self.sessions.last().is_none_or(|session| !session.ended)
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
            Answer::Waits(token, wake) => {
                let wake = wake.into_iter().map(id).collect();
                (token, Standing::Waits { wake, seen: Revision::default() })
            }
            Answer::Absent => (None, Standing::Absent),
        };
        match (request, token) {
            (Request::Enqueue, token) => {
                let token = FencingToken::new(token.unwrap_or_default().into());
                Event::Enqueued(Enqueued { token, standing })
            }
            (Request::Look, _) => Event::Stands(standing),
        }
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

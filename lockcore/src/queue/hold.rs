//! What stands behind the guard of a queued lock.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use tracing::{Instrument, Span};

use crate::backend::Removed;
use crate::entry::{EntryId, FencingToken};
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::hold::{Hold, Released};
use crate::loss_signal::LossSignal;
use crate::metrics::Held;
use crate::name::LockName;
use crate::queue::Standing;
use crate::queue::acquire::Grant;
use crate::queue::backoff::Backoff;
use crate::queue::open::Ticket;
use crate::queue::sessions::doing;
use crate::queue::spans;
use crate::session::Loss;

/// A granted entry. Its ticket gives it back when it is dropped.
#[derive(Debug)]
pub(super) struct QueueHold {
    ticket: Ticket,
    token: FencingToken,
    loss_signal: LossSignal,
    /// Among those that are not watched yet; until the lock is given back.
    key: Option<usize>,
    counted: Held,
    /// Lasts as long as the hold.
    span: Span,
}

impl QueueHold {
    pub(super) fn new(Grant { ticket, entry, token }: Grant, counted: Held, span: Span) -> Self {
        let loss_signal = LossSignal::new(ticket.open.lease().clone());
        let Ticket { open, lock, .. } = &ticket;
        open.followed().holds();
        let key = Some(open.unwatched().add(lock.clone(), entry, loss_signal.clone()));
        Self { ticket, token, loss_signal, key, counted, span }
    }

    /// From here on it is no loss that the entry is gone.
    fn give_back(&mut self) {
        if let Some(key) = self.key.take() {
            self.ticket.open.unwatched().forget(key, &self.loss_signal);
            self.ticket.open.followed().gives_back();
        }
    }

    /// What it means that the entry was, or was not, there to be removed. `certain`: no earlier request of ours
    /// can have removed it.
    fn outcome(&self, removed: Removed, certain: bool) -> Released {
        match (self.loss_signal.loss(), removed) {
            (Some(loss), _) => Released::Lost(loss),
            (None, Removed::Absent) if certain => Released::Lost(Loss::Removed),
            (None, _) => Released::Held,
        }
    }
}

impl Drop for QueueHold {
    /// Before the ticket is dropped.
    fn drop(&mut self) {
        self.give_back();
        self.counted.ends(self.loss_signal.loss());
    }
}

#[async_trait]
impl Hold for QueueHold {
    fn name(&self) -> &LockName {
        &self.ticket.lock.name
    }

    fn id(&self) -> &EntryId {
        &self.ticket.id
    }

    fn fencing_token(&self) -> FencingToken {
        self.token
    }

    fn loss_signal(&self) -> &LossSignal {
        &self.loss_signal
    }

    fn place(&self) -> Arc<str> {
        self.ticket.open.place().clone()
    }

    async fn verify(&self) -> Result<()> {
        let Ticket { open, lock, id, .. } = &self.ticket;
        let standing = tokio::select! {
            biased;
            loss = self.loss_signal.lost() => return Err(Error::lost(loss)),
            standing = open.session().look(lock, id) => standing?,
        };
        match (self.loss_signal.loss(), standing) {
            (Some(loss), _) => Err(Error::lost(loss)),
            (None, Standing::Holds) => Ok(()),
            (None, _) => {
                self.loss_signal.tell_removed();
                Err(Error::lost(Loss::Removed))
            }
        }
    }

    fn descriptor(&self) -> Result<Option<OwnedFd>> {
        self.ticket.open.session().descriptor(&self.ticket.lock, &self.ticket.id)
    }

    async fn release(mut self: Box<Self>) -> Result<Released> {
        let Ticket { open, lock, .. } = &self.ticket;
        let span = spans::release(&self.span, lock, self.token, open.place());
        let released = self.remove().instrument(span).await?;
        self.counted.ends(match released {
            Released::Held => None,
            Released::Lost(loss) => Some(loss),
        });
        Ok(released)
    }
}

impl QueueHold {
    /// Removes the entry, as long as that is possible, and says how it was held until then.
    async fn remove(&mut self) -> Result<Released> {
        self.give_back();
        let mut certain = true;
        let mut backoff = Backoff::default();
        loop {
            let removed = tokio::select! {
                biased;
                removed = self.ticket.remove() => removed,
                loss = self.loss_signal.lost() => return Ok(Released::Lost(loss)),
            };
            let error = match removed {
                Ok(removed) => return Ok(self.outcome(removed, certain)),
                Err(error) => error,
            };
            let loss = self.loss_signal.loss();
            if error.kind() == ErrorKind::SessionLost || loss.is_some() {
                return Ok(Released::Lost(loss.unwrap_or(Loss::Expired)));
            }
            if !error.is_retryable() {
                let Ticket { open, lock, .. } = &self.ticket;
                return Err(doing("release", Some(lock), open.place())(error.with_effect(Effect::Unknown)));
            }
            certain &= error.effect() == Effect::None;
            backoff.pause().await;
        }
    }
}

//! What stands behind the guard of a queued lock.

use std::os::fd::OwnedFd;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::backend::Removed;
use crate::entry::FencingToken;
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::guard::{Hold, LossSignal, Released};
use crate::name::LockName;
use crate::queue::Standing;
use crate::queue::acquire::Grant;
use crate::queue::backoff::Backoff;
use crate::queue::held::Registration;
use crate::queue::open::Ticket;
use crate::session::Loss;

/// A granted entry. Its ticket gives it back when it is dropped.
#[derive(Debug)]
pub(super) struct QueueHold {
    /// Until the lock is given back; so it is dropped before the ticket.
    registration: Option<Registration>,
    ticket: Ticket,
    token: FencingToken,
    loss_signal: LossSignal,
    removed: watch::Sender<bool>,
}

impl QueueHold {
    pub(super) fn new(Grant { ticket, token }: Grant) -> Self {
        let (removed, receiver) = watch::channel(false);
        let loss_signal = LossSignal::new(ticket.open.lease().clone(), receiver);
        let held = ticket.open.held();
        let registration = Some(held.register(ticket.lock.clone(), ticket.id.clone(), removed.clone()));
        Self { registration, ticket, token, loss_signal, removed }
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

#[async_trait]
impl Hold for QueueHold {
    fn name(&self) -> &LockName {
        &self.ticket.lock.name
    }

    fn fencing_token(&self) -> FencingToken {
        self.token
    }

    fn loss_signal(&self) -> &LossSignal {
        &self.loss_signal
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
                self.removed.send_replace(true);
                Err(Error::lost(Loss::Removed))
            }
        }
    }

    fn descriptor(&self) -> Result<Option<OwnedFd>> {
        self.ticket.open.session().descriptor(&self.ticket.lock, &self.ticket.id)
    }

    async fn release(mut self: Box<Self>) -> Result<Released> {
        // From here on it is no loss that the entry is gone.
        self.registration = None;
        let signal = self.loss_signal.clone();
        let mut certain = true;
        let mut backoff = Backoff::default();
        loop {
            let removed = tokio::select! {
                biased;
                removed = self.ticket.remove() => removed,
                loss = signal.lost() => return Ok(Released::Lost(loss)),
            };
            let error = match removed {
                Ok(removed) => return Ok(self.outcome(removed, certain)),
                Err(error) => error,
            };
            if error.kind() == ErrorKind::SessionLost || signal.loss().is_some() {
                return Ok(Released::Lost(signal.loss().unwrap_or(Loss::Expired)));
            }
            if !error.is_retryable() {
                return Err(error.with_effect(Effect::Unknown));
            }
            certain &= error.effect() == Effect::None;
            backoff.pause().await;
        }
    }
}

//! What stands behind the guard of a queued lock.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::backend::{Removed, Revision};
use crate::entry::{EntryId, FencingToken, LockKey};
use crate::error::{Effect, Error, ErrorKind, Result};
use crate::guard::{Hold, LossSignal, Released};
use crate::name::LockName;
use crate::queue::Standing;
use crate::queue::acquire::Grant;
use crate::queue::backoff::Backoff;
use crate::queue::open::{OpenSession, Ticket};
use crate::session::Loss;

/// A granted entry. Its ticket gives it back when it is dropped.
#[derive(Debug)]
pub(super) struct QueueHold {
    ticket: Ticket,
    token: FencingToken,
    loss_signal: LossSignal,
    removed: watch::Sender<bool>,
    sentry: AbortHandle,
}

impl QueueHold {
    pub(super) fn new(Grant { ticket, token }: Grant) -> Self {
        let (removed, receiver) = watch::channel(false);
        let loss_signal = LossSignal::new(ticket.open.lease().clone(), receiver);
        let watched = Watched { open: ticket.open.clone(), lock: ticket.lock.clone(), id: ticket.id.clone() };
        let sentry = tokio::spawn(watched.guard(removed.clone())).abort_handle();
        Self { ticket, token, loss_signal, removed, sentry }
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
        self.sentry.abort();
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

impl Drop for QueueHold {
    fn drop(&mut self) {
        self.sentry.abort();
    }
}

/// Our own entry, watched while it holds: somebody may remove it by hand, or the server lose it.
struct Watched {
    open: Arc<OpenSession>,
    lock: LockKey,
    id: EntryId,
}

impl Watched {
    /// Short holds cost the server nothing.
    const GRACE: Duration = Duration::from_secs(1);

    async fn guard(self, removed: watch::Sender<bool>) {
        let mut backoff = Backoff::default();
        tokio::time::sleep(Self::GRACE).await;
        loop {
            match self.open.session().look(&self.lock, &self.id).await {
                // The entry goes with its session, and that is the loss then.
                _ if self.open.lease().loss().is_some() => return,
                Ok(Standing::Holds) => backoff = Backoff::default(),
                Ok(_) => break,
                Err(_) => backoff.pause().await,
            }
            let own = std::slice::from_ref(&self.id);
            if self.open.watch_a_while(&self.lock, own, Revision::default()).await.is_err() {
                backoff.pause().await;
            }
        }
        tracing::warn!(name = %self.lock.name, id = %self.id, "entry of a held lock was removed");
        removed.send_replace(true);
    }
}

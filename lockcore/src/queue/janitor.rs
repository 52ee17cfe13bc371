//! Removes the entries that nobody waits with or holds any more, until it is certain or the session is over.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::backend::{QueueSession, Removed};
use crate::entry::{EntryId, LockKey};
use crate::error::Result;
use crate::queue::backoff::Backoff;
use crate::session::{Lease, Loss};

/// An entry that has to go.
#[derive(Debug)]
pub(super) struct Removal {
    pub(super) lock: LockKey,
    pub(super) id: EntryId,
}

/// How many removals are asked for at once: a thousand waiters may be dropped in one moment.
const AT_ONCE: usize = 64;

/// The janitor of one session: serves removals until the session is lost or nobody uses it any more, then closes
/// it, whatever is left to be removed: that goes with the session. Meanwhile it lets the watcher of held entries work. If the janitor is
/// gone with its runtime, so is whatever keeps the session alive: the session is lost then.
pub(super) fn remove_dropped(
    session: Arc<dyn QueueSession>,
    requests: UnboundedReceiver<Removal>,
    watcher: impl Future<Output = ()>,
) -> impl Future<Output = ()> {
    // Outside of the future, which its runtime may drop before it is polled for the first time.
    let abandoned = Abandoned(session.lease().clone());
    async move {
        let _abandoned = abandoned;
        tokio::select! {
            biased;
            // Nobody uses it any more.
            () = serve(&*session, requests) => session.lease().end(Loss::Closed),
            () = watcher => {}
            _ = session.lease().lost() => {}
        }
        if let Err(error) = session.close().await {
            tracing::debug!(%error, "the server was not told of the end of the session, it will expire");
        }
    }
}

/// Removes what it is asked to, until nobody can ask any more.
async fn serve(session: &dyn QueueSession, mut requests: UnboundedReceiver<Removal>) {
    let window = Semaphore::new(AT_ONCE);
    let mut removals = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            request = requests.recv() => match request {
                Some(removal) => removals.push(remove_for_certain(session, &window, removal)),
                None => return,
            },
            Some(()) = removals.next() => {}
        }
    }
}

struct Abandoned(Lease);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.end(Loss::Abandoned);
    }
}

async fn remove_for_certain(session: &dyn QueueSession, window: &Semaphore, Removal { lock, id }: Removal) {
    let mut backoff = Backoff::default();
    let mut warned = false;
    while let Err(error) = remove(session, window, &lock, &id).await {
        if session.lease().loss().is_some() {
            // The entry goes with the session.
            return;
        }
        if error.is_retryable() || warned {
            tracing::debug!(name = %lock.name, %id, %error, "entry not removed yet");
        } else {
            tracing::warn!(name = %lock.name, %id, %error, "entry cannot be removed; trying until the session ends");
            warned = true;
        }
        backoff.pause().await;
    }
}

async fn remove(
    session: &dyn QueueSession,
    window: &Semaphore,
    lock: &LockKey,
    id: &EntryId,
) -> Result<Removed> {
    // Nobody closes the semaphore.
    let _permit = window.acquire().await;
    session.remove(lock, id).await
}

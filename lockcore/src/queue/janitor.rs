//! Removes the entries that nobody waits with or holds any more, until it is certain or the session is over.

use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::backend::QueueSession;
use crate::entry::{EntryId, LockKey};
use crate::queue::backoff::Backoff;
use crate::session::Loss;

/// An entry that has to go.
#[derive(Debug)]
pub(super) struct Removal {
    pub(super) lock: LockKey,
    pub(super) id: EntryId,
}

/// How many removals run at once: a thousand waiters may be dropped in one moment.
const AT_ONCE: usize = 64;

/// The janitor of one session: serves removals until the session is lost or nobody uses it any more, then closes
/// it.
pub(super) async fn tend(session: Arc<dyn QueueSession>, mut requests: UnboundedReceiver<Removal>) {
    let stream = futures::stream::poll_fn(|context| requests.poll_recv(context));
    let removals = stream.for_each_concurrent(AT_ONCE, |removal| remove_for_certain(&*session, removal));
    tokio::select! {
        () = removals => {}
        loss = session.lease().lost() => match loss {
            Loss::Closed => {}
            loss => tracing::warn!(%loss, "session lost"),
        },
    }
    if let Err(error) = session.close().await {
        tracing::debug!(%error, "the server was not told of the end of the session, it will expire");
    }
}

async fn remove_for_certain(session: &dyn QueueSession, Removal { lock, id }: Removal) {
    let mut backoff = Backoff::default();
    while let Err(error) = session.remove(&lock, &id).await {
        tracing::debug!(name = %lock.name, %id, %error, "entry not removed yet");
        backoff.pause().await;
    }
}

//! Watching entries, without trusting a watch for long.

use std::time::Duration;

use rand::RngExt;

use crate::backend::QueueSession;
use crate::chance;
use crate::entry::{EntryId, LockKey};
use crate::error::Result;
use crate::queue::standing::Standing;
use crate::snapshot::Revision;

/// Watches until one of the entries has left, or without reason; the waiter's own joins them when the watch is set again.
///
/// No watch is trusted for long: servers and client libraries have lost wake-ups
/// (<https://github.com/etcd-io/etcd/issues/18089>, <https://github.com/python-zk/kazoo/pull/151>). Setting it again
/// finds out who is not there any more, without a listing of the whole queue or the history since they were seen.
pub(super) async fn watch(
    session: &dyn QueueSession,
    lock: &LockKey,
    waiter: &EntryId,
    mut ids: Vec<EntryId>,
    mut seen: Revision,
) -> Result<Option<Standing>> {
    loop {
        let watched = session.watch(lock, waiter, &ids, seen);
        if let Ok(returned) = tokio::time::timeout(trusted(), watched).await {
            return returned;
        }
        if !ids.contains(waiter) {
            ids.push(waiter.clone());
        }
        seen = Revision::default();
    }
}

/// How long a watch is trusted; not all for the same time.
pub(super) fn trusted() -> Duration {
    const TRUSTED: Duration = Duration::from_secs(30);
    TRUSTED.mul_f64(chance::draw(|rng| rng.random_range(0.8..1.0)))
}

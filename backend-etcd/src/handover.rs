//! Tells those whom a departure lets in.

use std::collections::BTreeMap;

use etcd_client::{GetOptions, GetResponse, PutOptions, SortOrder, SortTarget};
use futures::future::join_all;
use lockcore::{EntryKind, LockKey, Result};

use crate::heartbeat::Heart;
use crate::layout::{Stay, admitted, inbox_key, lock_prefix, queue};
use crate::session::kv;
use crate::wake::Bells;

/// How much of a queue a transaction reads. A short queue needs no more; a longer one is read where no other
/// request has to wait for that.
pub(crate) const GLANCE: i64 = 8;

/// An entry of ours that has left.
pub(crate) struct Left {
    pub(crate) kind: EntryKind,
    pub(crate) stay: Stay,
}

/// Tells the sessions of those whom this departure lets in. They would find out by themselves, but later: etcd
/// serves watches that began in the past only ten times a second.
pub(crate) async fn hand_over(heart: Heart, bells: Bells, lock: LockKey, left: Left, glance: GetResponse) {
    match next(&heart, &lock, &left, glance).await {
        Ok(sessions) => tell(&heart, &bells, left.stay, sessions).await,
        Err(error) => tracing::debug!(name = %lock.name, %error, "nobody told of a departure"),
    }
}

/// The sessions to tell: their leases, and their numbers.
async fn next(heart: &Heart, lock: &LockKey, left: &Left, glance: GetResponse) -> Result<BTreeMap<i64, u64>> {
    let prefix = lock_prefix(heart.connection.options().root(), lock);
    let head = if glance.more() {
        let options = GetOptions::new().with_prefix().with_keys_only().with_limit(GLANCE);
        let options = options.with_sort(SortTarget::Create, SortOrder::Ascend);
        let prefix = prefix.clone();
        heart.connection.call(|client| async move { kv(&client).get(prefix, Some(options)).await }).await?
    } else {
        glance
    };
    let queue = queue(&prefix, lock.family, head.kvs());
    let admitted = admitted(&queue, left.kind, left.stay.created);
    Ok(admitted.iter().map(|seen| (seen.lease, seen.slot.session)).collect())
}

async fn tell(heart: &Heart, bells: &Bells, left: Stay, mut sessions: BTreeMap<i64, u64>) {
    let (root, message) = (heart.connection.options().root(), left.to_string());
    if sessions.remove(&heart.id).is_some() {
        bells.has_left(left);
    }
    // Whose lease is over needs no message: a write on it is refused.
    join_all(sessions.into_iter().map(|(lease, session)| {
        let (inbox, message) = (inbox_key(root, session), message.clone());
        let put = PutOptions::new().with_lease(lease);
        heart.connection.call(|client| async move { client.kv_client().put(inbox, message, Some(put)).await })
    }))
    .await;
}

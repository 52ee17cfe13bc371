//! Tells those whom a departure lets in.

use std::collections::BTreeSet;

use etcd_client::{GetOptions, GetResponse, PutOptions, SortOrder, SortTarget};
use futures::future::join_all;
use lockcore::{LockKey, Result};

use crate::heartbeat::Heart;
use crate::layout::{Seen, admitted, entry_prefix, inbox_key, lock_prefix, queue};
use crate::session::kv;
use crate::wake::Bells;

/// How much of a queue a transaction reads. A short queue needs no more; a longer one is read where no other
/// request has to wait for that.
pub(crate) const GLANCE: i64 = 8;

/// Tells the sessions of those whom this departure lets in. They would find out by themselves, but later: etcd
/// serves watches that began in the past only ten times a second.
pub(crate) async fn hand_over(heart: Heart, bells: Bells, lock: LockKey, left: Seen, glance: GetResponse) {
    match next(&heart, &lock, &left, glance).await {
        Ok(sessions) => tell(&heart, &bells, &lock, &left, sessions).await,
        Err(error) => tracing::debug!(name = %lock.name, %error, "nobody told of a departure"),
    }
}

/// The leases of the sessions to tell.
async fn next(heart: &Heart, lock: &LockKey, left: &Seen, glance: GetResponse) -> Result<BTreeSet<i64>> {
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
    Ok(admitted(&queue, left).iter().map(|seen| seen.lease).collect())
}

async fn tell(heart: &Heart, bells: &Bells, lock: &LockKey, left: &Seen, sessions: BTreeSet<i64>) {
    let root = heart.connection.options().root();
    let key = entry_prefix(root, lock, &left.id);
    let (own, others): (Vec<i64>, Vec<i64>) = sessions.into_iter().partition(|lease| *lease == heart.id);
    if !own.is_empty() {
        bells.has_left(key.clone());
    }
    // Whose lease is over needs no message: a write on it is refused.
    join_all(others.into_iter().map(|lease| {
        let (inbox, key, put) = (inbox_key(root, lease), key.clone(), PutOptions::new().with_lease(lease));
        heart.connection.call(|client| async move { client.kv_client().put(inbox, key, Some(put)).await })
    }))
    .await;
}

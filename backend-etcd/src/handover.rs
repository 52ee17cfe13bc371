//! Tells those whom a departure lets in.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_client::{GetOptions, GetResponse, PutOptions, SortOrder, SortTarget};
use futures::future::join_all;
use lockcore::{EntryKind, LockKey, Result};

use crate::layout::{Seen, admitted, decisive_number, holding, holds_alone, inbox_key, lock_prefix, queue};
use crate::lease::SessionLease;
use crate::message::Message;
use crate::own_entries::OwnEntries;

/// How much of the head of a queue is read: whoever is let in is told who comes next, and next to that, so that they need not read it. More
/// of a longer one, since to read that takes the server longer.
fn head_of(queue: i64) -> i64 {
    (queue / 16).clamp(8, 64)
}

/// An entry of ours that has left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    pub(crate) kind: EntryKind,
    pub(crate) created: i64,
}

/// Tells the sessions of those whom this departure lets in. They would find out by themselves, but later.
pub(crate) async fn hand_over(
    lease: SessionLease,
    own_entries: Arc<OwnEntries>,
    lock: LockKey,
    left: Left,
    head_range: GetResponse,
) {
    match head(&lease, &lock, left, head_range).await {
        Ok(head) => tell(&lease, &own_entries, messages(&head, left)).await,
        Err(error) => tracing::debug!(name = %lock.name, %error, "nobody told of a departure"),
    }
}

/// As much of the head of the queue as has those whom this departure lets in.
async fn head(
    lease: &SessionLease,
    lock: &LockKey,
    left: Left,
    head_range: GetResponse,
) -> Result<Vec<Seen>> {
    let prefix = lock_prefix(lease.connection.options().root(), lock);
    let shared = left.kind == EntryKind::Shared;
    if !head_range.more() && !shared {
        return Ok(queue(&prefix, lock.family, head_range.kvs()));
    }
    let all =
        GetOptions::new().with_prefix().with_keys_only().with_sort(SortTarget::Create, SortOrder::Ascend);
    let some = all.clone().with_limit(head_of(head_range.count()).max(decisive_number(left.kind) + 1));
    let got = lease.connection.get(&*prefix, some).await?;
    let head = queue(&prefix, lock.family, got.kvs());
    // Behind holders there may be more of them; but only the first that is not shared is let in by one that is.
    if got.more() && holding(&head) == head.len() && !shared {
        let got = lease.connection.get(&*prefix, all).await?;
        return Ok(queue(&prefix, lock.family, got.kvs()));
    }
    Ok(head)
}

/// What to tell the sessions of those whom this departure lets in, with their leases.
fn messages(head: &[Seen], left: Left) -> BTreeMap<(u64, i64), Message> {
    let mut messages = BTreeMap::new();
    let limit = head.first().map(|seen| seen.kind().limit());
    if head.iter().any(|seen| Some(seen.kind().limit()) != limit) {
        // Whoever disagrees about the limit may not hold. They have to look.
        return messages;
    }
    let admitted = admitted(head, left.kind, left.created);
    // Of use to whoever holds alone.
    let behind = match &head[admitted.clone()] {
        [next] if holds_alone(next.kind()) => &head[admitted.end..],
        _ => &[],
    };
    for seen in &head[admitted] {
        let behind = behind.iter().map(|seen| seen.position);
        let message = messages
            .entry((seen.position.slot.session, seen.lease))
            .or_insert_with(|| Message { holders: Vec::new(), behind: behind.collect() });
        message.holders.push(seen.position.created);
    }
    messages
}

async fn tell(own: &SessionLease, own_entries: &OwnEntries, messages: BTreeMap<(u64, i64), Message>) {
    let root = own.connection.options().root();
    join_all(messages.into_iter().map(async |((session, lease), message)| {
        if session == own.session {
            own_entries.received(message);
            return;
        }
        // Whose lease is over needs no message: a write on it is refused.
        let put = PutOptions::new().with_lease(lease);
        if let Err(error) = own.connection.put(inbox_key(root, session), message.to_string(), put).await {
            tracing::debug!(session, %error, "not told that it is its turn");
        }
    }))
    .await;
}

//! How a lock is laid out in Redis: its key, and the records of its entries.

use std::time::{Duration, UNIX_EPOCH};

use lockcore::{
    Entry, EntryDetails, EntryId, EntryKind, Family, FencingToken, LockKey, LockName, QueuedEntry,
};

/// The names of keys and channels: all begin with one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    prefix: String,
    sessions: String,
}

/// What the keys of locks end with.
const QUEUE: &str = "queue";

impl Layout {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), sessions: format!("{prefix}session:") }
    }

    /// The key of a lock. The part between the braces is what Redis Cluster looks at; an encoded name has no brace in it.
    pub(crate) fn key(&self, lock: &LockKey) -> String {
        format!("{}{{{}:{}}}:{QUEUE}", self.prefix, lock.family, lock.name.encode())
    }

    /// The key of the record of a lock, in the slot of its queue.
    pub(crate) fn record_key(&self, lock: &LockKey) -> String {
        format!("{}{{{}:{}}}:record", self.prefix, lock.family, lock.name.encode())
    }

    /// What the channels of all sessions begin with, and their marks.
    pub(crate) fn sessions(&self) -> &str {
        &self.sessions
    }

    /// What `SCAN` has to match to find every lock.
    pub(crate) fn pattern(&self) -> String {
        let mut pattern = String::new();
        for c in self.prefix.chars() {
            if "\\*?[]".contains(c) {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        format!("{pattern}{{*}}:{QUEUE}")
    }

    /// The lock that a key found by the [pattern](Self::pattern) belongs to.
    pub(crate) fn lock(&self, key: &str) -> Option<LockKey> {
        let tag = key.strip_prefix(&self.prefix)?.strip_prefix('{')?;
        let (family, name) = tag.strip_suffix(QUEUE)?.strip_suffix("}:")?.split_once(':')?;
        let family =
            [Family::Lock, Family::Semaphore].into_iter().find(|known| known.to_string() == family)?;
        Some(LockKey { family, name: LockName::decode(name)? })
    }
}

/// The record of an entry, which is one member of the queue.
pub(crate) fn record(entry: &Entry, lease: u64, session: &EntryId) -> String {
    let Entry { id, kind, label } = entry;
    format!("{id} {} {} {} {lease} {session} {label}", kind.encode(), kind.weight(), kind.limit())
}

/// What carries the deadline of an entry, another member.
pub(crate) fn life(id: &EntryId, ticket: u64, kind: EntryKind, lease: u64, session: &EntryId) -> String {
    format!("{id} {ticket} {} {lease} {session}", kind.weight())
}

/// An entry as a script shows it: its record and its ticket.
pub(crate) type Row = (Vec<u8>, u64);

/// The entry as the rule wants it, unless the record cannot be one of ours.
pub(crate) fn queued((record, _): &Row) -> Option<QueuedEntry> {
    let (id, kind, _) = parse(record)?;
    Some(QueuedEntry { id, kind })
}

/// The entry as people want it. Its ticket is the time of its arrival, unless the clock went back.
pub(crate) fn described((record, ticket): &Row) -> Option<EntryDetails> {
    let (id, kind, label) = parse(record)?;
    Some(EntryDetails {
        id,
        kind,
        token: FencingToken::new(*ticket),
        label: label.to_owned(),
        since: UNIX_EPOCH.checked_add(Duration::from_micros(*ticket)),
    })
}

/// The id, the kind and the label in a record: `<id> <kind> <weight> <limit> <lease> <session> <label>`.
fn parse(record: &[u8]) -> Option<(EntryId, EntryKind, &str)> {
    let mut parts = str::from_utf8(record).ok()?.splitn(7, ' ');
    let (id, kind) = (EntryId::parse(parts.next()?)?, EntryKind::decode(parts.next()?)?);
    Some((id, kind, parts.nth(4)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lock(family: Family, name: &str) -> LockKey {
        LockKey { family, name: LockName::new(name).unwrap() }
    }

    #[test]
    fn keys_of_a_lock() {
        let layout = Layout::new("app:");
        let key = layout.key(&lock(Family::Semaphore, "a{b}/c"));
        assert_eq!(key, "app:{semaphore:a%7Bb%7D%2Fc}:queue");
        assert_eq!(layout.sessions(), "app:session:");
        assert_eq!(Layout::new("a*[?]\\").pattern(), "a\\*\\[\\?\\]\\\\{*}:queue");
    }

    #[test]
    fn foreign_keys_are_no_locks() {
        let layout = Layout::new("app:");
        for key in [
            "",
            "app:",
            "app:{lock:a}:entries",
            "app:{lock:}:queue",
            "app:{lock:%2f}:queue",
            "app:{other:a}:queue",
            "app:{lock:a}queue",
            "other:{lock:a}:queue",
        ] {
            assert_eq!(layout.lock(key), None, "{key}");
        }
        for record in
            ["", "a", "a ex 1 1 1", "a ex 1 1 1 s", "- ex 1 1 1 s l", "a y 1 1 1 s l", "a sem-2-1 2 1 1 s l"]
        {
            assert_eq!(parse(record.as_bytes()), None, "{record}");
        }
    }

    proptest! {
        #[test]
        fn keys_lead_back(name in ".{1,120}", semaphore: bool, prefix in "[^{}]{0,8}") {
            let family = if semaphore { Family::Semaphore } else { Family::Lock };
            let (layout, lock) = (Layout::new(&prefix), lock(family, &name));
            let key = layout.key(&lock);
            prop_assert_eq!(layout.lock(&key), Some(lock));
            let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
            prop_assert!(tag.is_some_and(|tag| !tag.is_empty()));
        }

        #[test]
        fn what_we_write_we_read(permits in 1..=u32::MAX, limit in 1..=u32::MAX, label: String) {
            let permits = permits.min(limit);
            for kind in [EntryKind::Exclusive, EntryKind::Shared, EntryKind::Permits { permits, limit }] {
                let entry = Entry { id: EntryId::random(), kind, label: (*label).into() };
                let record = record(&entry, 10_000, &EntryId::random());
                prop_assert_eq!(parse(record.as_bytes()), Some((entry.id, kind, &*label)));
            }
        }
    }
}

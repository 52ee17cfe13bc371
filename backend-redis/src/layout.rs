//! How a lock is laid out in Redis: its keys, and the records of its entries.

use std::time::{Duration, UNIX_EPOCH};

use lockcore::{
    EntryDetails, EntryId, EntryKind, Family, FencingToken, LockKey, LockName, QueuedEntry, Result,
};

use crate::error::unreadable;

/// The names of keys and channels: all begin with one prefix, and all keys of a lock lie in one hash slot.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    prefix: String,
}

/// The key that is there as long as anything of a lock is.
const LASTING: &str = "deadlines";

impl Layout {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The part between the braces is what Redis Cluster looks at; an encoded name has no brace in it.
    fn key(&self, lock: &LockKey, part: &str) -> String {
        format!("{}{{{}:{}}}:{part}", self.prefix, lock.family, lock.name.encode())
    }

    /// The keys that every script gets, in the order in which `queue.lua` takes them.
    pub(crate) fn keys(&self, lock: &LockKey) -> [String; 5] {
        ["queue", "entries", LASTING, "exclusive", "token"].map(|part| self.key(lock, part))
    }

    /// The key that keeps an id from coming back.
    pub(crate) fn tombstone(&self, lock: &LockKey, id: &EntryId) -> String {
        self.key(lock, &format!("gone:{id}"))
    }

    /// What the channels of all sessions begin with.
    pub(crate) fn channels(&self) -> String {
        format!("{}session:", self.prefix)
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
        format!("{pattern}{{*}}:{LASTING}")
    }

    /// The lock that a key found by the [pattern](Self::pattern) belongs to.
    pub(crate) fn lock(&self, key: &str) -> Option<LockKey> {
        let tag = key.strip_prefix(&self.prefix)?.strip_prefix('{')?;
        let (family, name) = tag.strip_suffix(LASTING)?.strip_suffix("}:")?.split_once(':')?;
        let family =
            [Family::Lock, Family::Semaphore].into_iter().find(|known| known.to_string() == family)?;
        Some(LockKey { family, name: LockName::decode(name)? })
    }
}

/// The kind, the weight and the limit, as they stand in a record.
pub(crate) fn written(kind: EntryKind) -> (char, u32, u32) {
    let letter = match kind {
        EntryKind::Exclusive => 'x',
        EntryKind::Shared => 's',
        EntryKind::Permits { .. } => 'p',
    };
    (letter, kind.weight(), kind.limit())
}

/// An entry as a script shows it: id, ticket and record, which is missing if somebody else put the entry there.
pub(crate) type Row = (String, u64, Option<Vec<u8>>);

/// The entry as the rule wants it.
pub(crate) fn queued((id, _, record): &Row) -> Result<QueuedEntry> {
    let (kind, _) = record.as_deref().and_then(parse).ok_or_else(|| unreadable(id))?;
    Ok(QueuedEntry { id: EntryId::from(&**id), kind })
}

/// The entry as people want it. Its ticket is the time of its arrival, unless the clock went back.
pub(crate) fn described((id, ticket, record): &Row) -> Result<EntryDetails> {
    let (kind, label) = record.as_deref().and_then(parse).ok_or_else(|| unreadable(id))?;
    Ok(EntryDetails {
        id: EntryId::from(&**id),
        kind,
        token: FencingToken::new(*ticket),
        label: label.to_owned(),
        since: UNIX_EPOCH.checked_add(Duration::from_micros(*ticket)),
    })
}

/// The kind and the label in a record: `<kind> <weight> <limit> <session> <label>`.
fn parse(record: &[u8]) -> Option<(EntryKind, &str)> {
    let mut parts = str::from_utf8(record).ok()?.splitn(5, ' ');
    let mut part = || parts.next();
    let (letter, weight, limit) = (part()?, part()?.parse().ok()?, part()?.parse().ok()?);
    let (_session, label) = (part()?, part()?);
    let kind = match letter {
        "x" => EntryKind::Exclusive,
        "s" => EntryKind::Shared,
        "p" if (1..=limit).contains(&weight) => EntryKind::Permits { permits: weight, limit },
        _ => return None,
    };
    Some((kind, label))
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
        let keys = layout.keys(&lock(Family::Semaphore, "a{b}/c"));
        assert_eq!(keys[0], "app:{semaphore:a%7Bb%7D%2Fc}:queue");
        assert_eq!(layout.channels(), "app:session:");
        assert_eq!(Layout::new("a*[?]\\").pattern(), "a\\*\\[\\?\\]\\\\{*}:deadlines");
    }

    #[test]
    fn strangers_are_no_locks() {
        let layout = Layout::new("app:");
        for key in [
            "",
            "app:",
            "app:{lock:a}:queue",
            "app:{lock:}:deadlines",
            "app:{lock:%2f}:deadlines",
            "app:{other:a}:deadlines",
            "app:{lock:a}deadlines",
            "other:{lock:a}:deadlines",
        ] {
            assert_eq!(layout.lock(key), None, "{key}");
        }
        for record in ["", "x", "x 1 1", "x 1 1 s", "y 1 1 s l", "p 2 1 s l", "p 0 1 s l", "p a 1 s l"] {
            assert_eq!(parse(record.as_bytes()), None, "{record}");
        }
    }

    proptest! {
        #[test]
        fn keys_lead_back_and_share_a_slot(name in ".{1,120}", semaphore: bool, prefix in "[^{}]{0,8}") {
            let family = if semaphore { Family::Semaphore } else { Family::Lock };
            let (layout, lock) = (Layout::new(&prefix), lock(family, &name));
            let keys = layout.keys(&lock);
            prop_assert_eq!(layout.lock(&keys[2]), Some(lock.clone()));
            let tombstone = layout.tombstone(&lock, &EntryId::random());
            let tag = |key: &str| key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag.to_owned());
            for key in &keys {
                prop_assert_eq!(tag(key), tag(&tombstone));
                prop_assert!(tag(key).is_some_and(|tag| !tag.is_empty()));
            }
        }

        #[test]
        fn what_we_write_we_read(permits in 1..=u32::MAX, limit in 1..=u32::MAX, label: String) {
            let permits = permits.min(limit);
            for kind in [EntryKind::Exclusive, EntryKind::Shared, EntryKind::Permits { permits, limit }] {
                let (letter, weight, limit) = written(kind);
                let record = format!("{letter} {weight} {limit} session {label}");
                prop_assert_eq!(parse(record.as_bytes()), Some((kind, &*label)));
            }
        }
    }
}

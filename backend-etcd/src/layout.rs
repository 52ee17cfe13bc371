//! PURE: what the keys are called, in which order the entries stand, and whom a departure lets in.

use etcd_client::KeyValue;
use lockcore::queue::rule::holders;
use lockcore::{Entry, EntryId, EntryKind, Family, LockKey, LockName, QueuedEntry};

/// What the keys of all entries of a family begin with.
pub(crate) fn family_prefix(root: &str, family: Family) -> String {
    format!("{root}/{family}/")
}

/// What the keys of a lock's entries begin with. An encoded name has no `/`, so no other lock's keys do.
pub(crate) fn lock_prefix(root: &str, lock: &LockKey) -> String {
    format!("{}{}/", family_prefix(root, lock.family), lock.name.encode())
}

/// What the key of one entry begins with, whatever its kind. An id has no `-`, so no other entry's key does.
pub(crate) fn entry_prefix(root: &str, lock: &LockKey, id: &EntryId) -> String {
    format!("{}{id}-", lock_prefix(root, lock))
}

/// The key of an entry.
pub(crate) fn entry_key(root: &str, lock: &LockKey, entry: &Entry) -> String {
    format!("{}{}", entry_prefix(root, lock, &entry.id), entry.kind.encode())
}

/// The key of a session.
pub(crate) fn session_key(root: &str, lease: i64) -> String {
    format!("{root}/session/{lease:016x}")
}

/// The key that is written to wake a session up.
pub(crate) fn inbox_key(root: &str, lease: i64) -> String {
    format!("{root}/inbox/{lease:016x}")
}

/// A number as text that sorts like the number.
pub(crate) fn ordered(number: u64) -> String {
    format!("{number:020}")
}

/// The lock that an entry with this key stands in.
pub(crate) fn lock_name(family_prefix: &str, key: &[u8]) -> Option<LockName> {
    let rest = str::from_utf8(key).ok()?.strip_prefix(family_prefix)?;
    LockName::decode(rest.split_once('/')?.0)
}

/// An entry as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) id: EntryId,
    pub(crate) kind: EntryKind,
    /// The revision at which it was created: its place in the queue, and its token.
    pub(crate) created: i64,
    /// The lease of its session.
    pub(crate) lease: i64,
    pub(crate) label: String,
}

impl Seen {
    fn new(lock_prefix: &str, family: Family, entry: &KeyValue) -> Option<Self> {
        let key = str::from_utf8(entry.key()).ok()?;
        let (id, kind) = parse(family, key.strip_prefix(lock_prefix)?)?;
        Some(Self {
            id,
            kind,
            created: entry.create_revision(),
            lease: entry.lease(),
            label: String::from_utf8_lossy(entry.value()).into_owned(),
        })
    }
}

/// The queue that these keys form. Keys that are no entries are left out.
pub(crate) fn queue(lock_prefix: &str, family: Family, keys: &[KeyValue]) -> Vec<Seen> {
    let mut queue: Vec<Seen> = keys.iter().filter_map(|key| Seen::new(lock_prefix, family, key)).collect();
    // Entries that one transaction made have the same revision; ours never do.
    queue.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    queue
}

/// The queue as the rule wants it.
pub(crate) fn entries(queue: &[Seen]) -> Vec<QueuedEntry> {
    queue.iter().map(|seen| QueuedEntry { id: seen.id.clone(), kind: seen.kind }).collect()
}

fn parse(family: Family, name: &str) -> Option<(EntryId, EntryKind)> {
    let (id, kind) = name.split_once('-')?;
    let (id, kind) = (EntryId::parse(id)?, EntryKind::decode(kind)?);
    (kind.family() == family).then_some((id, kind))
}

/// Those who hold in this queue, but did not while `left` stood in it.
pub(crate) fn admitted<'q>(queue: &'q [Seen], left: &Seen) -> &'q [Seen] {
    let limit = queue.first().map_or(0, |head| head.kind.limit());
    let count = |queue: &mut dyn Iterator<Item = &Seen>| holders(limit, queue.map(|seen| seen.kind.weight()));
    let (ahead, behind) = queue.split_at(queue.partition_point(|seen| seen.created < left.created));
    let before = count(&mut ahead.iter().chain([left]).chain(behind));
    let now = count(&mut queue.iter());
    &queue[(before - usize::from(before > ahead.len())).min(now)..now]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(family: Family, name: &str) -> LockKey {
        LockKey { family, name: LockName::new(name).unwrap() }
    }

    fn seen(created: i64, kind: EntryKind) -> Seen {
        Seen { id: EntryId::random(), kind, created, lease: 1, label: String::new() }
    }

    #[test]
    fn keys() {
        let (lock, semaphore) = (key(Family::Lock, "a/b"), key(Family::Semaphore, ".."));
        let entry = |kind| Entry { id: EntryId::from("x1"), kind, label: String::new() };
        assert_eq!(entry_key("/r", &lock, &entry(EntryKind::Exclusive)), "/r/lock/a%2Fb/x1-ex");
        assert_eq!(entry_key("/r", &lock, &entry(EntryKind::Shared)), "/r/lock/a%2Fb/x1-sh");
        let permits = entry(EntryKind::Permits { permits: 2, limit: 3 });
        assert_eq!(entry_key("/r", &semaphore, &permits), "/r/semaphore/%2E./x1-sem-2-3");
        assert_eq!(session_key("/r", 0x2a), "/r/session/000000000000002a");
        assert_eq!(inbox_key("/r", 0x2a), "/r/inbox/000000000000002a");
        assert_eq!(lock_name("/r/lock/", b"/r/lock/a%2Fb/x1-ex"), Some(lock.name));
        for stranger in ["/r/lock/a", "/r/lock/%2fb/x1-ex", "/r/lock//x1-ex", "/s/lock/a/x1-ex"] {
            assert_eq!(lock_name("/r/lock/", stranger.as_bytes()), None, "{stranger}");
        }
    }

    #[test]
    fn strangers_are_ignored() {
        for name in ["", "-ex", "a", "a-", "a-ex-", "a-EX", "a b-ex", "ä-ex", "a-sem-1-3", "a/b-ex", "a-ex/b"]
        {
            assert_eq!(parse(Family::Lock, name), None, "{name}");
        }
        for name in ["a-ex", "a-sem", "a-sem-1", "a-sem-0-3", "a-sem-4-3", "a-sem-01-3", "a-sem-1-4294967296"]
        {
            assert_eq!(parse(Family::Semaphore, name), None, "{name}");
        }
    }

    #[test]
    fn a_departure_lets_in_those_who_could_not_hold_before() {
        let (ex, sh) = (EntryKind::Exclusive, EntryKind::Shared);
        let queue = [seen(2, sh), seen(3, sh), seen(4, ex), seen(5, sh)];
        assert_eq!(admitted(&queue, &seen(1, ex)), &queue[..2]);
        assert_eq!(admitted(&queue, &seen(1, sh)), &[]);
        assert_eq!(admitted(&queue[2..], &seen(1, sh)), &queue[2..3]);
        assert_eq!(admitted(&[queue[0].clone(), queue[3].clone()], &seen(4, ex)), &queue[3..]);
        assert_eq!(admitted(&queue, &seen(9, sh)), &[]);
        assert_eq!(admitted(&[], &seen(1, ex)), &[]);
    }

    fn kind() -> impl Strategy<Value = EntryKind> {
        let permits = (1..=u32::MAX, any::<u32>())
            .prop_map(|(limit, any)| EntryKind::Permits { permits: any % limit + 1, limit });
        prop_oneof![Just(EntryKind::Exclusive), Just(EntryKind::Shared), permits]
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(kind in kind(), name in "\\PC{1,50}") {
            let entry = Entry { id: EntryId::random(), kind, label: String::new() };
            let lock = key(kind.family(), &name);
            let written = entry_key("/r", &lock, &entry);
            let rest = written.strip_prefix(&lock_prefix("/r", &lock)).unwrap();
            prop_assert_eq!(parse(kind.family(), rest), Some((entry.id.clone(), kind)));
            prop_assert!(written.starts_with(&entry_prefix("/r", &lock, &entry.id)));
            let family_prefix = family_prefix("/r", kind.family());
            prop_assert_eq!(lock_name(&family_prefix, written.as_bytes()), Some(lock.name));
        }

        #[test]
        fn any_name_is_read_without_panic(name: String, like in "[a-z0-9]{0,3}-?(ex|sh|sem)[-0-9é]{0,24}") {
            parse(Family::Lock, &name);
            parse(Family::Semaphore, &like);
        }

        #[test]
        fn numbers_sort_as_text(a: u64, b: u64) {
            prop_assert_eq!(a.cmp(&b), ordered(a).cmp(&ordered(b)));
        }

        #[test]
        fn whoever_is_let_in_is_told(weights in prop::collection::vec(1..4u32, 1..9), left in any::<prop::sample::Index>()) {
            let all: Vec<Seen> = (1..)
                .zip(weights)
                .map(|(created, permits)| seen(created, EntryKind::Permits { permits, limit: 4 }))
                .collect();
            let holding = |queue: &[Seen]| queue[..holders(4, queue.iter().map(|seen| seen.kind.weight()))].to_vec();
            let (before, mut queue) = (holding(&all), all.clone());
            let left = queue.remove(left.index(all.len()));
            let mut expected = holding(&queue);
            expected.retain(|seen| !before.contains(seen));
            prop_assert_eq!(admitted(&queue, &left), expected);
        }
    }
}

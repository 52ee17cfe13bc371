//! PURE: what the keys are called, what they hold, in which order the entries stand, and whom a departure lets in.

use std::fmt;
use std::ops::Range;

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

/// The key of the record of a lock, which is on no lease.
pub(crate) fn record_key(root: &str, lock: &LockKey) -> String {
    format!("{root}/record/{}/{}", lock.family, lock.name.encode())
}

/// What the keys of all sessions begin with.
pub(crate) fn sessions_prefix(root: &str) -> String {
    format!("{root}/session/")
}

/// The key of a session.
pub(crate) fn session_key(root: &str, session: u64) -> String {
    format!("{}{session}", sessions_prefix(root))
}

/// The key that is written to wake a session up.
pub(crate) fn inbox_key(root: &str, session: u64) -> String {
    format!("{root}/inbox/{session}")
}

/// What the keys of all entries begin with that decide about an entry of this kind: who waits for a shared one is
/// nobody's business but that of the exclusive ones.
pub(crate) fn decisive_prefix(lock_prefix: &str, kind: EntryKind) -> String {
    match kind {
        EntryKind::Shared => format!("{lock_prefix}{}-", EntryKind::Exclusive.encode()),
        EntryKind::Exclusive | EntryKind::Permits { .. } => lock_prefix.to_owned(),
    }
}

/// How many entries ahead, out of those with the [decisive prefix](decisive_prefix), leave no room for one of this
/// kind, however little they ask for.
pub(crate) fn decisive_number(kind: EntryKind) -> i64 {
    match kind {
        EntryKind::Exclusive | EntryKind::Shared => 1,
        EntryKind::Permits { limit, .. } => i64::from(limit),
    }
}

/// Whether an entry of this kind holds only as the first of its queue, and alone.
pub(crate) fn holds_alone(kind: EntryKind) -> bool {
    kind.weight() == kind.limit()
}

/// A number as text that sorts like the number, and is short where that is small.
pub(crate) fn ordered(number: u64) -> String {
    let digits = number.to_string();
    format!("{:02}.{digits}", digits.len())
}

/// The lock that an entry with this key stands in.
pub(crate) fn lock_name(family_prefix: &str, key: &[u8]) -> Option<LockName> {
    let rest = str::from_utf8(key).ok()?.strip_prefix(family_prefix)?;
    LockName::decode(rest.split_once('/')?.0)
}

/// What the key of an entry is called below its lock: one of the names that a session uses again and again, each
/// for one entry at a time. etcd remembers every name of a deleted key until the next compaction, and each read
/// of a queue passes them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    pub(crate) session: u64,
    pub(crate) number: u64,
    pub(crate) kind: EntryKind,
}

impl Slot {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (kind, rest) = EntryKind::split(name)?;
        let (session, number) = rest.split_once('-')?;
        Some(Self { session: canonical(session)?, number: canonical(number)?, kind })
    }

    /// The key of an entry in this slot.
    pub(crate) fn key(&self, lock_prefix: &str) -> String {
        format!("{lock_prefix}{self}")
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.kind.encode(), self.session, self.number)
    }
}

fn canonical(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// One entry's time at a key, which is used again by others: the key, and the revision at which it was created.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Stay {
    pub(crate) key: String,
    pub(crate) created: i64,
}

impl Stay {
    /// The stay at a key of this lock that an id of [`Position::id`] names.
    pub(crate) fn of(id: &EntryId, lock_prefix: &str) -> Option<Self> {
        let (name, created) = id.as_str().rsplit_once('@')?;
        Some(Self { key: format!("{lock_prefix}{name}"), created: revision(created)? })
    }
}

/// The revision that this text is.
pub(crate) fn revision(text: &str) -> Option<i64> {
    i64::try_from(canonical(text)?).ok()
}

/// Where an entry stands: its slot, and the revision at which it was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) slot: Slot,
    pub(crate) created: i64,
}

impl Position {
    /// What tells its entry from all others in the queue, without a look at its value.
    pub(crate) fn id(&self) -> EntryId {
        EntryId::from(&*self.to_string())
    }

    pub(crate) fn stay(&self, lock_prefix: &str) -> Stay {
        Stay { key: self.slot.key(lock_prefix), created: self.created }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.slot, self.created)
    }
}

/// What the key of an entry holds: its id, which no other entry in the same slot has, and its label.
pub(crate) fn value(entry: &Entry) -> String {
    format!("{} {}", entry.id, entry.label)
}

/// An entry as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) position: Position,
    /// The lease of its session.
    pub(crate) lease: i64,
    value: String,
}

impl Seen {
    fn new(lock_prefix: &str, family: Family, entry: &KeyValue) -> Option<Self> {
        let slot = Slot::parse(str::from_utf8(entry.key()).ok()?.strip_prefix(lock_prefix)?)?;
        (slot.kind.family() == family).then(|| Self {
            position: Position { slot, created: entry.create_revision() },
            lease: entry.lease(),
            value: String::from_utf8_lossy(entry.value()).into_owned(),
        })
    }

    pub(crate) fn kind(&self) -> EntryKind {
        self.position.slot.kind
    }

    /// Its own id, and its label. What other software wrote is all label.
    pub(crate) fn id_and_label(&self) -> (EntryId, String) {
        let own =
            self.value.split_once(' ').and_then(|(id, label)| Some((EntryId::parse(id)?, label.to_owned())));
        own.unwrap_or_else(|| (self.position.id(), self.value.clone()))
    }
}

/// The queue that these keys form. Keys that are no entries are left out.
pub(crate) fn queue(lock_prefix: &str, family: Family, keys: &[KeyValue]) -> Vec<Seen> {
    let mut queue: Vec<Seen> = keys.iter().filter_map(|key| Seen::new(lock_prefix, family, key)).collect();
    // Entries that one transaction made have the same revision; ours never do.
    queue.sort_by_key(|seen| (seen.position.created, seen.position.slot.session, seen.position.slot.number));
    queue
}

/// The queue as the rule wants it.
pub(crate) fn entries(positions: impl IntoIterator<Item = Position>) -> Vec<QueuedEntry> {
    positions
        .into_iter()
        .map(|position| QueuedEntry { id: position.id(), kind: position.slot.kind })
        .collect()
}

/// How many of the queue hold, counted from its head.
pub(crate) fn holding(queue: &[Seen]) -> usize {
    let limit = queue.first().map_or(0, |head| head.kind().limit());
    holders(limit, queue.iter().map(|seen| seen.kind().weight()))
}

/// Those who hold in this queue, but did not while the entry of this kind stood in it, created at this revision.
pub(crate) fn admitted(queue: &[Seen], kind: EntryKind, created: i64) -> Range<usize> {
    let limit = queue.first().map_or(0, |head| head.kind().limit());
    let ahead = queue.partition_point(|seen| seen.position.created < created);
    let mut then: Vec<u32> = queue.iter().map(|seen| seen.kind().weight()).collect();
    then.insert(ahead, kind.weight());
    let (before, now) = (holders(limit, then), holding(queue));
    (before - usize::from(before > ahead)).min(now)..now
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(family: Family, name: &str) -> LockKey {
        LockKey { family, name: LockName::new(name).unwrap() }
    }

    fn slot(kind: EntryKind) -> Slot {
        Slot { session: 3, number: 7, kind }
    }

    fn seen(created: i64, kind: EntryKind) -> Seen {
        Seen { position: Position { slot: slot(kind), created }, lease: 1, value: String::new() }
    }

    #[test]
    fn keys() {
        let (lock, semaphore) = (key(Family::Lock, "a/b"), key(Family::Semaphore, ".."));
        let prefix = lock_prefix("/r", &lock);
        assert_eq!(slot(EntryKind::Exclusive).key(&prefix), "/r/lock/a%2Fb/ex-3-7");
        assert_eq!(slot(EntryKind::Shared).key(&prefix), "/r/lock/a%2Fb/sh-3-7");
        let permits = slot(EntryKind::Permits { permits: 2, limit: 3 });
        assert_eq!(permits.key(&lock_prefix("/r", &semaphore)), "/r/semaphore/%2E./sem-2-3-3-7");
        assert_eq!(session_key("/r", 42), "/r/session/42");
        assert_eq!(inbox_key("/r", 42), "/r/inbox/42");
        assert_eq!(lock_name("/r/lock/", b"/r/lock/a%2Fb/ex-3-7"), Some(lock.name));
        for foreign in ["/r/lock/a", "/r/lock/%2fb/ex-3-7", "/r/lock//ex-3-7", "/s/lock/a/ex-3-7"] {
            assert_eq!(lock_name("/r/lock/", foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn foreign_keys_are_ignored() {
        for name in [
            "",
            "-ex",
            "ex-",
            "ex-1",
            "1-2",
            "ex-1-2-",
            "EX-1-2",
            "ex-01-2",
            "ex-1-+2",
            "ex-1-é",
            "ex-1-2/b",
            "sem-1-2",
            "sem-0-3-1-2",
            "sem-4-3-1-2",
            "sem-01-3-1-2",
        ] {
            assert_eq!(Slot::parse(name), None, "{name}");
        }
        for text in ["", "a", "a@", "@x", "a@-1", "a@01", "a@9223372036854775808"] {
            assert_eq!(Stay::of(&EntryId::from(text), "/r/lock/a/"), None, "{text}");
        }
    }

    #[test]
    fn what_other_software_wrote_is_a_label() {
        let written = |value: &str| Seen { value: value.to_owned(), ..seen(9, EntryKind::Shared) };
        let ours = Entry { id: EntryId::from("x1"), kind: EntryKind::Shared, label: "a b".into() };
        assert_eq!(written(&value(&ours)).id_and_label(), (ours.id.clone(), ours.label.to_string()));
        for foreign in ["", "x1", "é y"] {
            assert_eq!(written(foreign).id_and_label(), (EntryId::from("sh-3-7@9"), foreign.to_owned()));
        }
    }

    #[test]
    fn a_departure_lets_in_those_who_could_not_hold_before() {
        let (ex, sh) = (EntryKind::Exclusive, EntryKind::Shared);
        let queue = [seen(2, sh), seen(3, sh), seen(4, ex), seen(5, sh)];
        assert_eq!(admitted(&queue, ex, 1), 0..2);
        assert!(admitted(&queue, sh, 1).is_empty());
        assert_eq!(admitted(&queue[2..], sh, 1), 0..1);
        assert_eq!(admitted(&[queue[0].clone(), queue[3].clone()], ex, 4), 1..2);
        assert!(admitted(&queue, sh, 9).is_empty());
        assert!(admitted(&[], ex, 1).is_empty());
    }

    fn kind() -> impl Strategy<Value = EntryKind> {
        let permits = (1..=u32::MAX, any::<u32>())
            .prop_map(|(limit, any)| EntryKind::Permits { permits: any % limit + 1, limit });
        prop_oneof![Just(EntryKind::Exclusive), Just(EntryKind::Shared), permits]
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(kind in kind(), session: u64, number: u64, created in 0..i64::MAX, name in "\\PC{1,50}") {
            let lock = key(kind.family(), &name);
            let (slot, prefix) = (Slot { session, number, kind }, lock_prefix("/r", &lock));
            let written = slot.key(&prefix);
            let position = Position { slot, created };
            prop_assert_eq!(Slot::parse(written.strip_prefix(&prefix).unwrap()), Some(slot));
            prop_assert_eq!(Stay::of(&position.id(), &prefix), Some(position.stay(&prefix)));
            prop_assert_eq!(written.starts_with(&decisive_prefix(&prefix, EntryKind::Shared)), kind == EntryKind::Exclusive);
            let family_prefix = family_prefix("/r", kind.family());
            prop_assert_eq!(lock_name(&family_prefix, written.as_bytes()), Some(lock.name));
        }

        #[test]
        fn any_name_is_read_without_panic(name: String, like in "(ex|sh|sem)[-0-9é]{0,24}-?[0-9]{0,22}@?[0-9]{0,20}") {
            for text in [name, like] {
                Slot::parse(&text);
                Stay::of(&EntryId::from(&*text), "/r/lock/a/");
            }
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
            let holding = |queue: &[Seen]| queue[..holders(4, queue.iter().map(|seen| seen.kind().weight()))].to_vec();
            let (before, mut queue) = (holding(&all), all.clone());
            let left = queue.remove(left.index(all.len()));
            let mut expected = holding(&queue);
            expected.retain(|seen| !before.contains(seen));
            prop_assert_eq!(&queue[admitted(&queue, left.kind(), left.position.created)], expected);
        }
    }
}

//! PURE: where things lie on the server, how nodes are called, and in which order they stand.

use lockcore::queue::rule::UNBOUNDED;
use lockcore::{Entry, EntryId, EntryKind, Family, FencingToken, LockKey, QueuedEntry};
use zookeeper_client::Stat;

/// The node under which the locks of a family lie.
pub(crate) fn family_path(root: &str, family: Family) -> String {
    match family {
        Family::Lock => format!("{root}/_zklocking"),
        Family::Semaphore => format!("{root}/_zksemaphore"),
    }
}

/// The node under which the entries of a lock lie.
pub(crate) fn lock_path(root: &str, lock: &LockKey) -> String {
    format!("{}/{}", family_path(root, lock.family), lock.name.encode())
}

/// The directory of the records of a family.
pub(crate) fn records_path(root: &str, family: Family) -> String {
    format!("{root}/_fairlock_records/{family}")
}

/// The node in which the record of a lock lies.
pub(crate) fn record_path(root: &str, lock: &LockKey) -> String {
    format!("{}/{}", records_path(root, lock.family), lock.name.encode())
}

/// The name of an entry's node, up to the sequence number that the server appends.
pub(crate) fn prefix(kind: EntryKind) -> String {
    match kind {
        EntryKind::Exclusive | EntryKind::Shared => kind.encode(),
        EntryKind::Permits { .. } => format!("{}-", kind.encode()),
    }
}

/// What an entry's node holds: the id, by which its owner finds it again, and the label.
pub(crate) fn data(entry: &Entry) -> String {
    format!("{} {}", entry.id, entry.label)
}

/// The id, if this is the data of an entry of ours, and the label.
pub(crate) fn read_data(data: &[u8]) -> (Option<EntryId>, String) {
    let text = String::from_utf8_lossy(data);
    let ours = text.split_once(' ').filter(|(id, _)| id.len() == EntryId::LENGTH);
    match ours.and_then(|(id, label)| Some((EntryId::parse(id)?, label))) {
        Some((id, label)) => (Some(id), label.to_owned()),
        None => (None, text.into_owned()),
    }
}

/// An entry as its node's name tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// The name of the node, by which all but its owner know the entry.
    pub(crate) name: EntryId,
    pub(crate) kind: EntryKind,
    sequence: i32,
}

impl Node {
    fn order(&self) -> (i32, &str) {
        (self.sequence, self.name.as_str())
    }
}

/// The entries of a lock at one moment.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Sorted by the numbers that stand in their names.
    pub(crate) nodes: Vec<Node>,
    /// The id of the directory's creation. When it is removed and made again, names are used again as well.
    pub(crate) since: i64,
}

impl Listing {
    /// The entries among these children of a lock's node.
    pub(crate) fn new(family: Family, children: &[String], since: i64) -> Self {
        let mut nodes: Vec<Node> = children.iter().filter_map(|name| parse(family, name)).collect();
        nodes.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        Self { nodes, since }
    }

    /// Whether a node with this token was made in this directory, and not in an earlier one of its name.
    pub(crate) fn is_home_of(&self, token: FencingToken) -> bool {
        u64::try_from(self.since).is_ok_and(|since| since < token.get())
    }

    /// The node of this name.
    pub(crate) fn named(&self, family: Family, name: &EntryId) -> Option<&Node> {
        let wanted = parse(family, name.as_str())?;
        let position = self.nodes.binary_search_by(|node| node.order().cmp(&wanted.order())).ok()?;
        self.nodes.get(position)
    }
}

/// The name that an exclusive entry has if it was made directly before the entry in the node `own`. Nothing can stand
/// between the two.
pub(crate) fn exclusive_before(family: Family, own: &EntryId) -> Option<EntryId> {
    let sequence = parse(family, own.as_str())?.sequence.wrapping_sub(1);
    Some(EntryId::from(&*format!("{}{sequence:010}", prefix(EntryKind::Exclusive))))
}

/// Those of the sorted nodes that stand ahead of this one, first in the queue first.
///
/// ZooKeeper counts in an i32: after 2147483647 comes -2147483648. Whatever the server has numbered in the life of a
/// node lies within half of the circle from it, and those numbered before it in the half that ends there.
pub(crate) fn ahead<'n>(nodes: &'n [Node], own: &Node) -> impl DoubleEndedIterator<Item = &'n Node> + Clone {
    let farthest = own.sequence.wrapping_add(i32::MIN);
    let from = nodes.partition_point(|node| node.sequence < farthest);
    let to = nodes.partition_point(|node| node.order() < own.order());
    let (before_the_turn, after_it) =
        if from <= to { (&nodes[from..to], &nodes[..0]) } else { (&nodes[from..], &nodes[..to]) };
    before_the_turn.iter().chain(after_it)
}

/// The sorted nodes, first in the queue first, for whoever has no entry among them: the queue begins behind the widest gap
/// between their numbers.
pub(crate) fn from_head(nodes: &[Node]) -> Vec<Node> {
    let before = |position: usize| &nodes[position.checked_sub(1).unwrap_or(nodes.len() - 1)];
    let gap =
        |position: &usize| nodes[*position].sequence.wrapping_sub(before(*position).sequence).cast_unsigned();
    let head = (0..nodes.len()).max_by_key(gap).unwrap_or_default();
    nodes[head..].iter().chain(&nodes[..head]).cloned().collect()
}

/// Entries of the gem `zk` do not say how many permits there are: they take the limit of ours.
pub(crate) fn adopt_limit<'k>(kinds: impl Iterator<Item = &'k mut EntryKind>) {
    let mut kinds: Vec<&mut EntryKind> = kinds.collect();
    let known = kinds.iter().map(|kind| kind.limit()).find(|limit| *limit != UNBOUNDED);
    for kind in &mut kinds {
        if let (EntryKind::Permits { limit: unknown @ UNBOUNDED, .. }, Some(known)) = (&mut **kind, known) {
            *unknown = known;
        }
    }
}

/// Whether a node that looks like an entry is none, because no session holds it: an operator's, for example. It would
/// never leave.
pub(crate) fn is_stray(stat: &Stat) -> bool {
    // The second is that of a container.
    matches!(stat.ephemeral_owner, 0 | i64::MIN)
}

fn parse(family: Family, name: &str) -> Option<Node> {
    let (kind, sequence) = plain(name).or_else(|| with_limit_or_text(name))?;
    (kind.family() == family).then(|| Node { name: EntryId::from(name), kind, sequence })
}

/// Our locks, and all entries of the Ruby gem `zk`, whose semaphores do not tell their limit.
fn plain(name: &str) -> Option<(EntryKind, i32)> {
    let (kind, digits) = if let Some(digits) = name.strip_prefix("ex") {
        (EntryKind::Exclusive, digits)
    } else if let Some(digits) = name.strip_prefix("sh") {
        (EntryKind::Shared, digits)
    } else {
        (EntryKind::Permits { permits: 1, limit: UNBOUNDED }, name.strip_prefix("sem")?)
    };
    Some((kind, sequence(digits)?))
}

/// Our semaphores; and anything with a text of letters and digits ahead of the number, which leaves no doubt.
fn with_limit_or_text(name: &str) -> Option<(EntryKind, i32)> {
    let (kind, rest) = EntryKind::split(name)?;
    let digits = match rest.split_once('-') {
        Some((text, digits)) if EntryId::parse(text).is_some() => digits,
        _ if kind.family() == Family::Semaphore => rest,
        _ => return None,
    };
    Some((kind, sequence(digits)?))
}

/// A sequence number, written in the one way in which ZooKeeper writes it: `%010d`.
fn sequence(text: &str) -> Option<i32> {
    let sequence: i32 = text.parse().ok()?;
    let length = if sequence > -1_000_000_000 { 10 } else { 11 };
    let signed = !text.starts_with('+') && text.starts_with('-') == (sequence < 0);
    (text.len() == length && signed).then_some(sequence)
}

/// Entries as the rule wants them, for the owner of the node `own`, which goes by its id.
pub(crate) fn queued(node: &Node, own: &Node, id: &EntryId) -> QueuedEntry {
    let id = if node.name == own.name { id } else { &node.name };
    QueuedEntry { id: id.clone(), kind: node.kind }
}

#[cfg(test)]
mod tests {
    use lockcore::LockName;
    use proptest::prelude::*;

    use super::*;

    fn listing(family: Family, children: &[&str]) -> Listing {
        Listing::new(family, &children.iter().map(|child| child.to_string()).collect::<Vec<_>>(), 1)
    }

    /// Those ahead of the child `own`.
    fn ahead_of(own: &str, children: &[&str]) -> Vec<String> {
        let listing = listing(Family::Lock, children);
        let own = listing.named(Family::Lock, &EntryId::from(own)).unwrap();
        ahead(&listing.nodes, own).map(|node| node.name.to_string()).collect()
    }

    #[track_caller]
    fn assert_order(queue: &[&str]) {
        let mut children = queue.to_vec();
        children.sort();
        for (position, own) in queue.iter().enumerate() {
            assert_eq!(ahead_of(own, &children), queue[..position]);
        }
        let all = from_head(&listing(Family::Lock, &children).nodes);
        assert_eq!(all.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), queue);
    }

    #[test]
    fn paths() {
        let lock = LockKey { family: Family::Lock, name: LockName::new("a/b").unwrap() };
        assert_eq!(lock_path("", &lock), "/_zklocking/a%2Fb");
        let semaphore = LockKey { family: Family::Semaphore, name: LockName::new("..").unwrap() };
        assert_eq!(lock_path("/app", &semaphore), "/app/_zksemaphore/%2E.");
    }

    #[test]
    fn order_goes_by_sequence_alone() {
        assert_order(&[]);
        assert_order(&["ex0000000007"]);
        assert_order(&["ex-zzz-0000000001", "ex-b-0000000002", "sh-a-0000000003", "ex0000000004"]);
    }

    #[test]
    fn order_survives_the_rollover() {
        assert_order(&["ex-b-2147483646", "ex-d-2147483647", "ex-a--2147483648", "sh-2147483647"]);
        assert_order(&["ex-000000002", "ex-b--000000001", "ex-a-0000000000"]);
    }

    #[test]
    fn a_number_that_the_server_has_not_come_to_changes_no_order() {
        let (first, second) = ("ex-a-0000000000", "ex-b-0000000001");
        for odd in ["ex-2147483647", "ex2147483647", "ex-c-1073741824", "ex-c--2147483648", "ex-1073741825"] {
            let children = [first, second, odd];
            assert!(!ahead_of(first, &children).contains(&second.to_owned()), "{odd}");
            assert!(ahead_of(second, &children).contains(&first.to_owned()), "{odd}");
        }
    }

    #[test]
    fn foreign_nodes_are_ignored() {
        for child in [
            "",
            "e",
            "ex",
            "ex-",
            "ex--",
            "ex-a",
            "ex-a-",
            "ex-a-1",
            "ex-a-00000000001",
            "ex-a-+000000001",
            "ex-a--000000000",
            "ex-a--0000000001",
            "ex-a--00000001",
            "ex--0000000001",
            "ex-0000000001",
            "ex-9999999999",
            "ex-a b-0000000001",
            "ex-a-b-0000000001",
            "ex1",
            "ex00000000001",
            "zzz",
            "lock-abc",
            "x-0000000000",
            "exä0000000001",
            "ex-ä-0000000001",
            "é",
            "日本語0000000001",
            "🔒-🔒-0000000001",
            "ex-a-9999999999",
            "sem-1-3-a-0000000001",
            "sem0000000001",
            "EX-a-0000000001",
            "_c_00000000-0000-0000-0000-000000000000-lock-0000000001",
        ] {
            assert_eq!(listing(Family::Lock, &[child]).nodes, [], "{child}");
        }
        for child in [
            "sem",
            "sem-",
            "sem-1",
            "sem-1-3",
            "sem-1-3-a",
            "sem-0-3-a-0000000001",
            "sem-4-3-a-0000000001",
            "sem-01-3-a-0000000001",
            "sem--1-3-a-0000000001",
            "sem-1-3-2147483648",
            "sem-1-3--0000000001",
            "sem-4-3-0000000001",
            "sem-1-4294967296-a-0000000001",
            "seméa0000000001",
            "ex-a-0000000001",
            "ex0000000001",
        ] {
            assert_eq!(listing(Family::Semaphore, &[child]).nodes, [], "{child}");
        }
    }

    #[test]
    fn an_id_is_ours_on_our_node_only() {
        let (nodes, id) = (listing(Family::Lock, &["ex0000000001", "ex0000000002"]).nodes, EntryId::random());
        let seen = nodes.iter().map(|node| queued(node, &nodes[1], &id).id);
        assert_eq!(seen.collect::<Vec<_>>(), [EntryId::from("ex0000000001"), id.clone()]);
    }

    #[test]
    fn nothing_stands_between_an_entry_and_the_one_before() {
        for (own, before) in [
            ("ex0000000001", "ex0000000000"),
            ("sh0000000000", "ex-000000001"),
            ("ex-2147483648", "ex2147483647"),
            ("ex-1000000000", "ex-1000000001"),
        ] {
            let name = exclusive_before(Family::Lock, &EntryId::from(own));
            assert_eq!(name, Some(EntryId::from(before)));
            assert_eq!(ahead_of(own, &[before, own]), [before]);
        }
    }

    #[test]
    fn data_has_the_id_where_it_is_ours() {
        let id = EntryId::random();
        for label in ["", " ", "a b", "é\0"] {
            let entry = Entry { id: id.clone(), kind: EntryKind::Exclusive, label: label.into() };
            assert_eq!(read_data(data(&entry).as_bytes()), (Some(id.clone()), label.to_owned()));
        }
        for foreign in ["", "10.0.0.1", "no id", &"x".repeat(22), &format!("{}é ", "x".repeat(20))] {
            assert_eq!(read_data(foreign.as_bytes()), (None, foreign.to_owned()));
        }
        assert_eq!(read_data(b"\xff \xfe"), (None, "\u{fffd} \u{fffd}".to_owned()));
    }

    fn kind() -> impl Strategy<Value = EntryKind> {
        let permits = (1..=u32::MAX, any::<u32>())
            .prop_map(|(limit, any)| EntryKind::Permits { permits: any % limit + 1, limit });
        prop_oneof![Just(EntryKind::Exclusive), Just(EntryKind::Shared), permits]
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(kind in kind(), sequence: i32) {
            let name = format!("{}{sequence:010}", prefix(kind));
            let node = parse(kind.family(), &name);
            let name = EntryId::from(&*name);
            prop_assert_eq!(node, Some(Node { name, kind, sequence }));
        }

        #[test]
        fn sequences_are_read_as_they_are_written(sequence: i32, text in "[-+]?[0-9]{8,11}") {
            prop_assert_eq!(super::sequence(&format!("{sequence:010}")), Some(sequence));
            let written = super::sequence(&text).map(|sequence| format!("{sequence:010}"));
            prop_assert!(written.is_none_or(|written| written == text));
        }

        #[test]
        fn any_text_is_read_without_panic(texts: Vec<String>, family: bool) {
            Listing::new(if family { Family::Lock } else { Family::Semaphore }, &texts, 1);
        }

        #[test]
        fn anything_like_an_entry_is_read_without_panic(texts in prop::collection::vec("(ex|sh|sem)[-0-9é]{0,24}", 0..9)) {
            Listing::new(Family::Lock, &texts, 1);
            Listing::new(Family::Semaphore, &texts, 1);
        }

        #[test]
        fn order_is_that_of_creation(first: i32, gaps in prop::collection::vec(1..1000i32, 1..50)) {
            let mut sequence = first;
            let created: Vec<String> = gaps
                .into_iter()
                .map(|gap| {
                    sequence = sequence.wrapping_add(gap);
                    format!("ex{sequence:010}")
                })
                .collect();
            for (position, own) in created.iter().enumerate() {
                let listing = Listing::new(Family::Lock, &created, 1);
                let own = listing.named(Family::Lock, &EntryId::from(&**own)).unwrap();
                let read: Vec<&str> = ahead(&listing.nodes, own).map(|node| node.name.as_str()).collect();
                prop_assert_eq!(read, created[..position].iter().collect::<Vec<_>>());
            }
        }
    }
}

//! PURE: where things lie on the server, how nodes are called, and in which order they stand.

use lockcore::queue::rule::UNBOUNDED;
use lockcore::{Entry, EntryId, EntryKind, Family, LockKey, QueuedEntry};
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

/// The name of an entry's node, up to the sequence number that the server appends.
pub(crate) fn prefix(entry: &Entry) -> String {
    format!("{}-{}-", entry.kind.encode(), entry.id)
}

/// An entry as its node's name tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// The name of the node, by which all but its owner know the entry: ids are unique in one session only.
    pub(crate) name: EntryId,
    pub(crate) id: EntryId,
    pub(crate) kind: EntryKind,
    sequence: i32,
}

impl Node {
    fn order(&self) -> (i32, &str) {
        (self.sequence, self.name.as_str())
    }
}

/// The entries among these children of a lock's node, sorted by the numbers that stand in their names.
pub(crate) fn nodes(family: Family, children: &[String]) -> Vec<Node> {
    let mut nodes: Vec<Node> = children.iter().filter_map(|name| parse(family, name)).collect();
    nodes.sort_by(|a, b| a.order().cmp(&b.order()));
    nodes
}

/// The one of the sorted nodes that has this name.
pub(crate) fn named<'n>(nodes: &'n [Node], family: Family, name: &str) -> Option<&'n Node> {
    let wanted = parse(family, name)?;
    let position = nodes.binary_search_by(|node| node.order().cmp(&wanted.order())).ok()?;
    nodes.get(position)
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
    let (id, kind, sequence) = ours(name).or_else(|| of_the_gem(name))?;
    (kind.family() == family).then_some(Node { name: EntryId::from(name), id, kind, sequence })
}

fn ours(name: &str) -> Option<(EntryId, EntryKind, i32)> {
    let (kind, rest) = EntryKind::split(name)?;
    let (id, digits) = rest.split_once('-')?;
    Some((EntryId::parse(id)?, kind, sequence(digits)?))
}

/// The Ruby gem `zk` appends the sequence directly, and has no id: the name is unique while the node lives.
fn of_the_gem(name: &str) -> Option<(EntryId, EntryKind, i32)> {
    let (kind, digits) = if let Some(digits) = name.strip_prefix("ex") {
        (EntryKind::Exclusive, digits)
    } else if let Some(digits) = name.strip_prefix("sh") {
        (EntryKind::Shared, digits)
    } else {
        (EntryKind::Permits { permits: 1, limit: UNBOUNDED }, name.strip_prefix("sem")?)
    };
    Some((EntryId::from(name), kind, sequence(digits)?))
}

/// A sequence number, written in the one way in which ZooKeeper writes it: `%010d`.
fn sequence(text: &str) -> Option<i32> {
    let sequence: i32 = text.parse().ok()?;
    let length = if sequence > -1_000_000_000 { 10 } else { 11 };
    let signed = !text.starts_with('+') && text.starts_with('-') == (sequence < 0);
    (text.len() == length && signed).then_some(sequence)
}

/// Entries as the rule wants them, for the owner of the node `own`, which goes by its id.
pub(crate) fn queued(node: &Node, own: &Node) -> QueuedEntry {
    let id = if node.name == own.name { &node.id } else { &node.name };
    QueuedEntry { id: id.clone(), kind: node.kind }
}

#[cfg(test)]
mod tests {
    use lockcore::LockName;
    use proptest::prelude::*;

    use super::*;

    fn parsed(family: Family, children: &[&str]) -> Vec<Node> {
        nodes(family, &children.iter().map(|child| child.to_string()).collect::<Vec<_>>())
    }

    /// Those ahead of the child `own`.
    fn ahead_of(own: &str, children: &[&str]) -> Vec<String> {
        let nodes = parsed(Family::Lock, children);
        let own = named(&nodes, Family::Lock, own).unwrap();
        ahead(&nodes, own).map(|node| node.name.to_string()).collect()
    }

    #[track_caller]
    fn assert_order(queue: &[&str]) {
        let mut children = queue.to_vec();
        children.sort();
        for (position, own) in queue.iter().enumerate() {
            assert_eq!(ahead_of(own, &children), queue[..position]);
        }
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
    fn strangers_are_ignored() {
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
            assert_eq!(parsed(Family::Lock, &[child]), [], "{child}");
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
            "sem-1-4294967296-a-0000000001",
            "seméa0000000001",
            "ex-a-0000000001",
            "ex0000000001",
        ] {
            assert_eq!(parsed(Family::Semaphore, &[child]), [], "{child}");
        }
    }

    #[test]
    fn an_id_is_ours_on_our_node_only() {
        let nodes = parsed(Family::Lock, &["ex-a-0000000001", "ex-a-0000000002"]);
        let seen = nodes.iter().map(|node| queued(node, &nodes[1]).id);
        assert_eq!(seen.collect::<Vec<_>>(), ["ex-a-0000000001", "a"].map(EntryId::from));
    }

    fn kind() -> impl Strategy<Value = EntryKind> {
        let permits = (1..=u32::MAX, any::<u32>())
            .prop_map(|(limit, any)| EntryKind::Permits { permits: any % limit + 1, limit });
        prop_oneof![Just(EntryKind::Exclusive), Just(EntryKind::Shared), permits]
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(kind in kind(), sequence: i32) {
            let entry = Entry { id: EntryId::random(), kind, label: String::new() };
            let name = format!("{}{sequence:010}", prefix(&entry));
            let node = parse(kind.family(), &name);
            let name = EntryId::from(&*name);
            prop_assert_eq!(node, Some(Node { name, id: entry.id, kind, sequence }));
        }

        #[test]
        fn sequences_are_read_as_they_are_written(sequence: i32, text in "[-+]?[0-9]{8,11}") {
            prop_assert_eq!(super::sequence(&format!("{sequence:010}")), Some(sequence));
            let written = super::sequence(&text).map(|sequence| format!("{sequence:010}"));
            prop_assert!(written.is_none_or(|written| written == text));
        }

        #[test]
        fn any_text_is_read_without_panic(texts: Vec<String>, family: bool) {
            nodes(if family { Family::Lock } else { Family::Semaphore }, &texts);
        }

        #[test]
        fn anything_like_an_entry_is_read_without_panic(texts in prop::collection::vec("(ex|sh|sem)[-0-9é]{0,24}", 0..9)) {
            nodes(Family::Lock, &texts);
            nodes(Family::Semaphore, &texts);
        }

        #[test]
        fn order_is_that_of_creation(first: i32, gaps in prop::collection::vec(1..1000i32, 1..50)) {
            let mut sequence = first;
            let created: Vec<String> = gaps
                .into_iter()
                .map(|gap| {
                    sequence = sequence.wrapping_add(gap);
                    format!("ex-{}-{sequence:010}", EntryId::random())
                })
                .collect();
            for (position, own) in created.iter().enumerate() {
                let nodes = nodes(Family::Lock, &created);
                let own = named(&nodes, Family::Lock, own).unwrap();
                let read: Vec<&str> = ahead(&nodes, own).map(|node| node.name.as_str()).collect();
                prop_assert_eq!(read, created[..position].iter().collect::<Vec<_>>());
            }
        }
    }
}

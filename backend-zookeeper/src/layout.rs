//! PURE: where things lie on the server, how nodes are called, and in which order they stand.

use lockcore::queue::rule::UNBOUNDED;
use lockcore::{Entry, EntryId, EntryKind, Family, LockKey, QueuedEntry};

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
    pub(crate) name: String,
    pub(crate) id: EntryId,
    pub(crate) kind: EntryKind,
    sequence: i32,
}

/// The queue that these children of a lock's node form. Nodes that are no entries are left out.
pub(crate) fn queue(family: Family, children: Vec<String>) -> Vec<Node> {
    let mut nodes: Vec<Node> = children.into_iter().filter_map(|name| parse(family, name)).collect();
    // After 2147483647 comes -2147483648: ZooKeeper counts in an i32. Whatever lives at the same time lies
    // within half of the circle, so the distance from any of the nodes orders them.
    let base = nodes.iter().map(|node| node.sequence).min().unwrap_or_default();
    nodes.sort_by(|a, b| {
        let distance = |node: &Node| node.sequence.wrapping_sub(base);
        distance(a).cmp(&distance(b)).then_with(|| a.name.cmp(&b.name))
    });
    adopt_limit(&mut nodes);
    nodes
}

/// Entries of the gem `zk` do not say how many permits there are: they take the limit of ours.
fn adopt_limit(nodes: &mut [Node]) {
    let limit = nodes.iter().map(|node| node.kind.limit()).find(|limit| *limit != UNBOUNDED);
    for node in nodes {
        if let (EntryKind::Permits { limit: unknown @ UNBOUNDED, .. }, Some(limit)) = (&mut node.kind, limit)
        {
            *unknown = limit;
        }
    }
}

fn parse(family: Family, name: String) -> Option<Node> {
    let (id, kind, sequence) = ours(&name).or_else(|| of_the_gem(&name))?;
    (kind.family() == family).then_some(Node { name, id, kind, sequence })
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

/// The queue as the rule wants it, for the owner of the node `own`. Another session's entry with the same id goes
/// by the name of its node: it is not ours.
pub(crate) fn entries(nodes: &[Node], own: Option<(&EntryId, &str)>) -> Vec<QueuedEntry> {
    let id = |node: &Node| match own {
        Some((id, name)) if node.id == *id && node.name != name => EntryId::from(&*node.name),
        _ => node.id.clone(),
    };
    nodes.iter().map(|node| QueuedEntry { id: id(node), kind: node.kind }).collect()
}

/// The name of the node that has this id in a queue that [`entries`] showed.
pub(crate) fn name_of<'n>(nodes: &'n [Node], id: &EntryId) -> Option<&'n str> {
    let by_name = || nodes.iter().find(|node| node.name == id.as_str());
    nodes.iter().find(|node| node.id == *id).or_else(by_name).map(|node| &*node.name)
}

#[cfg(test)]
mod tests {
    use lockcore::LockName;
    use proptest::prelude::*;

    use super::*;

    fn names(family: Family, children: &[&str]) -> Vec<String> {
        let children = children.iter().map(|child| child.to_string()).collect();
        queue(family, children).into_iter().map(|node| node.name).collect()
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
        let children = ["sh-a-0000000003", "ex0000000004", "ex-zzz-0000000001", "ex-b-0000000002"];
        let expected = ["ex-zzz-0000000001", "ex-b-0000000002", "sh-a-0000000003", "ex0000000004"];
        assert_eq!(names(Family::Lock, &children), expected);
    }

    #[test]
    fn order_survives_the_rollover() {
        let children = ["ex-a--2147483648", "ex-b-2147483646", "sh-2147483647", "ex-d-2147483647"];
        let expected = ["ex-b-2147483646", "ex-d-2147483647", "ex-a--2147483648", "sh-2147483647"];
        assert_eq!(names(Family::Lock, &children), expected);
        assert_eq!(
            names(Family::Lock, &["ex-a-0000000000", "ex-b--000000001", "ex-000000002"]),
            ["ex-000000002", "ex-b--000000001", "ex-a-0000000000"]
        );
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
            assert_eq!(names(Family::Lock, &[child]), Vec::<String>::new(), "{child}");
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
            assert_eq!(names(Family::Semaphore, &[child]), Vec::<String>::new(), "{child}");
        }
    }

    #[test]
    fn entries_of_the_gem_take_our_limit() {
        let children = ["sem0000000000", "sem-2-3-a-0000000001"].map(str::to_owned).to_vec();
        let nodes = queue(Family::Semaphore, children);
        assert_eq!(nodes[0].id, EntryId::from("sem0000000000"));
        assert_eq!(nodes[0].kind, EntryKind::Permits { permits: 1, limit: 3 });
        assert_eq!(nodes[1].kind, EntryKind::Permits { permits: 2, limit: 3 });
    }

    #[test]
    fn an_id_is_ours_on_our_node_only() {
        let children = ["ex-a-0000000001", "ex-a-0000000002"].map(str::to_owned).to_vec();
        let (nodes, id) = (queue(Family::Lock, children), EntryId::from("a"));
        let seen = entries(&nodes, Some((&id, "ex-a-0000000002")));
        assert_eq!(seen[0].id, EntryId::from("ex-a-0000000001"));
        assert_eq!(seen[1].id, id);
        assert_eq!(name_of(&nodes, &seen[0].id), Some("ex-a-0000000001"));
        assert_eq!(name_of(&nodes, &EntryId::from("b")), None);
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
            let node = parse(kind.family(), name.clone());
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
            queue(if family { Family::Lock } else { Family::Semaphore }, texts);
        }

        #[test]
        fn anything_like_an_entry_is_read_without_panic(texts in prop::collection::vec("(ex|sh|sem)[-0-9é]{0,24}", 0..9)) {
            queue(Family::Lock, texts.clone());
            queue(Family::Semaphore, texts);
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
            let mut shuffled = created.clone();
            shuffled.sort();
            let read: Vec<String> = queue(Family::Lock, shuffled).into_iter().map(|node| node.name).collect();
            prop_assert_eq!(read, created);
        }
    }
}

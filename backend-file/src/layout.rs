//! PURE: how directories and files are called, and in which order entries stand.

use lockcore::{Entry, EntryId, EntryKind, Family, LockName, QueuedEntry};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// The directory under which the locks of a family lie.
pub(crate) fn family_name(family: Family) -> &'static str {
    match family {
        Family::Lock => "locks",
        Family::Semaphore => "semaphores",
    }
}

/// Where the ticket that was given away last is written: in the directory of a lock its own, in the root the largest of
/// those whose directories were removed.
pub(crate) const COUNTER: &str = "counter";

/// In a directory that is called by a digest: the name of the lock. No entry is called like this.
pub(crate) const FULL_NAME: &str = "name";

/// The directory under which the records of all locks lie, one directory for each family, one file for each lock.
pub(crate) const RECORDS: &str = "records";

/// The file whose lock is the right to write records. None of those is called like this.
pub(crate) const TURN: &str = ".turn";

/// In front of the names of files that are not ready.
pub(crate) const UNFINISHED: &str = ".new-";

/// What most file systems allow for one component of a path.
const LONGEST: usize = 255;

/// In front of a digest; no other directory begins like this.
const DIGEST_MARK: char = '=';

/// Everything but lower-case letters, digits, `-`, `_` and `.`. Some file systems take `A` and `a` for the same.
const ESCAPED: &AsciiSet = {
    const CASELESS: AsciiSet = {
        let (mut set, mut letter) = (NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.'), b'A');
        while letter <= b'Z' {
            set = set.add(letter);
            letter += 1;
        }
        set
    };
    &CASELESS
};

/// How the directory of a lock is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LockDirectory {
    /// By the name, encoded.
    Named(String),
    /// By the name's digest, because it is too long.
    Digest(String),
}

impl LockDirectory {
    pub(crate) fn of(name: &LockName) -> Self {
        let named = encode(name.as_str());
        if named.len() <= LONGEST {
            return Self::Named(named);
        }
        let digest = Sha256::digest(name.as_str());
        let hex = digest.iter().map(|byte| format!("{byte:02x}"));
        Self::Digest(std::iter::once(DIGEST_MARK.to_string()).chain(hex).collect())
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Named(name) | Self::Digest(name) => name,
        }
    }
}

/// What a directory's name tells of the name of its lock.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// All.
    Name(LockName),
    /// That it is written in the directory.
    Inside,
    /// Nothing: it is not one of ours.
    Nothing,
}

pub(crate) fn told(directory: &str) -> Told {
    if directory.starts_with(DIGEST_MARK) {
        return Told::Inside;
    }
    let decoded = percent_decode_str(directory).decode_utf8().ok();
    let name = decoded.filter(|name| encode(name) == directory).and_then(|name| LockName::new(&name).ok());
    name.map_or(Told::Nothing, Told::Name)
}

fn encode(name: &str) -> String {
    let rest = name.strip_prefix('.');
    let dot = if rest.is_some() { "%2E" } else { "" };
    format!("{dot}{}", utf8_percent_encode(rest.unwrap_or(name), ESCAPED))
}

/// An entry as its file's name tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) id: EntryId,
    pub(crate) kind: EntryKind,
    pub(crate) ticket: u64,
}

impl Node {
    pub(crate) fn of(entry: &Entry, ticket: u64) -> Self {
        let name = format!("{}-{}-{ticket:020}", entry.kind.encode(), entry.id);
        Self { name, id: entry.id.clone(), kind: entry.kind, ticket }
    }
}

/// The queue that these files form. Those that are no entries are left out.
pub(crate) fn queue(family: Family, files: Vec<String>) -> Vec<Node> {
    let parsed = files.into_iter().filter_map(node);
    let mut nodes: Vec<Node> = parsed.filter(|node| node.kind.family() == family).collect();
    nodes.sort_unstable_by(|a, b| (a.ticket, &a.name).cmp(&(b.ticket, &b.name)));
    nodes
}

/// The entry whose file is called like this.
pub(crate) fn node(name: String) -> Option<Node> {
    let (kind, rest) = EntryKind::split(&name)?;
    let (id, digits) = rest.split_once('-')?;
    let (id, ticket) = (EntryId::parse(id)?, ticket(digits)?);
    Some(Node { name, id, kind, ticket })
}

/// A ticket in the one way in which we write it.
pub(crate) fn ticket(text: &str) -> Option<u64> {
    let digits = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// The queue as the rule wants it.
pub(crate) fn entries<'n, I>(nodes: I) -> impl DoubleEndedIterator<Item = QueuedEntry> + Clone
where
    I: IntoIterator<Item = &'n Node, IntoIter: DoubleEndedIterator + Clone>,
{
    nodes.into_iter().map(|node| QueuedEntry { id: node.id.clone(), kind: node.kind })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn directory(name: &str) -> LockDirectory {
        LockDirectory::of(&LockName::new(name).unwrap())
    }

    fn names(family: Family, files: &[&str]) -> Vec<String> {
        let files = files.iter().map(|file| file.to_string()).collect();
        queue(family, files).into_iter().map(|node| node.name).collect()
    }

    #[test]
    fn short_names_are_readable() {
        for (name, expected) in [
            ("nightly-backup_2.0", "nightly-backup_2.0"),
            ("a/b", "a%2Fb"),
            ("A", "%41"),
            ("..", "%2E."),
            ("=a", "%3Da"),
            ("ß", "%C3%9F"),
        ] {
            assert_eq!(directory(name), LockDirectory::Named(expected.to_owned()));
        }
    }

    #[test]
    fn long_names_have_a_digest() {
        assert_eq!(directory(&"x".repeat(255)), LockDirectory::Named("x".repeat(255)));
        let digest = directory(&"x".repeat(256));
        assert!(matches!(&digest, LockDirectory::Digest(digest) if digest.len() == 65), "{digest:?}");
        assert_eq!(told(digest.as_str()), Told::Inside);
        assert_ne!(digest, directory(&"x".repeat(257)));
    }

    #[test]
    fn foreign_files_are_ignored() {
        const TICKET: &str = "00000000000000000001";
        for file in [
            "",
            "name",
            ".new-a",
            "ex",
            "ex-",
            "ex-a",
            "ex-a-",
            "ex-a-1",
            "ex-a-+0000000000000000001",
            "ex-a-99999999999999999999",
            "EX-a-00000000000000000001",
            "日本語",
        ] {
            assert_eq!(names(Family::Lock, &[file]), Vec::<String>::new(), "{file}");
        }
        for start in ["ex-", "ex--", "ex-a b-", "ex-a-b-", "ex-ä-", "sem-1-3-a-", "é-"] {
            let file = format!("{start}{TICKET}");
            assert_eq!(names(Family::Lock, &[&file]), Vec::<String>::new(), "{file}");
        }
        for start in ["sem-", "sem-1-", "sem-1-3-", "sem-0-3-a-", "sem-4-3-a-", "sem-01-3-a-", "ex-a-"] {
            let file = format!("{start}{TICKET}");
            assert_eq!(names(Family::Semaphore, &[&file]), Vec::<String>::new(), "{file}");
        }
    }

    fn kind() -> impl Strategy<Value = EntryKind> {
        let permits = (1..=u32::MAX, any::<u32>())
            .prop_map(|(limit, any)| EntryKind::Permits { permits: any % limit + 1, limit });
        prop_oneof![Just(EntryKind::Exclusive), Just(EntryKind::Shared), permits]
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(kind in kind(), ticket: u64) {
            let node = Node::of(&Entry { id: EntryId::random(), kind, label: "".into() }, ticket);
            prop_assert_eq!(queue(kind.family(), vec![node.name.clone()]), vec![node]);
        }

        #[test]
        fn directories_tell_the_name(name in "\\PC{1,60}") {
            let name = LockName::new(&name).unwrap();
            match LockDirectory::of(&name) {
                LockDirectory::Named(directory) => {
                    prop_assert_eq!(told(&directory), Told::Name(name));
                    prop_assert!(directory.len() <= LONGEST && !directory.starts_with(['.', '=']));
                    prop_assert!(directory.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.%".contains(&byte)));
                }
                LockDirectory::Digest(directory) => prop_assert_eq!(told(&directory), Told::Inside),
            }
        }

        #[test]
        fn names_that_differ_in_case_have_directories_that_differ_in_more(a in "[aAbBkſ%._=-]{1,8}", b in "[aAbBkſ%._=-]{1,8}") {
            let caseless = |name: &str| directory(name).as_str().to_lowercase();
            prop_assert_eq!(caseless(&a) == caseless(&b), a == b);
        }

        #[test]
        fn any_text_is_read_without_panic(texts: Vec<String>, like in prop::collection::vec("(ex|sh|sem)[-0-9é]{0,40}", 0..9)) {
            texts.iter().for_each(|text| drop(told(text)));
            queue(Family::Lock, texts);
            queue(Family::Semaphore, like);
        }

        #[test]
        fn order_is_that_of_the_tickets(tickets in prop::collection::btree_set(any::<u64>(), 1..50)) {
            let created: Vec<String> = tickets
                .into_iter()
                .map(|ticket| {
                    let kind = if ticket % 2 == 0 { EntryKind::Exclusive } else { EntryKind::Shared };
                    Node::of(&Entry { id: EntryId::random(), kind, label: "".into() }, ticket).name
                })
                .collect();
            let mut shuffled = created.clone();
            shuffled.sort();
            let read: Vec<String> = queue(Family::Lock, shuffled).into_iter().map(|node| node.name).collect();
            prop_assert_eq!(read, created);
        }
    }
}

//! What lies where: the schema, how a lock is written, and what the functions answer.

use lockcore::queue::rule::UNBOUNDED;
use lockcore::queue::{Standing, standing};
use lockcore::{EntryId, EntryKind, Family, LockKey, LockName, QueuedEntry, Revision};

/// The version of the schema.
pub(crate) const VERSION: i32 = 1;

const SCHEMA: &str = include_str!("schema.sql");

/// All that is made once, as SQL.
pub(crate) fn schema(name: &str) -> String {
    let salt = hash(0, name.as_bytes()) & i64::MAX;
    SCHEMA
        .replace("{schema}", name)
        .replace("{salt}", &salt.to_string())
        .replace("{{", "{")
        .replace("}}", "}")
}

/// Which advisory lock keeps the order of this lock.
pub(crate) fn order_key(schema: &str, lock: &[u8]) -> i64 {
    hash(hash(0, schema.as_bytes()), lock)
}

/// FNV-1a. Every version has to agree on it; locks that collide wait for one another at the server, and no more.
fn hash(seed: i64, bytes: &[u8]) -> i64 {
    let begin = 0xcbf2_9ce4_8422_2325 ^ seed.cast_unsigned();
    let mixed =
        bytes.iter().fold(begin, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    mixed.cast_signed()
}

/// A lock as the tables have it: a letter for its family, and its name.
pub(crate) fn lock_bytes(lock: &LockKey) -> Vec<u8> {
    let family = match lock.family {
        Family::Lock => b'l',
        Family::Semaphore => b's',
    };
    [&[family], lock.name.as_str().as_bytes()].concat()
}

/// The lock that is written like this; none for what somebody else has written.
pub(crate) fn lock_key(bytes: &[u8]) -> Option<LockKey> {
    let (family, name) = bytes.split_first()?;
    let family = match family {
        b'l' => Family::Lock,
        b's' => Family::Semaphore,
        _ => return None,
    };
    Some(LockKey { family, name: LockName::new(std::str::from_utf8(name).ok()?).ok()? })
}

/// The weight of a kind, and how many permits there are.
pub(crate) fn numbers(kind: EntryKind) -> (i64, i64) {
    (kind.weight().into(), kind.limit().into())
}

/// The kind with this weight.
pub(crate) fn kind(family: Family, weight: i64, limit: i64) -> EntryKind {
    let number = |number: i64| u32::try_from(number).unwrap_or(UNBOUNDED);
    match (family, number(weight)) {
        (Family::Lock, 1) => EntryKind::Shared,
        (Family::Lock, _) => EntryKind::Exclusive,
        (Family::Semaphore, permits) => EntryKind::Permits { permits, limit: number(limit) },
    }
}

/// An entry to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) token: i64,
    pub(crate) session: i64,
    /// It holds, together with others: whoever leaves first makes room.
    pub(crate) holds: bool,
}

/// What an entry sees of its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) token: i64,
    pub(crate) next: Option<Next>,
    pub(crate) standing: Standing,
}

/// What the functions of the schema answer about an entry of this kind: its own token, then the token, weight and session of the one ahead, and
/// the weight of all others. None if it is not there.
pub(crate) fn seen(id: &EntryId, own: EntryKind, answer: &[i64]) -> Option<Seen> {
    let (token, ahead) = answer.split_first()?;
    let &[next, weight, session, others] = ahead else {
        return Some(Seen { token: *token, next: None, standing: Standing::Holds });
    };
    let family = own.family();
    let entry = |id: EntryId, kind| QueuedEntry { id, kind };
    let limit = i64::from(own.limit());
    let others = (others > 0).then(|| entry(EntryId::from("others"), kind(family, others.min(limit), limit)));
    let queue = others.clone().into_iter().chain([
        entry(EntryId::from(next.to_string().as_str()), kind(family, weight, limit)),
        entry(id.clone(), own),
    ]);
    let queue: Vec<QueuedEntry> = queue.collect();
    let standing = standing(&queue, id, Revision::default());
    let ahead: i64 = queue[..queue.len() - 1].iter().map(|entry| i64::from(entry.kind.weight())).sum();
    let holds = family == Family::Semaphore && ahead <= limit;
    Some(Seen { token: *token, next: Some(Next { token: next, session, holds }), standing })
}

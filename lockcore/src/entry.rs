//! Entries: what stands in the queue of a lock.

use std::fmt;
use std::sync::Arc;

use rand::RngExt;
use smol_str::SmolStr;

use crate::chance;
use crate::name::LockName;
use crate::queue::rule::UNBOUNDED;

/// Which queue: the name, and the family of kinds that share it.
///
/// Exclusive and shared entries of one name stand in one queue; semaphores have queues of their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockKey {
    /// Exclusive and shared locks, or semaphores.
    pub family: Family,
    /// The name that the application gave.
    pub name: LockName,
}

impl LockKey {
    /// The queue of this name in this family.
    pub fn new(family: Family, name: LockName) -> Self {
        Self { family, name }
    }
}

impl fmt::Display for LockKey {
    /// As errors name it, such as `lock "orders/42"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.family, self.name)
    }
}

/// The two namespaces of lock names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Exclusive and shared locks.
    Lock,
    /// Semaphores.
    Semaphore,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Lock => "lock",
            Family::Semaphore => "semaphore",
        })
    }
}

/// What an entry asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Nobody else may hold.
    Exclusive,
    /// Others may hold, if they are shared too.
    Shared,
    /// `permits` of the `limit` permits of a semaphore.
    Permits {
        /// How many permits this entry takes: 1 to `limit`.
        permits: u32,
        /// How many permits the semaphore has; everyone who uses it must agree.
        /// [`UNBOUNDED`](crate::queue::rule::UNBOUNDED) for an entry of other software that does not say.
        limit: u32,
    },
}

impl EntryKind {
    /// The permits that this entry takes, as the [rule](crate::queue::rule) counts them.
    pub fn weight(self) -> u32 {
        match self {
            EntryKind::Exclusive => UNBOUNDED,
            EntryKind::Shared => 1,
            EntryKind::Permits { permits, .. } => permits,
        }
    }

    /// The permits that there are.
    pub fn limit(self) -> u32 {
        match self {
            EntryKind::Exclusive | EntryKind::Shared => UNBOUNDED,
            EntryKind::Permits { limit, .. } => limit,
        }
    }

    /// The family whose queues this kind stands in.
    pub fn family(self) -> Family {
        match self {
            EntryKind::Exclusive | EntryKind::Shared => Family::Lock,
            EntryKind::Permits { .. } => Family::Semaphore,
        }
    }
}

/// The kind as text for the names of nodes, files and keys: `ex`, `sh` or `sem-<permits>-<limit>`.
impl EntryKind {
    /// The text.
    ///
    /// # Examples
    ///
    /// ```
    /// use lockcore::EntryKind;
    ///
    /// let kind = EntryKind::Permits { permits: 2, limit: 3 };
    /// assert_eq!(kind.encode(), "sem-2-3");
    /// assert_eq!(EntryKind::decode("sem-2-3"), Some(kind));
    /// assert_eq!(EntryKind::split("sem-2-3-x1-0000000007"), Some((kind, "x1-0000000007")));
    /// ```
    pub fn encode(self) -> String {
        match self {
            EntryKind::Exclusive => "ex".to_owned(),
            EntryKind::Shared => "sh".to_owned(),
            EntryKind::Permits { permits, limit } => format!("sem-{permits}-{limit}"),
        }
    }

    /// The kind of which this is the text; `None` for what [`encode`](Self::encode) cannot have made.
    pub fn decode(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse().ok().filter(|number: &u32| number.to_string() == text);
        match text {
            "ex" => Some(EntryKind::Exclusive),
            "sh" => Some(EntryKind::Shared),
            _ => {
                let (permits, limit) = text.strip_prefix("sem-")?.split_once('-')?;
                let (permits, limit) = (number(permits)?, number(limit)?);
                (1..=limit).contains(&permits).then_some(EntryKind::Permits { permits, limit })
            }
        }
    }

    /// The kind with which a name of the form `<kind>-<rest>` begins, and the rest.
    pub fn split(name: &str) -> Option<(Self, &str)> {
        let dashes = if name.starts_with("sem-") { 2 } else { 0 };
        let (end, _) = name.match_indices('-').nth(dashes)?;
        Some((Self::decode(&name[..end])?, &name[end + 1..]))
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryKind::Exclusive => f.write_str("exclusive"),
            EntryKind::Shared => f.write_str("shared"),
            EntryKind::Permits { permits, limit } => write!(f, "{permits} of {limit} permits"),
        }
    }
}

/// The identity of one entry, chosen by the client, one for each acquisition.
///
/// A driver may also make ids for entries that other software put into the queue: any string that is unique
/// there will do. Cheap to clone; a [random](Self::random) one has no memory of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(SmolStr);

impl EntryId {
    /// The length of a [random](Self::random) id.
    pub const LENGTH: usize = 22;

    /// A new id: 22 ASCII letters and digits, 131 random bits.
    pub fn random() -> Self {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut bytes = [0u8; Self::LENGTH];
        chance::draw(|rng| rng.fill(&mut bytes));
        // The first eight are a little more frequent, which costs a tenth of a bit.
        let letters = bytes.map(|byte| ALPHABET[usize::from(byte) % ALPHABET.len()]);
        Self(std::str::from_utf8(&letters).expect("letters and digits are text").into())
    }

    /// The id that this text is, if it can be one of [`random`](Self::random)'s: ASCII letters and digits.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        valid.then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for EntryId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A number that grows along the queue of a lock: the guard of a later entry carries a larger one.
///
/// Give it to whatever the lock protects, and let that refuse a smaller token than the largest it has seen:
/// then a holder that was paused beyond its session cannot do harm.
/// (<https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html>)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct FencingToken(u64);

impl FencingToken {
    /// The token with this value.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The value, to be stored beside what the lock protects.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An entry that a client puts into a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its identity.
    pub id: EntryId,
    /// What it asks for.
    pub kind: EntryKind,
    /// Who waits here: the label that people read, beside it the value that programs read, if there is one, and from where both come. To
    /// drivers it is text of at most [`Entry::MAX_TEXT`] bytes.
    pub label: Arc<str>,
}

impl Entry {
    /// The longest label that a user may give, in bytes.
    pub const MAX_LABEL: usize = 512;
    /// The longest value that may stand beside it, in bytes.
    pub const MAX_VALUE: usize = 512;
    /// The longest text that a driver is given for both, and for the host and the process that stand beside them, in bytes.
    pub const MAX_TEXT: usize = Self::MAX_LABEL + Self::MAX_VALUE + 320;
}

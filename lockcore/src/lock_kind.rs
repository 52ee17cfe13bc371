//! The kinds of locks.

use std::fmt;

/// The kinds of locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// One holder.
    Exclusive,
    /// Any number of holders, beside no exclusive one.
    Shared,
    /// As many holders as there are permits.
    Semaphore {
        /// The number of permits. All users of one semaphore must agree on it.
        limit: u32,
    },
}

impl fmt::Display for LockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockKind::Exclusive => f.write_str("exclusive"),
            LockKind::Shared => f.write_str("shared"),
            LockKind::Semaphore { limit } => write!(f, "semaphore of {limit}"),
        }
    }
}

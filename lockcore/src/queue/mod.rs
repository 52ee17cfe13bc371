//! Locks as queues: the rule, and the one implementation of waiting, cancellation, loss and release, for
//! every backend.

mod acquire;
pub mod attempt;
mod backoff;
mod follow;
mod held;
mod hold;
mod janitor;
mod lock;
mod locks;
mod open;
mod reentry;
pub mod rule;
mod sessions;
mod spans;
mod watch;

pub(crate) mod standing;

pub(crate) use lock::default_label;
pub use locks::QueueLocks;
pub use standing::{Standing, standing};

//! The same locks for code that is not async.
//!
//! Sessions live on a thread of the library's own, named `fairlock`, so that a program which computes for an hour keeps its locks. That
//! is what `Runtime::block_on` for each call does *not* do: on a runtime of tokio's current-thread kind nothing runs between two such
//! calls, no renewal is sent, and every lock is lost after one session time.
//!
//! ```
//! # fn main() -> fairlock::Result<()> {
//! let locks = fairlock::blocking::connect("memory://")?; // "zookeeper://zk1:2181,zk2:2181/app"
//! let lock = locks.exclusive("orders/42")?;
//!
//! let guard = lock.acquire()?; // waits its turn; also try_acquire(), acquire_timeout(d)
//! println!("the store refuses tokens older than {}", guard.fencing_token());
//! let _ = guard.release()?; // or drop it
//!
//! let token = lock.with(|held| held.fencing_token())?;
//! println!("{token} is the token of the work that was done");
//! # Ok(())
//! # }
//! ```
//!
//! Work that blocks cannot be stopped from outside when its lock is lost: look at [`LockGuard::is_valid`] before each step, or let what
//! the lock protects check the token.
//!
//! Called inside an async context of tokio's, everything here that waits returns an error with the kind
//! [`InvalidInput`](crate::ErrorKind::InvalidInput) that says so: blocking there would stop all other tasks of the thread, those that have to release
//! what is waited for among them. Threads that tokio keeps for blocking (`spawn_blocking`, `block_in_place`) may use it.

mod election;
mod guard;
mod lock;
mod once;
mod owned;
mod runtime;
mod service;
mod set;

pub use election::{Election, Leaders, Leadership};
pub use guard::{LockGuard, LossSignal};
pub use lock::Lock;
pub use once::Once;
pub use service::{Locks, connect};
pub use set::{LockSet, SetGuard};

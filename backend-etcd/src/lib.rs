//! fairlock's locks on [etcd](https://etcd.io), 3.4 or later.
//!
//! ```no_run
//! # async fn example() -> lockcore::Result<()> {
//! use backend_etcd::{Etcd, EtcdOptions};
//! use lockcore::queue::QueueLocks;
//!
//! let options = EtcdOptions::new(["etcd1:2379", "etcd2:2379"]).with_root("/app")?;
//! let locks = QueueLocks::connect(Etcd::new(options)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! Every key but the last kind is on the lease of its session, so nothing outlives that, and names are used again:
//!
//! * `<root>/lock/<name>/ex-<session>-<slot>` and `sh-…`, `<root>/semaphore/<name>/sem-<permits>-<limit>-<session>-<slot>`:
//!   entries, in the order of their create revisions. The value is the id, a space and the label. Other keys in these
//!   places are ignored.
//! * `<root>/session/<session>`: a session; the value is a number, and requests with no larger one are refused.
//! * `<root>/inbox/<session>`: what the session was told last: which of its entries hold, by their create revisions, and
//!   who stands behind.
//! * `<root>/record/<family>/<name>`: what is recorded about a lock: the token, a space, the text. It is on no lease.
//!
//! A waiter is told that it holds by whoever lets it in. A departure of which nobody tells (an entry deleted by hand, a
//! process that dies in between) is noticed by a watch. It begins 30 ms after the wait if the next entry ahead is known;
//! otherwise 30 ms, and 10 ms for each entry ahead, pass before that one is looked for, and 30 ms more.
//!
//! A user with a password needs the permission to read and write all keys with the prefix `<root>/`.

mod backend;
mod connection;
mod error;
mod handover;
mod keep_alive;
mod layout;
mod lease;
mod message;
mod options;
mod own_entries;
mod queue;
mod records;
mod requests;
mod session;
mod turns;
mod wait;
mod watches;

pub use backend::{Etcd, EtcdFactory};
pub use options::{EtcdOptions, OPTIONS, SCHEME, SCHEMES};

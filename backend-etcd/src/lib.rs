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
//! Every key is on the lease of its session, so nothing outlives that, and names are used again:
//!
//! * `<root>/lock/<name>/<session>-<slot>-ex` and `-sh`, `<root>/semaphore/<name>/<session>-<slot>-sem-<permits>-<limit>`:
//!   entries, in the order of their create revisions. The value is the id, a space and the label. Other keys in these
//!   places are ignored.
//! * `<root>/session/<session>`: a session; the value is a number, and requests with no larger one are refused.
//! * `<root>/inbox/<session>`: which entry has left, for a session that waits for it: its key, `@` and its create revision.
//!
//! A user with a password needs the permission to read and write all keys with the prefix `<root>/`.

mod backend;
mod connection;
mod error;
mod handover;
mod heartbeat;
mod layout;
mod message;
mod options;
mod places;
mod queue;
mod session;
mod wait;
mod wake;

pub use backend::{Etcd, EtcdFactory, SCHEME, SCHEME_TLS};
pub use options::{EtcdOptions, EtcdTls};

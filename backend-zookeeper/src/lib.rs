//! fairlock's locks on [ZooKeeper](https://zookeeper.apache.org), 3.5 or later.
//!
//! ```no_run
//! # async fn example() -> lockcore::Result<()> {
//! use backend_zookeeper::{ZooKeeper, ZooKeeperOptions};
//! use lockcore::queue::QueueLocks;
//!
//! let options = ZooKeeperOptions::new(["zk1:2181", "zk2:2181"]).with_root("/app")?;
//! let locks = QueueLocks::connect(ZooKeeper::new(options)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! An entry is an ephemeral sequential node, its data is `<id> <label>`:
//!
//! * `<root>/_zklocking/<name>/ex<sequence>` and `sh<sequence>`,
//! * `<root>/_zksemaphore/<name>/sem-<permits>-<limit>-<sequence>`.
//!
//! This is the layout of the Ruby gem `zk`, so its clients contend with ours: they respect our
//! entries, and its own, of which the semaphores are `sem<sequence>`, count here. For names with other characters
//! than letters, digits, `-`, `_` and `.` the two make different directories. To the gem every semaphore entry is
//! one permit. Other nodes in these directories are ignored, and so are nodes that look like entries but are held by no
//! session.
//!
//! What is recorded about a lock lies in a persistent node `<root>/_fairlock_records/<family>/<name>`: the token, a space, the text.
//!
//! # Cost
//!
//! A free lock takes one round trip, of two requests that are sent together, and one for the release. A hand-over of an
//! exclusive lock takes four requests in all, of which one reads the names of all who wait, 16 bytes each; the woken waits for that one.
//! Whoever came when only one had to leave first, such as the second of two or the readers behind a writer, takes five, and
//! waits for none: it holds when it hears of the departure.
//! On Linux 5.6 and later the sockets of sessions are made to send at once (`TCP_NODELAY`). Where that is forbidden, as in
//! containers without the right to `pidfd_getfd`, a free lock may take two round trips.
//!
//! # Access
//!
//! With credentials, the directory of a lock and its entries belong to the user, unless
//! [`with_open_acl`](ZooKeeperOptions::with_open_acl) says otherwise. Missing directories above them are made so that
//! everybody may list them, add to them, and remove from them what is empty.
//!
//! TLS is the cargo feature `tls`, SASL (DIGEST-MD5) the feature `sasl`. Passwords, certificates and keys are read again for each
//! connection. The client library does not tell why TLS failed, so that the handshake is made once more to find out.
//!
//! # Limits
//!
//! * Locks are not re-entrant: a task that asks again for what it holds waits for itself.
//! * Ask for a session timeout of three of the server's ticks or more (6 s where `tickTime` is 2000, as usual). At two
//!   ticks, the least that servers grant by default, a session may end a twentieth of its time before we know of it, if
//!   the server to which it is connected is cut off from the others at the wrong moment.
//! * Each session makes six small writes in its timeout (78 bytes in the log of each server), because only what is
//!   written is known to a majority.

mod backend;
mod connection;
mod dialer;
mod error;
mod keep_alive;
mod layout;
mod nodelay;
mod options;
mod own_entries;
mod queue;
mod records;
mod rounds;
mod sasl;
mod session;
mod tls;
mod view;
mod watches;

pub use backend::{ZooKeeper, ZooKeeperFactory};
pub use options::{OPTIONS, SCHEME, SCHEMES, ZooKeeperOptions};

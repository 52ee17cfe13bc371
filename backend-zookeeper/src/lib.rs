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
//! An entry is an ephemeral sequential node, its data is the label:
//!
//! * `<root>/_zklocking/<name>/ex-<id>-<sequence>` and `sh-<id>-<sequence>`,
//! * `<root>/_zksemaphore/<name>/sem-<permits>-<limit>-<id>-<sequence>`.
//!
//! This is the layout of the Ruby gem `zk` with the id added, so its clients contend with ours: they respect our
//! entries, and its own `ex<sequence>`, `sh<sequence>` and `sem<sequence>` count here. For names with other characters
//! than letters, digits, `-`, `_` and `.` the two make different directories. To the gem every semaphore entry is
//! one permit. Other nodes in these directories are ignored.
//!
//! # Limits
//!
//! One session watches paths of at most 128 KiB at a time, some 1500 waiters; more than that look again only when the
//! first of these are served, or every 10 to 20 seconds.

mod backend;
mod connection;
mod error;
mod keeper;
mod layout;
mod options;
mod places;
mod session;
mod watches;

pub use backend::{SCHEME, ZooKeeper, ZooKeeperFactory};
pub use options::ZooKeeperOptions;

//! fairlock's locks in a local directory: for the processes of one machine, without a server.
//!
//! ```no_run
//! # async fn example() -> lockcore::Result<()> {
//! use backend_file::{FileLocks, FileOptions};
//! use lockcore::queue::QueueLocks;
//!
//! let options = FileOptions::new("/var/lib/app/locks")?;
//! let locks = QueueLocks::connect(FileLocks::new(options)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! An entry is a FIFO (on other systems than Linux a file), to which its owner writes the label:
//!
//! * `<root>/locks/<name>/ex-<id>-<ticket>` and `sh-<id>-<ticket>`,
//! * `<root>/semaphores/<name>/sem-<permits>-<limit>-<id>-<ticket>`.
//!
//! It counts for as long as its owner keeps the kernel's lock (`flock`) on it, which ends with the owner, however that
//! ends. A file without a lock is a dead entry, and whoever meets it removes it. Tickets are larger than that of the last
//! entry of the queue and than the one in `counter`, beside the entries, and never behind the clock in microseconds; they are
//! the fencing tokens, too. `counter` also names the last entries of the queue, and `<root>/counter` has the largest ticket of
//! the locks whose directories were removed. A name too long for a file name lives under its digest, with the full name in a
//! file `name` beside the entries. Names that begin with `.new-` are of what is being made. Other files are ignored.
//!
//! What is recorded about a lock lies in `<root>/records/locks/<name>`, or `<root>/records/semaphores/<name>`: the token, a space, the text. It is replaced as a
//! whole, under the kernel's lock on a file `.turn` beside it. It is not synchronized with the disk: after a crash of the machine, that of the last seconds may be
//! the one before.
//!
//! # Trust
//!
//! The directory is for one user, unless it is [shared](FileOptions::with_shared): nobody else may write it, or a directory
//! that leads to it. What is made in it is for those whom it is for.
//!
//! # Limits
//!
//! * A process that is stopped (SIGSTOP) holds on to what it holds: there is no timeout.
//! * An entry takes an open file of its process, and one more for each of those that it waits for: an exclusive or shared one
//!   waits for one other, one of a semaphore for as many as that has permits.
//! * The directory has to be on a local file system. On Linux those that are not known to be local are refused, unless
//!   they are [trusted](FileOptions::with_trust_filesystem).
//! * On Linux a waiter is woken by whoever leaves, and by the kernel if that was killed. What nobody tells (files that are
//!   removed by hand, a lock that is given back by the descriptor alone) it finds out within two seconds, or half a minute
//!   if it has waited for long. On other systems it looks some twenty times a second.
//! * The directory of a lock that nobody uses any more is removed by whoever left it last, within two seconds, or when its session ends.
//!   Those that killed processes leave stay until somebody takes the locks again, or
//!   [cleans up](lockcore::LockService::cleanup); records stay.

mod ahead;
mod backend;
mod counter;
mod directory;
mod error;
mod fifo;
mod filesystem;
mod layout;
mod leftovers;
mod options;
mod own;
mod queue;
mod records;
mod root;
mod session;
mod trust;
mod turn;
#[cfg_attr(target_os = "linux", path = "watches.rs")]
#[cfg_attr(not(target_os = "linux"), path = "watches_unavailable.rs")]
mod watches;

pub use backend::{FileFactory, FileLocks, SCHEME};
pub use options::{FileOptions, OPTIONS};

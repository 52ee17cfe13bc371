//! The contract and the algorithm of fairlock: fair distributed locks, the same on every backend.
//!
//! Which crate is for whom: **applications** depend on `fairlock`, which exports from here what they use, and nothing of the interface
//! of drivers. **Those who write a backend**, or tools that look into queues, depend on this one, and on `conformance` for their
//! tests. What is in both is the same type. To write a backend:
//!
//! 1. implement [`QueueBackend`] and [`QueueSession`]: how the server keeps a queue of entries that live as
//!    long as a session;
//! 2. wrap it in [`queue::QueueLocks`], which does everything else, once for all backends: waiting, timeouts,
//!    cancellation, loss, release, cleaning up;
//! 3. give it a URL scheme with [`ServiceFactory`] and [`Registry`];
//! 4. prove it with the crate `conformance` (package `fairlock-conformance`).
//!
//! The meaning of a lock is one pure function, [`queue::rule::verdict`].

mod backend;
mod capabilities;
pub mod chance;
mod config;
mod entry;
mod error;
mod guard;
mod hold;
mod label;
mod lock;
mod lock_ext;
mod lock_kind;
mod loss_signal;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(not(feature = "metrics"))]
mod metrics;
mod name;
mod opening;
mod options;
pub mod queue;
mod queue_view;
mod queue_watch;
mod recipes;
mod record;
mod registry;
mod secret;
mod seldom;
mod service;
pub mod session;
mod snapshot;
#[cfg(feature = "tls")]
pub mod tls;
mod tls_files;
mod url;
mod url_options;

pub use backend::{Enqueued, QueueBackend, QueueSession, Removed, UNWATCHED, in_one_order, watches_held};
pub use capabilities::{Capabilities, Clocks, Failover, Fencing};
pub use config::{Config, OptionValue};
pub use entry::{Entry, EntryId, EntryKind, Family, FencingToken, LockKey};
pub use error::{Effect, Error, ErrorKind, Result};
pub use guard::LockGuard;
pub use hold::{Hold, Released};
pub use lock::DistributedLock;
pub use lock_ext::DistributedLockExt;
pub use lock_kind::LockKind;
pub use loss_signal::{HeldLock, LossSignal};
pub use name::LockName;
pub use opening::{open_once, open_repeatedly};
pub use options::{AcquireOptions, Wait};
pub use queue_view::{QueueEntry, QueueView};
pub use queue_watch::QueueWatch;
pub use recipes::{
    Election, LastRun, Leader, Leadership, LockPart, LockServiceExt, LockSet, Once, Run, RunEnd, SetGuard,
    Turn,
};
pub use record::{Record, Recorded};
pub use registry::{Registry, ServiceFactory};
pub use secret::{Credentials, Secret};
pub use service::LockService;
pub use session::{Loss, SessionEvent, SessionEvents, SessionState};
pub use snapshot::{EntryDetails, QueuedEntry, Revision, Snapshot};
pub use tls_files::TlsFiles;
pub use url::{LockUrl, host_and_port};
pub use url_options::{DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, UrlOption, UrlOptions};

//! Fair distributed locks: processes on many machines take turns, in the order in which they asked.
//!
//! One URL in the configuration says where the locks live: on ZooKeeper, etcd or Redis, in a directory of this machine, in
//! memory in unit tests.
//! What a lock means is the same everywhere.
//!
//! # Take a lock
//!
//! ```
//! use fairlock::{DistributedLockExt, LockService};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> fairlock::Result<()> {
//! let locks = fairlock::connect("memory://").await?; // "zookeeper://zk1:2181,zk2:2181/app"
//! let lock = locks.exclusive("orders/42")?; // no I/O yet
//!
//! let guard = lock.acquire().await?; // waits its turn
//! write(42, guard.fencing_token());
//! guard.release().await?; // or drop it: then it is released in the background
//! # Ok(())
//! # }
//! # fn write(_order: u32, _token: fairlock::FencingToken) {}
//! ```
//!
//! A [`FencingToken`] grows from guard to guard. Let what the lock protects refuse a smaller token than it has
//! seen: then even a holder that was paused for an hour, and does not know yet that it lost the lock, cannot do
//! harm.
//!
//! # Three kinds, one queue each
//!
//! | | who may hold |
//! |---|---|
//! | [`exclusive`](LockService::exclusive) | one |
//! | [`shared`](LockService::shared) | many, but nobody beside an exclusive holder of the same name |
//! | [`semaphore`](LockService::semaphore) | as many as there are permits |
//!
//! Nobody overtakes: a reader that comes after a waiting writer waits behind it. The kind belongs to the handle, so
//! that code which takes a [`&dyn DistributedLock`](DistributedLock) works with every kind on every backend.
//!
//! ```
//! use fairlock::{AcquireOptions, DistributedLock, DistributedLockExt, LockService};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> fairlock::Result<()> {
//! # let locks = fairlock::connect("memory://").await?;
//! let (reader, another) = (locks.shared("report")?.acquire().await?, locks.shared("report")?.acquire().await?);
//! assert!(locks.exclusive("report")?.try_acquire().await?.is_none());
//!
//! let gpu = locks.semaphore("gpu", 4)?;
//! let guard = gpu.acquire_with(&AcquireOptions::new().with_permits(3).with_label("training")).await?;
//! assert_eq!(gpu.queue().await?[0].label, "training");
//! # Ok(())
//! # }
//! ```
//!
//! # Don't wait for ever
//!
//! ```
//! use std::time::Duration;
//! use fairlock::{DistributedLockExt, LockService};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> fairlock::Result<()> {
//! # let locks = fairlock::connect("memory://").await?;
//! let lock = locks.exclusive("orders/42")?;
//! let guard = lock.try_acquire().await?; // only if it is free now
//! assert!(guard.is_some());
//! let second = lock.acquire_timeout(Duration::from_millis(20)).await?;
//! assert!(second.is_none()); // not in time, and nothing was left in the queue
//! # Ok(())
//! # }
//! ```
//!
//! Any future of this library may be dropped at any time: it gives up its place in the queue.
//!
//! # When the lock is lost
//!
//! A process that cannot reach the server for longer than its session lasts loses its locks; a short interruption
//! costs nothing. The guard knows in time, by the local clock: no later than the server may let somebody else in.
//! [`with`](DistributedLockExt::with) and [`protect`](LockGuard::protect) stop the work at that moment,
//! [`lost`](LockGuard::lost) tells those who want to stop it themselves, and [`is_valid`](LockGuard::is_valid) is right
//! even immediately after a pause.
//!
//! ```
//! use fairlock::{DistributedLockExt, LockService, Released};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> fairlock::Result<()> {
//! # let locks = fairlock::connect("memory://").await?;
//! # let lock = locks.exclusive("orders/42")?;
//! let sum = lock.with(|held| async move { held.fencing_token().get() + work().await }).await?;
//!
//! let guard = lock.acquire().await?;
//! tokio::select! {
//!     _ = work() => println!("done"),
//!     loss = guard.lost() => println!("stopped: {loss}"),
//! }
//! if let Released::Lost(loss) = guard.release().await? {
//!     println!("somebody else may have held it as well: {loss}");
//! }
//! # Ok(())
//! # }
//! # async fn work() -> u64 { 1 }
//! ```
//!
//! # Not async?
//!
//! The module `blocking` (feature `blocking`) has the same locks for threads. Do not wrap each call in `Runtime::block_on` instead: on a
//! runtime of the current-thread kind nothing runs between two such calls, no renewal is sent, and every lock is lost after one session
//! time. Whoever keeps a runtime of his own needs one with worker threads, or has to drive it all the time.
//!
//! # Several at once, elections
//!
//! [`LockServiceExt`] makes more of locks: [`all`](LockServiceExt::all) takes several together, in one order for everybody, so that nobody
//! waits in a circle; [`election`](LockServiceExt::election) lets candidates lead one after another, and others observe who does;
//! [`once`](LockServiceExt::once) runs a job at most once in a period. What has to check tokens finds help in [`fencing`].
//!
//! # Configuration
//!
//! [`connect`] takes a URL or a [`Config`], which comes [from the environment](Config::from_env) or, with serde, from a
//! file. An unknown scheme or option is an error that lists the valid ones. The option `require` refuses a backend that
//! does not promise enough:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let error = fairlock::connect("memory://?require=fair,interprocess").await.unwrap_err();
//! assert_eq!(error.kind(), fairlock::ErrorKind::InvalidConfig);
//! # }
//! ```
//!
//! | feature | URL | |
//! |---|---|---|
//! | `etcd` | `etcd://host:port,…/root`, `etcds://…` | building it takes `protoc` |
//! | `file` (default) | `file:///path` | between the processes of one machine, without a server |
//! | `memory` (default) | `memory://`, `memory://name` | within one process, for unit tests; the named ones are shared by all its connections |
//! | `redis` | `redis://host:port/0`, `rediss://…`, `redis+sentinel://host:port,…/master`, `redis+cluster://host:port,…` | with exceptions to exclusion, which [`capabilities`](LockService::capabilities) tell and its crate documents |
//! | `zookeeper` (default) | `zookeeper://host:port,…/path` | |
//!
//! Two features more, both off: `blocking` for locks of code that is not async, `tower` for [`fencing`]'s layer for services.
//!
//! A backend that is not in this crate registers its own scheme: `fairlock::registry().with("myscheme", factory)`. What it implements,
//! and the parts that it is made of, are in the crate `lockcore`; this one exports what applications use.

#[cfg(feature = "blocking")]
pub mod blocking;
pub mod fencing;
#[cfg(doctest)]
mod guide;

use std::sync::Arc;

pub use lockcore::{
    AcquireOptions, Capabilities, Clocks, Config, DistributedLock, DistributedLockExt, Effect, Election,
    EntryId, EntryKind, Error, ErrorKind, Failover, Family, Fencing, FencingToken, HeldLock, LastRun, Leader,
    Leadership, LockGuard, LockKey, LockKind, LockName, LockPart, LockService, LockServiceExt, LockSet,
    LockUrl, Loss, LossSignal, Once, QueueEntry, Record, Recorded, Registry, Released, Result, Run, RunEnd,
    ServiceFactory, SessionState, SetGuard, Turn, Wait,
};

/// All schemes that this build knows: those of the cargo features that are on.
pub fn registry() -> Registry {
    let registry = Registry::new();
    #[cfg(feature = "etcd")]
    let registry = registry
        .with(backend_etcd::SCHEME, backend_etcd::EtcdFactory)
        .with(backend_etcd::SCHEME_TLS, backend_etcd::EtcdFactory);
    #[cfg(feature = "file")]
    let registry = registry.with(backend_file::SCHEME, backend_file::FileFactory);
    #[cfg(feature = "memory")]
    let registry = registry.with(backend_memory::SCHEME, backend_memory::MemoryFactory);
    #[cfg(feature = "redis")]
    let registry = backend_redis::SCHEMES
        .into_iter()
        .fold(registry, |registry, scheme| registry.with(scheme, backend_redis::RedisFactory));
    #[cfg(feature = "zookeeper")]
    let registry = registry.with(backend_zookeeper::SCHEME, backend_zookeeper::ZooKeeperFactory);
    registry
}

/// The backends of this crate: the cargo feature, the schemes, and whether this build has them.
const BACKENDS: [(&str, &[&str], bool); 5] = [
    ("etcd", &["etcd", "etcds"], cfg!(feature = "etcd")),
    ("file", &["file"], cfg!(feature = "file")),
    ("memory", &["memory"], cfg!(feature = "memory")),
    ("redis", &["redis", "rediss", "redis+sentinel", "redis+cluster"], cfg!(feature = "redis")),
    ("zookeeper", &["zookeeper"], cfg!(feature = "zookeeper")),
];

/// Connects to where the URL (or other [configuration](Config)) says that the locks live.
///
/// The session is kept alive by tasks of the runtime on which this is called, which has to run as long as locks are held: not only during
/// calls, as with `block_on` on a current-thread runtime. Code that is not async uses the module `blocking`.
///
/// # Errors
///
/// Those of [`Registry::connect`]. For a scheme whose cargo feature is off, the error names the feature.
///
/// # Cancel safety
///
/// When dropped, a session that was being opened ends by itself.
pub async fn connect(config: impl Into<Config>) -> Result<Arc<dyn LockService>> {
    let url = config.into().url()?;
    let is_off = |(_, schemes, on): &&(&str, &[&str], bool)| !on && schemes.contains(&url.scheme());
    if let Some((feature, ..)) = BACKENDS.iter().find(is_off) {
        let message = format!("{}:// needs fairlock's cargo feature {feature:?}, which is off", url.scheme());
        return Err(Error::new(ErrorKind::InvalidConfig, message));
    }
    registry().connect_url(url).await
}

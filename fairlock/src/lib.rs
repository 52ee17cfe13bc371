//! Fair distributed locks: processes on many machines take turns, in the order in which they asked.
//!
//! One URL in the configuration says where the locks live: on ZooKeeper, etcd, Redis or PostgreSQL, in a directory of this machine, in
//! memory in unit tests.
//! What a lock means is the same everywhere.
//!
//! This crate is for applications. It exports what they use; what a backend implements is in the crate `lockcore` (package
//! `fairlock-core`), which is for those who write one, and which an application need not know.
//!
//! # Take a lock
//!
//! ```
//! use fairlock::DistributedLockExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> fairlock::Result<()> {
//! let locks = fairlock::connect("memory://").await?; // "zookeeper://zk1:2181,zk2:2181/app"
//! let lock = locks.exclusive("orders/42")?; // no I/O yet
//!
//! let guard = lock.acquire().await?; // waits its turn
//! write(42, guard.fencing_token());
//! let _ = guard.release().await?; // or drop it: then it is released in the background
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
//! use fairlock::{AcquireOptions, DistributedLockExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> fairlock::Result<()> {
//! # let locks = fairlock::connect("memory://").await?;
//! let readers = (locks.shared("report")?.acquire().await?, locks.shared("report")?.acquire().await?);
//! assert!(locks.exclusive("report")?.try_acquire().await?.is_none());
//!
//! let gpu = locks.semaphore("gpu", 4)?;
//! let guard = gpu.acquire_with(&AcquireOptions::new().with_permits(3).with_label("training")).await?;
//! assert_eq!(gpu.queue().await?[0].label, "training");
//! # drop((readers, guard));
//! # Ok(())
//! # }
//! ```
//!
//! # Don't wait for ever
//!
//! ```
//! use std::time::Duration;
//! use fairlock::DistributedLockExt;
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
//! Locks are not re-entrant: a task that acquires what it holds waits for itself, for ever. When a service has held a lock
//! exclusively and waited for it, both for more than ten seconds, it [logs a warning](DistributedLock::acquire_with).
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
//! use fairlock::{DistributedLockExt, Released};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> fairlock::Result<()> {
//! # let locks = fairlock::connect("memory://").await?;
//! # let lock = locks.exclusive("orders/42")?;
//! let sum: u64 = lock.with(|held| async move { held.fencing_token().get() + work().await }).await?;
//! # assert!(sum > 0);
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
//! [`connect`] takes a URL, as text or as a `url::Url`, or a [`Config`], which comes [from the environment](Config::from_env) or, with
//! serde, from a file. An unknown scheme or option is an error that lists the valid ones. The option `require` refuses a backend that
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
//! Passwords need not stand in the configuration: with `password_file=` or `password_env=` they are read when a session is opened, and
//! so are certificates and their keys. What was rotated is used by the next session. Nothing shows a secret.
//!
//! | feature | URL | |
//! |---|---|---|
//! | `etcd` | `etcd://host:port,…/root`, `etcds://…` | building it takes `protoc` |
//! | `file` (default) | `file:///path` | between the processes of one machine, without a server |
//! | `memory` (default) | `memory://`, `memory://name` | within one process, for unit tests; the named ones are shared by all its connections |
//! | `postgres` | `postgres://host:port,…/database`, `postgresql://…` | with asynchronous replication, a failover may lose locks |
//! | `redis` | `redis://host:port/0`, `rediss://…`, `redis+sentinel://host:port,…/master`, `redis+cluster://host:port,…` | with exceptions to exclusion, which [`capabilities`](LockService::capabilities) tell and its crate documents |
//! | `zookeeper` (default) | `zookeeper://host:port,…/path`, `zookeepers://…` | `zookeeper-tls` and `zookeeper-sasl` bring TLS and SASL |
//!
//! Features more, all off: `blocking` for locks of code that is not async, `tower` for [`fencing`]'s layer for services, `metrics` for
//! counters and histograms through the facade of that name, `zookeeper-tls`, `zookeeper-sasl`.
//!
//! The options stand behind the URL's `?`, or beside it in a [`Config`]. A duration has units, such as `500ms`, or is a number of seconds.
//!
#![doc = include_str!("../OPTIONS.md")]
//!
//! A backend that is not in this crate registers its own scheme: `fairlock::registry().with("myscheme", factory)`.

#![doc(test(attr(deny(warnings))))]

#[cfg(feature = "blocking")]
pub mod blocking;
pub mod fencing;
#[cfg(doctest)]
mod guide;

use std::sync::Arc;

#[cfg(feature = "metrics")]
pub use lockcore::metrics;
pub use lockcore::{
    AcquireOptions, Capabilities, Clocks, Config, DistributedLock, DistributedLockExt, Effect, Election,
    EntryId, EntryKind, Error, ErrorKind, Failover, Family, Fencing, FencingToken, HeldLock, LastRun, Leader,
    Leadership, LockGuard, LockKey, LockKind, LockName, LockPart, LockService, LockServiceExt, LockSet,
    LockUrl, Loss, LossSignal, Once, OptionValue, QueueEntry, QueueView, QueueWatch, Record, Recorded,
    Registry, Released, Result, Run, RunEnd, ServiceFactory, SessionEvent, SessionEvents, SessionState,
    SetGuard, Turn, UrlOption, Wait,
};

/// The backends of this crate: the cargo features, and the schemes that each brings.
const BACKENDS: [(&str, &[&str]); 6] = [
    ("etcd", &["etcd", "etcds"]),
    ("file", &["file"]),
    ("memory", &["memory"]),
    ("postgres", &["postgres", "postgresql"]),
    ("redis", &["redis", "rediss", "redis+sentinel", "redis+cluster"]),
    ("zookeeper", &["zookeeper", "zookeepers"]),
];

/// All schemes that this build knows: those of the cargo features that are on. Of the others it tells which feature they need.
pub fn registry() -> Registry {
    let all = BACKENDS
        .into_iter()
        .flat_map(|(feature, schemes)| schemes.iter().map(move |scheme| (scheme, feature)));
    let registry = all.fold(Registry::new(), |registry, (scheme, feature)| registry.without(scheme, feature));
    #[cfg(feature = "etcd")]
    let registry = backend_etcd::SCHEMES
        .into_iter()
        .fold(registry, |registry, scheme| registry.with(scheme, backend_etcd::EtcdFactory));
    #[cfg(feature = "file")]
    let registry = registry.with(backend_file::SCHEME, backend_file::FileFactory);
    #[cfg(feature = "memory")]
    let registry = registry.with(backend_memory::SCHEME, backend_memory::MemoryFactory);
    #[cfg(feature = "postgres")]
    let registry = backend_postgres::SCHEMES
        .into_iter()
        .fold(registry, |registry, scheme| registry.with(scheme, backend_postgres::PostgresFactory));
    #[cfg(feature = "redis")]
    let registry = backend_redis::SCHEMES
        .into_iter()
        .fold(registry, |registry, scheme| registry.with(scheme, backend_redis::RedisFactory));
    #[cfg(feature = "zookeeper")]
    let registry = backend_zookeeper::SCHEMES
        .into_iter()
        .fold(registry, |registry, scheme| registry.with(scheme, backend_zookeeper::ZooKeeperFactory));
    registry
}

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
    registry().connect(&config.into()).await
}

/// The service of where the URL (or other [configuration](Config)) says that the locks live, which connects in the background: it starts
/// without a server, and waits for one as it does during an outage.
///
/// Call it within the runtime that [`connect`] would be called in. Its [`ready`](LockService::ready) waits for the connection.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> fairlock::Result<()> {
/// let locks = fairlock::connect_lazy("memory://")?;
/// println!("{}", locks.session()); // connecting
/// locks.ready().await?;
/// println!("{}", locks.session()); // live
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of [`Registry::connect_lazy`].
pub fn connect_lazy(config: impl Into<Config>) -> Result<Arc<dyn LockService>> {
    registry().connect_lazy(&config.into())
}

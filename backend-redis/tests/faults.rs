//! What goes wrong with a Redis server, and what becomes of the locks on it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::Arc;
use std::time::Duration;

use backend_redis::{Redis, RedisOptions};
use conformance::deadline::{eventually, within};
use conformance::server;
use lockcore::queue::{QueueLocks, Standing};
use lockcore::{
    DistributedLock, DistributedLockExt, Effect, Entry, EntryId, EntryKind, ErrorKind, Family, LockGuard,
    LockKey, LockName, LockService, Loss, QueueBackend, Released, Result,
};
use tokio::task::JoinHandle;

/// Long enough for no deadline to help where a message must.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(3);

struct Bed {
    server: server::Redis,
}

impl Bed {
    async fn new() -> Self {
        Self { server: server::Redis::start().await.unwrap() }
    }

    fn options(&self) -> RedisOptions {
        RedisOptions::new(self.server.address()).with_session_timeout(SHORT)
    }

    async fn locks(&self) -> QueueLocks {
        connect(self.options()).await
    }

    async fn cli(&self, arguments: &[&str]) -> String {
        self.server.cli(arguments).await.unwrap()
    }
}

async fn connect(options: RedisOptions) -> QueueLocks {
    QueueLocks::connect(Redis::new(options)).await.unwrap()
}

/// Waits in the queue, behind `ahead` others.
async fn waiting(lock: &Arc<dyn DistributedLock>, ahead: usize) -> JoinHandle<Result<LockGuard>> {
    let waiter = lock.clone();
    let waiting = tokio::spawn(async move { waiter.acquire().await });
    eventually("the waiter queues", || async {
        lock.queue().await.is_ok_and(|queue| queue.len() == ahead + 1)
    })
    .await;
    waiting
}

async fn held(guard: &LockGuard) {
    eventually("the server confirms the hold", || async { guard.verify().await.is_ok() }).await;
    assert!(guard.is_valid());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_departure_is_heard_of() {
    let bed = Bed::new().await;
    let options = bed.options().with_session_timeout(LONG);
    let (a, b) = (connect(options.clone()).await, connect(options).await);
    for [first, second] in [
        [a.exclusive("l"), b.exclusive("l")],
        [a.exclusive("l"), b.shared("l")],
        [a.shared("l"), b.exclusive("l")],
        [a.semaphore("l", 1), b.semaphore("l", 1)],
    ] {
        let guard = first.unwrap().acquire().await.unwrap();
        let waiting = waiting(&second.unwrap(), 1).await;
        drop(guard);
        drop(within("hand-over", waiting).await.unwrap().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_connections_are_made_anew() {
    let bed = Bed::new().await;
    let (a, b) = (bed.locks().await, bed.locks().await);
    let guard = a.exclusive("l").unwrap().acquire().await.unwrap();
    let waiting = waiting(&b.exclusive("l").unwrap(), 1).await;
    for _ in 0..5 {
        bed.cli(&["client", "kill", "type", "normal", "skipme", "yes"]).await;
        held(&guard).await;
    }
    assert_eq!(within("release", guard.release()).await.unwrap(), Released::Held);
    held(&within("hand-over", waiting).await.unwrap().unwrap()).await;
}

/// The message is said while nobody listens; only the look after the new subscription can find out.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_subscription_loses_no_wake_up() {
    let bed = Bed::new().await;
    let options = bed.options().with_session_timeout(LONG);
    let (a, b) = (connect(options.clone()).await, connect(options).await);
    for _ in 0..20 {
        let guard = a.exclusive("l").unwrap().acquire().await.unwrap();
        let waiting = waiting(&b.exclusive("l").unwrap(), 1).await;
        bed.cli(&["client", "kill", "type", "pubsub"]).await;
        assert_eq!(guard.release().await.unwrap(), Released::Held);
        drop(within("hand-over", waiting).await.unwrap().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_shorter_than_the_session_is_no_loss() {
    let bed = Bed::new().await;
    let locks = bed.locks().await;
    let guard = locks.exclusive("l").unwrap().acquire().await.unwrap();
    bed.cli(&["client", "pause", "1000", "all"]).await;
    held(&guard).await;
    bed.cli(&["debug", "sleep", "1"]).await;
    held(&guard).await;
    assert_eq!(within("release", guard.release()).await.unwrap(), Released::Held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_longer_than_the_session_is_told_during_it() {
    let bed = Bed::new().await;
    let locks = bed.locks().await;
    let guard = locks.exclusive("l").unwrap().acquire().await.unwrap();
    bed.server.pause().unwrap();
    assert_eq!(within("the loss", guard.lost()).await, Loss::Deadline);
    bed.server.resume().unwrap();
    let next = within("another session", locks.exclusive("l").unwrap().acquire()).await.unwrap();
    assert!(next.fencing_token() > guard.fencing_token());
}

#[tokio::test(flavor = "multi_thread")]
async fn flushed_scripts_are_loaded_again() {
    let bed = Bed::new().await;
    let lock = bed.locks().await.exclusive("l").unwrap();
    for _ in 0..3 {
        bed.cli(&["script", "flush"]).await;
        let guard = lock.acquire().await.unwrap();
        bed.cli(&["script", "flush"]).await;
        assert_eq!(guard.release().await.unwrap(), Released::Held);
    }
}

/// Who held is told; tokens still rise. For who waited it is the end of the session, and not that somebody removed the entry.
async fn all_data_is_lost(bed: &Bed, lose: impl AsyncFnOnce(&Bed)) {
    let (locks, other) = (bed.locks().await, bed.locks().await);
    let guard = locks.exclusive("l").unwrap().acquire().await.unwrap();
    let waits = Redis::new(bed.options().with_session_timeout(LONG)).open_session().await.unwrap();
    let lock = LockKey { family: Family::Lock, name: LockName::new("l").unwrap() };
    let entry = Entry { id: EntryId::random(), kind: EntryKind::Exclusive, label: "".into() };
    let queued = waits.enqueue(&lock, &entry).await.unwrap();
    assert!(matches!(queued.standing, Standing::Waits { .. }));
    lose(bed).await;
    let next = within("a new acquisition", other.exclusive("l").unwrap().acquire()).await.unwrap();
    assert!(next.fencing_token() > guard.fencing_token());
    assert_eq!(within("the holder is told", guard.lost()).await, Loss::Expired);
    assert_eq!(guard.release().await.unwrap(), Released::Lost(Loss::Expired));
    let told = within("the connection is made anew", async {
        loop {
            match waits.look(&lock, &entry.id).await {
                Err(error) if error.kind() == ErrorKind::Unreachable => {}
                told => break told,
            }
        }
    });
    assert_eq!(told.await.unwrap_err().kind(), ErrorKind::SessionLost);
    assert_eq!(waits.lease().loss(), Some(Loss::Expired));
    // It was made when everything else was lost already, and nothing of its session is missing.
    eventually("its session begins anew", || async {
        !bed.cli(&["keys", "fairlock:session:*"]).await.is_empty()
    })
    .await;
    held(&next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_empty_memory_is_told() {
    all_data_is_lost(&Bed::new().await, async |bed| bed.server.restart().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flushed_data_is_told() {
    all_data_is_lost(&Bed::new().await, async |bed| drop(bed.cli(&["flushall"]).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_memory_nobody_is_let_in_but_everybody_can_go() {
    let bed = Bed::new().await;
    let locks = bed.locks().await;
    let guard = locks.exclusive("l").unwrap().acquire().await.unwrap();
    let waiting = waiting(&locks.exclusive("l").unwrap(), 1).await;
    bed.cli(&["config", "set", "maxmemory", "1"]).await;
    let refused = within("a refusal", locks.exclusive("m").unwrap().acquire()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.effect()), (ErrorKind::Backend, Effect::None));
    assert!(!refused.is_retryable());
    // Longer than a session lives: it is renewed.
    tokio::time::sleep(SHORT + SHORT / 2).await;
    held(&guard).await;
    assert_eq!(guard.release().await.unwrap(), Released::Held);
    let next = within("hand-over", waiting).await.unwrap().unwrap();
    assert_eq!(next.release().await.unwrap(), Released::Held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_and_a_busy_server_are_waited_for() {
    let bed = Bed::new().await;
    bed.cli(&["config", "set", "busy-reply-threshold", "100"]).await;
    let lock = connect(bed.options().with_session_timeout(LONG)).await.exclusive("l").unwrap();
    let guard = lock.acquire().await.unwrap();
    let waiting = waiting(&lock, 1).await;
    bed.cli(&["replicaof", "127.0.0.1", "1"]).await;
    let verified = guard.verify().await.unwrap_err();
    assert_eq!((verified.kind(), verified.effect()), (ErrorKind::Unreachable, Effect::None));
    let released = tokio::spawn(guard.release());
    bed.cli(&["replicaof", "no", "one"]).await;
    assert_eq!(within("release", released).await.unwrap().unwrap(), Released::Held);
    let next = within("hand-over", waiting).await.unwrap().unwrap();
    let busy = bed.server.cli(&["eval", "while true do end", "0"]);
    let kill = async {
        eventually("the server is busy", || async {
            next.verify().await.is_err_and(|error| error.is_retryable() && error.effect() == Effect::None)
        })
        .await;
        let released = tokio::spawn(next.release());
        bed.cli(&["script", "kill"]).await;
        within("release", released).await.unwrap().unwrap()
    };
    assert_eq!(tokio::join!(busy, kill).1, Released::Held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dies_is_noticed() {
    let bed = Bed::new().await;
    let proxy = conformance::proxy::Proxy::start(bed.server.address()).await.unwrap();
    let far = RedisOptions::new(proxy.address().to_string()).with_session_timeout(SHORT);
    let (dying, b) = (connect(far).await, bed.locks().await);
    let guard = dying.exclusive("l").unwrap().acquire().await.unwrap();
    let behind = dying.exclusive("l").unwrap();
    let also_dying = waiting(&behind, 1).await;
    let waiting = waiting(&b.exclusive("l").unwrap(), 2).await;
    proxy.cut();
    // Its holder first, and then its waiter, who is let in without being there to hear of it.
    drop(within("hand-over", waiting).await.unwrap().unwrap());
    assert_eq!(guard.lost().await, Loss::Deadline);
    proxy.heal();
    assert!(within("the wait goes on", also_dying).await.unwrap().unwrap().is_valid());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    let server = server::Redis::start_with_arguments(&["--requirepass", "secret"]).await.unwrap();
    let refused = async |options: RedisOptions| {
        let error = Redis::new(options).open_session().await.unwrap_err();
        assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
        error.kind()
    };
    let options = RedisOptions::new(server.address());
    assert_eq!(refused(options.clone()).await, ErrorKind::PermissionDenied);
    assert_eq!(refused(options.clone().with_credentials("", "wrong")).await, ErrorKind::PermissionDenied);
    // May do everything, except for listening.
    let rules = ["acl", "setuser", "deaf", "on", ">deaf", "~*", "+@all", "resetchannels"];
    server.cli(&rules).await.unwrap();
    assert_eq!(refused(options.clone().with_credentials("deaf", "deaf")).await, ErrorKind::PermissionDenied);
    // May do what the documentation says.
    let rules = [
        "acl",
        "setuser",
        "least",
        "on",
        ">least",
        "~fairlock:*",
        "&fairlock:*",
        "-@all",
        "+@scripting",
        "+@read",
        "+@write",
        "+@pubsub",
        "+time",
        "+ping",
        "+info",
    ];
    server.cli(&rules).await.unwrap();
    let locks = connect(options.clone().with_credentials("least", "least")).await;
    let lock = locks.exclusive("l").unwrap();
    let guard = lock.acquire().await.unwrap();
    let waiting = waiting(&lock, 1).await;
    assert_eq!(guard.release().await.unwrap(), Released::Held);
    let next = within("hand-over", waiting).await.unwrap().unwrap();
    assert_eq!(locks.names().await.unwrap().len(), 1);
    assert_eq!(next.release().await.unwrap(), Released::Held);
    // May touch other keys only.
    let other = options.with_credentials("least", "least").with_prefix("other:").unwrap();
    assert_eq!(refused(other).await, ErrorKind::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_taken_back_end_the_session() {
    let bed = Bed::new().await;
    bed.cli(&["acl", "setuser", "guest", "on", ">secret", "allkeys", "allchannels", "+@all"]).await;
    let locks = connect(bed.options().with_credentials("guest", "secret")).await;
    let guard = locks.exclusive("l").unwrap().acquire().await.unwrap();
    bed.cli(&["acl", "deluser", "guest"]).await;
    assert_eq!(within("the loss", guard.lost()).await, Loss::Deadline);
    let refused = locks.exclusive("l").unwrap().acquire().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    assert!(!format!("{locks:?} {refused:?}").contains("secret"));
}

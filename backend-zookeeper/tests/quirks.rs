//! What is peculiar to ZooKeeper and its client library, against a real server.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backend_zookeeper::{ZooKeeper, ZooKeeperOptions};
use conformance::proxy::Proxy;
use conformance::server;
use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use lockcore::queue::Standing;
use lockcore::{
    Effect, Entry, EntryId, EntryKind, ErrorKind, Family, FencingToken, LockKey, LockName, QueueBackend,
    QueueSession, Removed, Revision, SessionState,
};
use zookeeper_client::{
    Acl, Acls, AuthId, Client, CreateMode, CreateOptions, Error as ClientError, Permission,
};

const OPEN: Acls<'static> = Acls::anyone_all();
const PERSISTENT: CreateOptions<'static> = CreateMode::Persistent.with_acls(OPEN);
const EPHEMERAL: CreateOptions<'static> = CreateMode::EphemeralSequential.with_acls(OPEN);

type Session = Arc<dyn QueueSession>;

/// A server, and a client that sees it without our driver.
struct Bed {
    server: server::ZooKeeper,
    admin: Client,
}

impl Bed {
    async fn new() -> Self {
        let server = server::ZooKeeper::start().await.unwrap();
        let admin = Client::connect(server.address()).await.unwrap();
        Self { server, admin }
    }

    fn options(&self) -> ZooKeeperOptions {
        ZooKeeperOptions::new([self.server.address()])
    }

    async fn session(&self) -> Session {
        open(self.options()).await
    }

    async fn proxy(&self) -> Proxy {
        Proxy::start(self.server.address()).await.unwrap()
    }

    async fn children(&self, path: &str) -> Vec<String> {
        self.admin.sync("/").await.unwrap();
        match self.admin.list_children(path).await {
            Ok(children) => children,
            Err(ClientError::NoNode) => Vec::new(),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    async fn token(&self, path: &str) -> FencingToken {
        let stat = self.admin.check_stat(path).await.unwrap().unwrap();
        FencingToken::new(stat.czxid.try_into().unwrap())
    }

    async fn watches(&self) -> u32 {
        let answer = self.server.four_letter("mntr").await.unwrap();
        answer.lines().find_map(|line| line.strip_prefix("zk_watch_count")).unwrap().trim().parse().unwrap()
    }
}

async fn open(options: ZooKeeperOptions) -> Session {
    ZooKeeper::new(options).open_session().await.unwrap()
}

async fn through(proxy: &Proxy) -> Session {
    open(ZooKeeperOptions::new([proxy.address().to_string()])).await
}

fn key(family: Family, name: &str) -> LockKey {
    LockKey { family, name: LockName::new(name).unwrap() }
}

fn lock(name: &str) -> LockKey {
    key(Family::Lock, name)
}

fn entry(kind: EntryKind) -> Entry {
    Entry { id: EntryId::random(), kind, label: "quirks é".to_owned() }
}

fn exclusive() -> Entry {
    entry(EntryKind::Exclusive)
}

/// Waits for what must happen in the end.
async fn eventually<F: Future<Output = bool> + Send>(what: &str, condition: impl Fn() -> F + Send + Sync) {
    let all = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(what, all).await;
}

async fn within<T>(what: &str, future: impl Future<Output = T> + Send) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Repeats what is worth repeating, as the core does.
async fn enqueue(session: &Session, lock: &LockKey, entry: &Entry) -> lockcore::Enqueued {
    let all = async {
        loop {
            match session.enqueue(lock, entry).await {
                Ok(enqueued) => return enqueued,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("enqueue", all).await
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_in_the_directory_are_ignored_and_left_alone() {
    let bed = Bed::new().await;
    bed.admin.mkdir("/_zklocking/a", &PERSISTENT).await.unwrap();
    let strangers = ["lock-abc", "x-0000000000", "zzz", "é", "日本語0000000000"];
    for stranger in strangers {
        bed.admin.create(&format!("/_zklocking/a/{stranger}"), b"", &PERSISTENT).await.unwrap();
    }
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    assert_eq!(session.enqueue(&lock, &entry).await.unwrap().standing, Standing::Holds);
    assert_eq!(session.list(&lock).await.unwrap().entries.len(), 1);
    assert_eq!(session.describe(&lock).await.unwrap().len(), 1);
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
    assert_eq!(session.cleanup().await.unwrap(), 0);
    let mut left = bed.children("/_zklocking/a").await;
    left.sort();
    assert_eq!(left, strangers);
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_the_gem_block_ours() {
    let bed = Bed::new().await;
    bed.admin.mkdir("/_zklocking/g", &PERSISTENT).await.unwrap();
    bed.admin.create("/_zklocking/g/ex", b"", &EPHEMERAL).await.unwrap();
    let (session, lock, entry) = (bed.session().await, lock("g"), exclusive());
    let enqueued = session.enqueue(&lock, &entry).await.unwrap();
    let Standing::Waits { wake, seen } = enqueued.standing else { panic!("{enqueued:?}") };
    assert_eq!(wake, [EntryId::from("ex0000000000")]);
    bed.admin.create("/_zklocking/g/sh", b"", &EPHEMERAL).await.unwrap();
    let watch = session.watch(&lock, &wake, seen);
    let release = async {
        eventually("a watch", || async { bed.watches().await == 1 }).await;
        bed.admin.delete("/_zklocking/g/ex0000000000", None).await.unwrap();
    };
    within("the watch fires", async { tokio::join!(watch, release).0.unwrap() }).await;
    assert_eq!(session.look(&lock, &entry.id).await.unwrap(), Standing::Holds);
    // What the gem goes by: the first letters and the digits at the end.
    let mut children = bed.children("/_zklocking/g").await;
    children.sort();
    assert_eq!(children, [format!("ex-{}-0000000001", entry.id), "sh0000000002".to_owned()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn semaphore_entries_of_the_gem_take_permits() {
    let bed = Bed::new().await;
    bed.admin.mkdir("/_zksemaphore/g", &PERSISTENT).await.unwrap();
    for _ in 0..2 {
        bed.admin.create("/_zksemaphore/g/sem", b"", &EPHEMERAL).await.unwrap();
    }
    let (session, semaphore) = (bed.session().await, key(Family::Semaphore, "g"));
    let third = entry(EntryKind::Permits { permits: 1, limit: 3 });
    assert_eq!(session.enqueue(&semaphore, &third).await.unwrap().standing, Standing::Holds);
    let fourth = entry(EntryKind::Permits { permits: 1, limit: 3 });
    let enqueued = session.enqueue(&semaphore, &fourth).await.unwrap();
    let Standing::Waits { wake, .. } = enqueued.standing else { panic!("{enqueued:?}") };
    let third = format!("sem-1-3-{}-0000000002", third.id);
    assert_eq!(
        wake,
        [EntryId::from(&*third), EntryId::from("sem0000000001"), EntryId::from("sem0000000000")]
    );
    bed.admin.delete("/_zksemaphore/g/sem0000000001", None).await.unwrap();
    assert_eq!(session.look(&semaphore, &fourth.id).await.unwrap(), Standing::Holds);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_others_remove_is_made_again() {
    let bed = Bed::new().await;
    let root = bed.options().with_root("/deep/down").unwrap();
    let (session, lock) = (open(root).await, lock("a"));
    let path = "/deep/down/_zklocking/a";
    let remover = async {
        loop {
            match bed.admin.delete(path, None).await {
                Ok(()) | Err(ClientError::NoNode | ClientError::NotEmpty) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let acquire = async {
        for _ in 0..300 {
            let entry = exclusive();
            assert_eq!(enqueue(&session, &lock, &entry).await.standing, Standing::Holds);
            assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
        }
    };
    tokio::select! {
        () = within("300 acquisitions", acquire) => {}
        () = remover => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_goes_when_it_is_empty() {
    let bed = Bed::new().await;
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    session.enqueue(&lock, &entry).await.unwrap();
    session.remove(&lock, &entry.id).await.unwrap();
    eventually("no directory", || async { bed.children("/_zklocking").await.is_empty() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_creation_ids_and_outlive_the_directory() {
    let bed = Bed::new().await;
    let (session, lock) = (bed.session().await, lock("a"));
    let mut last = FencingToken::new(0);
    for _ in 0..3 {
        let entry = exclusive();
        let token = session.enqueue(&lock, &entry).await.unwrap().token;
        assert_eq!(token, bed.token(&format!("/_zklocking/a/ex-{}-0000000000", entry.id)).await);
        assert!(token.get() > last.get());
        last = token;
        let details = session.describe(&lock).await.unwrap().remove(0);
        assert_eq!((details.token, details.label.as_str()), (token, "quirks é"));
        assert!(details.since.is_some());
        session.remove(&lock, &entry.id).await.unwrap();
        match bed.admin.delete("/_zklocking/a", None).await {
            Ok(()) | Err(ClientError::NoNode) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_whose_reply_was_lost_is_adopted() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock, entry) = (through(&proxy).await, lock("a"), exclusive());
    bed.admin.mkdir("/_zklocking/a", &PERSISTENT).await.unwrap();
    proxy.mute();
    let lost = async {
        eventually("an entry", || async { !bed.children("/_zklocking/a").await.is_empty() }).await;
        proxy.heal();
    };
    let (first, ()) =
        within("the first attempt", async { tokio::join!(session.enqueue(&lock, &entry), lost) }).await;
    let error = first.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unreachable, Effect::Unknown), "{error:?}");
    let behind = bed.session().await;
    assert!(matches!(enqueue(&behind, &lock, &exclusive()).await.standing, Standing::Waits { .. }));
    let enqueued = enqueue(&session, &lock, &entry).await;
    assert_eq!(enqueued.standing, Standing::Holds);
    assert_eq!(enqueued.token, bed.token(&format!("/_zklocking/a/ex-{}-0000000000", entry.id)).await);
    assert_eq!(bed.children("/_zklocking/a").await.len(), 2);
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_given_up_unheard_is_removed() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock, entry) = (through(&proxy).await, lock("a"), exclusive());
    bed.admin.mkdir("/_zklocking/a", &PERSISTENT).await.unwrap();
    proxy.mute();
    assert!(session.enqueue(&lock, &entry).now_or_never().is_none());
    eventually("an entry", || async { !bed.children("/_zklocking/a").await.is_empty() }).await;
    proxy.heal();
    let removed = async {
        loop {
            match session.remove(&lock, &entry.id).await {
                Ok(removed) => return removed,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        }
    };
    assert_eq!(within("removal", removed).await, Removed::Now);
    assert_eq!(bed.children("/_zklocking/a").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_session_is_not_adopted() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock, entry) = (through(&proxy).await, lock("a"), exclusive());
    proxy.hold();
    assert!(session.enqueue(&lock, &entry).now_or_never().is_none());
    eventually("a request", || async { proxy.held() > 0 }).await;
    let theirs = bed.session().await;
    assert_eq!(theirs.enqueue(&lock, &entry).await.unwrap().standing, Standing::Holds);
    proxy.abandon();
    let ours = enqueue(&session, &lock, &entry).await;
    proxy.deliver();
    let Standing::Waits { wake, seen } = ours.standing else { panic!("{ours:?}") };
    let own = format!("ex-{}-0000000001", entry.id);
    assert_eq!(ours.token, bed.token(&format!("/_zklocking/a/{own}")).await);
    let watch = session.watch(&lock, &wake, seen);
    let release = async {
        eventually("a watch", || async { bed.watches().await == 1 }).await;
        assert_eq!(theirs.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
    };
    within("the watch fires", async { tokio::join!(watch, release).0.unwrap() }).await;
    assert_eq!(session.look(&lock, &entry.id).await.unwrap(), Standing::Holds);
    assert_eq!(bed.children("/_zklocking/a").await, [own]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_authenticates_keeps_others_out_of_their_locks_and_of_nothing_else() {
    let bed = Bed::new().await;
    let options = bed.options().with_root("/team").unwrap();
    let (lock, other) = (lock("a"), lock("b"));
    let ours = options.clone().with_auth("digest", "me:secret");
    let session = open(ours.clone()).await;
    let enqueued = session.enqueue(&lock, &exclusive()).await.unwrap();
    assert_eq!(enqueued.standing, Standing::Holds);
    let path = "/team/_zklocking/a";
    assert_eq!(bed.admin.list_children(path).await, Err(ClientError::NoAuth));
    let theirs = open(options.with_auth("digest", "you:guess")).await;
    let error = theirs.enqueue(&lock, &exclusive()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains(path) && error.to_string().contains(bed.server.address()), "{error}");
    let entry = exclusive();
    assert_eq!(theirs.enqueue(&other, &entry).await.unwrap().standing, Standing::Holds);
    assert_eq!(theirs.names().await.unwrap().len(), 2);
    assert_eq!(theirs.remove(&other, &entry.id).await.unwrap(), Removed::Now);
    let again = open(ours).await.enqueue(&lock, &exclusive()).await.unwrap();
    assert!(matches!(again.standing, Standing::Waits { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_may_not_be_read_is_waited_for_and_described() {
    let bed = Bed::new().await;
    bed.admin.mkdir("/_zklocking/a", &PERSISTENT).await.unwrap();
    let (lock, secret, entry) = (lock("a"), exclusive(), exclusive());
    let theirs = open(bed.options().with_auth("digest", "me:secret")).await;
    let token = theirs.enqueue(&lock, &secret).await.unwrap().token;
    let session = bed.session().await;
    let enqueued = session.enqueue(&lock, &entry).await.unwrap();
    let Standing::Waits { wake, seen } = enqueued.standing else { panic!("{enqueued:?}") };
    let described = session.describe(&lock).await.unwrap();
    let shown: Vec<_> = described.iter().map(|entry| (entry.token, entry.label.as_str())).collect();
    assert_eq!(shown, [(token, ""), (enqueued.token, "quirks é")]);
    let watch = session.watch(&lock, &wake, seen);
    let release = async {
        eventually("a watch", || async { bed.watches().await == 1 }).await;
        assert_eq!(theirs.remove(&lock, &secret.id).await.unwrap(), Removed::Now);
    };
    within("the watch fires", async { tokio::join!(watch, release).0.unwrap() }).await;
    assert_eq!(session.look(&lock, &entry.id).await.unwrap(), Standing::Holds);
}

/// What an operator left, or somebody who takes the directory for their own.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_session_holds_is_no_entry_and_turns_no_order_round() {
    let bed = Bed::new().await;
    bed.admin.mkdir("/_zklocking/a", &PERSISTENT).await.unwrap();
    let container = CreateMode::Container.with_acls(OPEN);
    let (session, other, lock) = (bed.session().await, bed.session().await, lock("a"));
    let (first, second) = (exclusive(), exclusive());
    let holds = async |session: &Session, entry: &Entry| loop {
        match session.enqueue(&lock, entry).await.unwrap().standing {
            Standing::Waits { wake, seen } if !wake[0].as_str().contains(first.id.as_str()) => {
                session.watch(&lock, &wake, seen).await.unwrap();
            }
            standing => break standing == Standing::Holds,
        }
    };
    for stray in ["ex-2147483647", "ex2147483647", "ex-stray-2147483648", "ex-stray--000000001"] {
        bed.admin.create(&format!("/_zklocking/a/{stray}"), b"", &PERSISTENT).await.unwrap();
    }
    bed.admin.create("/_zklocking/a/ex-stray--000000002", b"", &container).await.unwrap();
    assert!(within("the first", holds(&session, &first)).await);
    assert!(!within("the second", holds(&other, &second)).await, "two holders");
    let described = session.describe(&lock).await.unwrap();
    assert_eq!(
        described.into_iter().map(|entry| entry.id).collect::<Vec<_>>(),
        [&first.id, &second.id].map(Clone::clone)
    );
    session.remove(&lock, &first.id).await.unwrap();
    assert!(within("the second, alone", holds(&other, &second)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_may_not_be_read_does_no_harm() {
    let bed = Bed::new().await;
    let closed = [Acl::new(Permission::CREATE, AuthId::anyone())];
    bed.admin.set_acl("/", &closed, None).await.unwrap();
    assert_eq!(bed.admin.list_children("/").await, Err(ClientError::NoAuth));
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    assert_eq!(session.enqueue(&lock, &entry).await.unwrap().standing, Standing::Holds);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_refused_needs_no_removal() {
    let bed = Bed::new().await;
    let keeper = Client::connector().with_auth("digest", b"k:k").connect(bed.server.address()).await.unwrap();
    bed.admin.create("/_zklocking", b"", &PERSISTENT).await.unwrap();
    let closed = CreateMode::Persistent.with_acls(Acls::creator_all());
    keeper.create("/_zklocking/a", b"", &closed).await.unwrap();
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    let error = session.enqueue(&lock, &entry).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::PermissionDenied, false));
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_out_of_reach_are_an_error_that_names_them() {
    let bed = Bed::new().await;
    let silent = bed.proxy().await;
    silent.hold();
    let closed = bed.proxy().await;
    closed.cut();
    for proxy in [&silent, &closed] {
        let address = proxy.address().to_string();
        let options = ZooKeeperOptions::new([&address]).with_connect_timeout(Duration::from_millis(300));
        let error = within("the connect timeout", ZooKeeper::new(options).open_session()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert!(error.to_string().contains(&address) && error.to_string().contains("300ms"), "{error}");
    }
    // The library tries them in random order.
    for _ in 0..4 {
        let servers =
            [silent.address().to_string(), closed.address().to_string(), bed.server.address().to_owned()];
        let options = ZooKeeperOptions::new(servers).with_connect_timeout(Duration::from_secs(3));
        open(options).await.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_watch_leaves_nothing_on_the_server() {
    let bed = Bed::new().await;
    let (session, lock, first) = (bed.session().await, lock("a"), exclusive());
    session.enqueue(&lock, &first).await.unwrap();
    let ids = [first.id];
    let (one, two) = (session.watch(&lock, &ids, Revision(0)), session.watch(&lock, &ids, Revision(0)));
    tokio::select! {
        _ = one => panic!("the entry has not left"),
        _ = two => panic!("the entry has not left"),
        () = eventually("a watch", || async { bed.watches().await == 1 }) => {}
    }
    eventually("no watch", || async { bed.watches().await == 0 }).await;
    drop(session.watch(&lock, &ids, Revision(0)).now_or_never());
    session.remove(&lock, &ids[0]).await.unwrap();
    within("the watch on nothing", session.watch(&lock, &ids, Revision(0))).await.unwrap();
    eventually("no watch", || async { bed.watches().await == 0 }).await;
}

/// Beyond 128 KiB of watched paths the library loses count when it repeats them.
#[tokio::test(flavor = "multi_thread")]
async fn more_watches_than_the_library_can_repeat_survive_a_reconnect() {
    let bed = Bed::new().await;
    let proxy = bed.proxy().await;
    let (session, lock) = (through(&proxy).await, lock(&"é".repeat(256)));
    let entries: Vec<Entry> = std::iter::repeat_with(exclusive).take(200).collect();
    for entry in &entries {
        enqueue(&session, &lock, entry).await;
    }
    let watches =
        entries.iter().map(|entry| session.watch(&lock, std::slice::from_ref(&entry.id), Revision(0)));
    let mut watches: FuturesUnordered<_> = watches.collect();
    let armed = eventually("watches", || async { bed.watches().await > 50 });
    within("watches", futures::future::select(watches.next(), Box::pin(armed))).await;
    proxy.cut();
    eventually("doubt", || async { matches!(session.lease().state(), SessionState::Doubtful { .. }) }).await;
    proxy.heal();
    eventually("life", || async { session.lease().state() == SessionState::Live }).await;
    eventually("the removal", || async { session.remove(&lock, &entries[0].id).await.is_ok() }).await;
    // Those that were being set when the connection went report that.
    let fires = async { while watches.next().await.expect("a watch fires").is_err() {} };
    within("the watch fires", fires).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_keeps_the_lock() {
    let bed = Bed::new().await;
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    let token = session.enqueue(&lock, &entry).await.unwrap().token;
    bed.server.kill().unwrap();
    eventually("doubt", || async { matches!(session.lease().state(), SessionState::Doubtful { .. }) }).await;
    bed.server.restart().await.unwrap();
    eventually("life", || async { session.lease().state() == SessionState::Live }).await;
    assert_eq!(session.look(&lock, &entry.id).await.unwrap(), Standing::Holds);
    assert_eq!(session.enqueue(&lock, &entry).await.unwrap().token, token);
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Now);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_session_is_over_at_once_even_for_a_pending_watch() {
    let bed = Bed::new().await;
    let (session, lock, entry) = (bed.session().await, lock("a"), exclusive());
    session.enqueue(&lock, &entry).await.unwrap();
    let ids = [entry.id.clone()];
    let watch = session.watch(&lock, &ids, Revision(0));
    let close = async {
        eventually("a watch", || async { bed.watches().await == 1 }).await;
        session.close().await.unwrap();
    };
    let _ = within("the end of both", async { tokio::join!(watch, close) }).await;
    assert_eq!(bed.children("/_zklocking/a").await, Vec::<String>::new());
    assert_eq!(session.list(&lock).await.unwrap_err().kind(), ErrorKind::Closed);
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_told_and_empty_directories_removed() {
    let bed = Bed::new().await;
    let session = bed.session().await;
    assert_eq!(session.names().await.unwrap(), []);
    let mut locks = vec![key(Family::Semaphore, "a")];
    locks.extend(["zookeeper", ".", "..", "a/b", "a", "日本", "%", " ", "\0\r\n"].map(lock));
    for lock in &locks {
        let kind = match lock.family {
            Family::Lock => EntryKind::Exclusive,
            Family::Semaphore => EntryKind::Permits { permits: 1, limit: 1 },
        };
        assert_eq!(session.enqueue(lock, &entry(kind)).await.unwrap().standing, Standing::Holds, "{lock:?}");
    }
    for leftover in ["/_zklocking/dead", "/_zksemaphore/dead", "/_zklocking/not%encoded"] {
        bed.admin.create(leftover, b"", &PERSISTENT).await.unwrap();
    }
    locks.extend([lock("dead"), key(Family::Semaphore, "dead")]);
    let mut names = session.names().await.unwrap();
    names.sort();
    locks.sort();
    assert_eq!(names, locks);
    assert_eq!(session.cleanup().await.unwrap(), 2);
    assert_eq!(session.names().await.unwrap().len(), locks.len() - 2);
}

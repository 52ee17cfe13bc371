//! A server, and what the tests do with it.

pub(crate) use conformance::deadline::{eventually, repeat, within};
use std::sync::Arc;

use backend_zookeeper::{ZooKeeper, ZooKeeperOptions};
use conformance::proxy::Proxy;
use conformance::server;
use lockcore::queue::Standing;
use lockcore::{
    Entry, EntryId, EntryKind, Family, FencingToken, LockKey, LockName, QueueBackend, QueueSession, Revision,
    SessionState,
};
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions, Error as ClientError};

pub(crate) const OPEN: Acls<'static> = Acls::anyone_all();
pub(crate) const PERSISTENT: CreateOptions<'static> = CreateMode::Persistent.with_acls(OPEN);
pub(crate) const EPHEMERAL: CreateOptions<'static> = CreateMode::EphemeralSequential.with_acls(OPEN);

/// Where the entries of the lock `a` are.
pub(crate) const DIRECTORY: &str = "/_zklocking/a";

pub(crate) type Session = Arc<dyn QueueSession>;

/// A server, and a client that sees it without our driver.
pub(crate) struct Bed {
    pub(crate) server: server::ZooKeeper,
    pub(crate) admin: Client,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        let server = server::ZooKeeper::start().await.unwrap();
        let admin = Client::connect(server.address()).await.unwrap();
        Self { server, admin }
    }

    pub(crate) fn options(&self) -> ZooKeeperOptions {
        ZooKeeperOptions::new([self.server.address()])
    }

    pub(crate) async fn session(&self) -> Session {
        open(self.options()).await
    }

    pub(crate) async fn proxy(&self) -> Proxy {
        Proxy::start(self.server.address()).await.unwrap()
    }

    pub(crate) async fn children(&self, path: &str) -> Vec<String> {
        self.admin.sync("/").await.unwrap();
        match self.admin.list_children(path).await {
            Ok(children) => children,
            Err(ClientError::NoNode) => Vec::new(),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    pub(crate) async fn token(&self, path: &str) -> FencingToken {
        let stat = self.admin.check_stat(path).await.unwrap().unwrap();
        FencingToken::new(stat.czxid.try_into().unwrap())
    }

    /// How many watches the server has set.
    pub(crate) async fn watches(&self) -> u32 {
        self.count("zk_watch_count").await
    }

    /// How many requests the server has received.
    pub(crate) async fn requests(&self) -> u32 {
        self.count("zk_packets_received").await
    }

    async fn count(&self, what: &str) -> u32 {
        // A busy machine may take longer than the patience of one question.
        let ask = async {
            loop {
                if let Ok(answer) = self.server.four_letter("mntr").await {
                    return answer;
                }
            }
        };
        let answer = within("the server counts", ask).await;
        let mut lines = answer.lines().filter_map(|line| line.split_once('\t'));
        lines.find(|(name, _)| *name == what).unwrap().1.parse().unwrap()
    }
}

pub(crate) async fn open(options: ZooKeeperOptions) -> Session {
    ZooKeeper::new(options).open_session().await.unwrap()
}

pub(crate) async fn through(proxy: &Proxy) -> Session {
    open(ZooKeeperOptions::new([proxy.address().to_string()])).await
}

pub(crate) fn key(family: Family, name: &str) -> LockKey {
    LockKey { family, name: LockName::new(name).unwrap() }
}

pub(crate) fn lock(name: &str) -> LockKey {
    key(Family::Lock, name)
}

pub(crate) fn entry(kind: EntryKind) -> Entry {
    Entry { id: EntryId::random(), kind, label: "quirks é".into() }
}

pub(crate) fn exclusive() -> Entry {
    entry(EntryKind::Exclusive)
}

pub(crate) async fn enqueue(session: &Session, lock: &LockKey, entry: &Entry) -> lockcore::Enqueued {
    repeat("enqueue", || session.enqueue(lock, entry)).await
}

/// Waits until the session is known to live.
pub(crate) async fn lives(session: &Session) {
    eventually("life", || async { session.lease().state() == SessionState::Live }).await;
}

/// Waits until the session is in doubt.
pub(crate) async fn doubts(session: &Session) {
    eventually("doubt", || async { matches!(session.lease().state(), SessionState::Doubtful { .. }) }).await;
}

/// Puts an entry into the queue that waits for exactly this node.
pub(crate) async fn waits_for(session: &Session, lock: &LockKey, entry: &Entry, node: &str) -> Revision {
    let standing = session.enqueue(lock, entry).await.unwrap().standing;
    let Standing::Waits { wake, seen } = standing else { panic!("{standing:?}") };
    assert_eq!(wake, [EntryId::from(node)]);
    seen
}

/// Waits until `node` is gone, which is removed meanwhile, and says what that tells.
pub(crate) async fn sees_go(
    bed: &Bed,
    session: &Session,
    lock: &LockKey,
    waiter: &EntryId,
    node: &str,
) -> Option<Standing> {
    let ids = [EntryId::from(node)];
    let watch = session.watch(lock, waiter, &ids, Revision(0));
    let leave = async {
        eventually("a watch", || async { bed.watches().await > 0 }).await;
        bed.admin.delete(&format!("{DIRECTORY}/{node}"), None).await.unwrap();
    };
    within("the watch fires", async { tokio::join!(watch, leave).0.unwrap() }).await
}

/// Removes all entries and their directory.
pub(crate) async fn start_anew(bed: &Bed) {
    for node in bed.children(DIRECTORY).await {
        bed.admin.delete(&format!("{DIRECTORY}/{node}"), None).await.unwrap();
    }
    // The server itself removes what is empty.
    match bed.admin.delete(DIRECTORY, None).await {
        Ok(()) | Err(ClientError::NoNode) => {}
        Err(error) => panic!("{error}"),
    }
}

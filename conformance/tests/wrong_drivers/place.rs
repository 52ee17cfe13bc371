//! Where the wrong drivers keep their locks: a memory, with a breakable link and an operator.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use backend_memory::{Memory, MemoryClient};
use conformance::{Client, Fixture, Network, Operator};
use lockcore::queue::QueueLocks;
use lockcore::{EntryId, Error, ErrorKind, LockKey, Result};

use crate::driver::{Driver, LateRequests, UsedLocks};
use crate::mistake::Mistake;

#[derive(Debug)]
pub(crate) struct Place {
    memory: Memory,
    mistake: Mistake,
    used: UsedLocks,
    late: LateRequests,
    last: Arc<AtomicU64>,
}

impl Place {
    pub(crate) fn new(mistake: Mistake) -> Self {
        Self {
            memory: Memory::new(),
            mistake,
            used: UsedLocks::default(),
            late: LateRequests::default(),
            last: Arc::default(),
        }
    }
}

#[derive(Debug)]
struct Link {
    client: MemoryClient,
    late: LateRequests,
}

#[async_trait]
impl Fixture for Place {
    async fn client(&self) -> Result<Client> {
        let client = self.memory.client();
        let driver = Driver {
            client: client.clone(),
            mistake: self.mistake,
            used: self.used.clone(),
            late: self.late.clone(),
            last: self.last.clone(),
        };
        let locks = Arc::new(QueueLocks::connect(driver).await?);
        Ok(Client { locks, network: Some(Box::new(Link { client, late: self.late.clone() })) })
    }

    fn session_timeout(&self) -> Duration {
        MemoryClient::SESSION_TIMEOUT
    }

    fn has_network(&self) -> bool {
        true
    }

    fn operator(&self) -> Option<&dyn Operator> {
        Some(self)
    }

    fn runtime(&self) -> std::io::Result<tokio::runtime::Runtime> {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()
    }
}

#[async_trait]
impl Operator for Place {
    async fn remove_entry(&self, lock: &LockKey, id: &EntryId) -> Result<()> {
        let missing = || Error::new(ErrorKind::Backend, "there is no such entry");
        self.memory.remove_entry(lock, id).then_some(()).ok_or_else(missing)
    }
}

impl Network for Link {
    fn cut(&self) {
        self.client.disconnect();
    }

    fn mute(&self) {
        self.client.mute();
    }

    fn delay(&self) {
        self.client.delay();
    }

    fn hold(&self) {
        self.client.hold();
    }

    fn held(&self) -> usize {
        self.client.kept()
    }

    fn abandon(&self) {
        self.client.abandon();
    }

    /// The honest server listens to a connection no more that has a successor.
    fn deliver(&self) {
        for (session, lock, entry) in self.late.lock().unwrap().drain(..) {
            tokio::spawn(async move { session.enqueue(&lock, &entry).await });
        }
    }

    fn heal(&self) {
        self.client.reconnect();
    }
}

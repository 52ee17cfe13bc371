//! Where the wrong drivers keep their locks: a memory, with a breakable link and an operator.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backend_memory::{Memory, MemoryClient};
use conformance::{Client, Fixture, Network, Operator};
use lockcore::queue::QueueLocks;
use lockcore::{EntryId, Error, ErrorKind, LockKey, Result};

use crate::driver::{Driver, Mistake, UsedLocks};

#[derive(Debug)]
pub(crate) struct Place {
    memory: Memory,
    mistake: Mistake,
    used: UsedLocks,
}

impl Place {
    pub(crate) fn new(mistake: Mistake) -> Self {
        Self { memory: Memory::new(), mistake, used: UsedLocks::default() }
    }
}

#[derive(Debug)]
struct Link(MemoryClient);

#[async_trait]
impl Fixture for Place {
    async fn client(&self) -> Result<Client> {
        let client = self.memory.client();
        let driver = Driver { client: client.clone(), mistake: self.mistake, used: self.used.clone() };
        let locks = Arc::new(QueueLocks::connect(driver).await?);
        Ok(Client { locks, network: Some(Box::new(Link(client))) })
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
        self.0.disconnect();
    }

    fn mute(&self) {
        self.0.mute();
    }

    fn heal(&self) {
        self.0.reconnect();
    }
}

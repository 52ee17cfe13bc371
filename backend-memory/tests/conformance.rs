//! The suite, on memory, in tokio's virtual time.

use std::process::ExitCode;
use std::time::Duration;

use async_trait::async_trait;
use backend_memory::{Memory, MemoryClient};
use conformance::{Client, Fixture, Network, Operator};
use lockcore::{EntryId, Error, ErrorKind, LockKey, Registry, Result};

#[derive(Debug, Default)]
struct InMemory(Memory);

#[derive(Debug)]
struct Link(MemoryClient);

#[async_trait]
impl Fixture for InMemory {
    async fn client(&self) -> Result<Client> {
        let client = self.0.client();
        let locks = std::sync::Arc::new(client.connect().await?);
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
impl Operator for InMemory {
    async fn remove_entry(&self, lock: &LockKey, id: &EntryId) -> Result<()> {
        let missing = || Error::new(ErrorKind::Backend, "there is no such entry");
        self.0.remove_entry(lock, id).then_some(()).ok_or_else(missing)
    }
}

impl Network for Link {
    fn cut(&self) {
        self.0.disconnect();
    }

    fn mute(&self) {
        self.0.mute();
    }

    fn delay(&self) {
        self.0.delay();
    }

    fn hold(&self) {
        self.0.hold();
    }

    fn held(&self) -> usize {
        self.0.kept()
    }

    fn abandon(&self) {
        self.0.abandon();
    }

    /// The server listens to a connection no more that has a successor.
    fn deliver(&self) {}

    fn heal(&self) {
        self.0.reconnect();
    }
}

fn main() -> ExitCode {
    conformance::main(Registry::new(), |_| Ok::<_, Error>(InMemory::default()))
}

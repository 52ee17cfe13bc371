//! What the suite needs of a backend.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lockcore::{EntryId, Error, ErrorKind, LockKey, LockService, Result};

use crate::process::Holder;

/// The service under test: one place where locks live, with as many clients as a trial wants.
#[async_trait]
pub trait Fixture: Debug + Send + Sync + 'static {
    /// Another client, with a connection and a session of its own, as another process would be.
    async fn client(&self) -> Result<Client>;

    /// How long the server keeps a session that it does not hear of.
    fn session_timeout(&self) -> Duration;

    /// Whether the server ends a session that it does not hear of.
    fn sessions_expire(&self) -> bool {
        true
    }

    /// Whether [`Client::network`] can be broken.
    fn has_network(&self) -> bool {
        false
    }

    /// Who can remove an entry behind its owner's back.
    fn operator(&self) -> Option<&dyn Operator> {
        None
    }

    /// Who can start other processes that hold locks.
    fn holder(&self) -> Option<&Holder> {
        None
    }

    /// Who can start servers that a trial may kill.
    fn servers(&self) -> Option<&dyn Servers> {
        None
    }

    /// Another client, of such a server.
    async fn client_at(&self, address: &str) -> Result<Arc<dyn LockService>> {
        Err(Error::new(ErrorKind::InvalidInput, format!("the fixture has no client for {address}")))
    }

    /// The runtime that a trial runs on: by default tokio's, with two threads.
    ///
    /// # Errors
    ///
    /// If the operating system refuses it.
    fn runtime(&self) -> io::Result<tokio::runtime::Runtime> {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
    }
}

/// One client of the service under test.
#[derive(Debug)]
pub struct Client {
    /// Its lock service.
    pub locks: Arc<dyn LockService>,
    /// Its connection to the server, if that can be broken.
    pub network: Option<Box<dyn Network>>,
}

/// The connection between one client and its server.
pub trait Network: Debug + Send + Sync {
    /// Nothing passes; the client notices that the connection is gone.
    fn cut(&self);
    /// Requests pass, replies and wake-ups do not: what is sent is executed, and its outcome unknown.
    fn mute(&self);
    /// Requests pass, replies and wake-ups come late: when healed.
    fn delay(&self);
    /// Requests come late: when healed, or [delivered](Self::deliver). Replies and wake-ups pass.
    fn hold(&self);
    /// How much has been held or delayed so far, in whatever unit.
    fn held(&self) -> usize;
    /// The client notices that the connection on which requests are held is gone; a new one passes. The server has not noticed.
    fn abandon(&self);
    /// The requests that were held on a connection that was [abandoned](Self::abandon) come to the server, if that still
    /// listens.
    fn deliver(&self);
    /// Everything passes again, what was held or delayed first. Replies that were muted are lost.
    fn heal(&self);
}

/// Who can start servers that a trial may kill.
#[async_trait(?Send)]
pub trait Servers: Debug + Send + Sync {
    /// Starts one.
    async fn start(&self) -> io::Result<Box<dyn Mortal>>;
}

/// A server that can be killed and started again.
#[async_trait(?Send)]
pub trait Mortal: Debug + Send + Sync {
    /// Where clients connect to: `host:port`.
    fn address(&self) -> &str;
    /// Kills it with SIGKILL.
    ///
    /// # Errors
    ///
    /// What the system says, if it does not run.
    fn kill(&self) -> io::Result<()>;
    /// Starts it again at the same address, with what it has on disk, and waits until it serves.
    async fn restart(&self) -> io::Result<()>;
}

/// Somebody with access to the server's data.
#[async_trait]
pub trait Operator: Debug + Send + Sync {
    /// Removes an entry behind its owner's back.
    async fn remove_entry(&self, lock: &LockKey, id: &EntryId) -> Result<()>;
}

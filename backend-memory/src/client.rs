//! One client of a memory, and the hooks that break its connection.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use lockcore::queue::QueueLocks;
use lockcore::{
    Capabilities, Clocks, DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, Error, ErrorKind, Failover, Loss,
    QueueBackend, QueueSession, Result,
};

use crate::link::{Fault, Link};
use crate::server::Memory;
use crate::session::{Session, Shared};

/// A client of a [`Memory`], as a process would be: it has its own connection and its own session. Clones are
/// the same client.
///
/// The hooks work on all of its sessions. Call them on the runtime on which the client is used.
#[derive(Debug, Clone)]
pub struct MemoryClient {
    memory: Memory,
    link: Arc<Link>,
    session_timeout: Duration,
    sessions: Arc<Mutex<Vec<Weak<Shared>>>>,
}

impl Memory {
    /// A client of this place, as another process would be.
    pub fn client(&self) -> MemoryClient {
        MemoryClient {
            memory: self.clone(),
            link: Arc::new(Link::new()),
            session_timeout: MemoryClient::SESSION_TIMEOUT,
            sessions: Arc::default(),
        }
    }
}

impl MemoryClient {
    /// How long a session lives without a connection, unless it is set.
    pub const SESSION_TIMEOUT: Duration = DEFAULT_SESSION_TIMEOUT;

    /// The same client, with sessions that live this long without a connection.
    #[must_use]
    pub fn with_session_timeout(self, session_timeout: Duration) -> Self {
        Self { session_timeout, ..self }
    }

    /// The lock service of this client.
    ///
    /// # Errors
    ///
    /// [`Unreachable`](ErrorKind::Unreachable) while it is disconnected.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop.
    pub async fn connect(&self) -> Result<QueueLocks> {
        QueueLocks::connect(self.clone()).await
    }

    /// Ends the session: its holders and waiters are told, then the server drops their entries.
    pub fn expire(&self) {
        for session in self.live_sessions() {
            session.lease.end(Loss::Expired);
            session.memory.end_session(session.number);
        }
    }

    /// Cuts the connection: requests wait, wake-ups do not arrive, and after the session timeout the server ends
    /// the session.
    pub fn disconnect(&self) {
        self.link.disconnect();
        self.expire_in_time();
    }

    /// Keeps requests back: after the session timeout the server ends the session. Replies and wake-ups pass.
    pub fn hold(&self) {
        if self.link.hold() {
            self.expire_in_time();
        }
    }

    /// Fails the requests that are [held](Self::hold), and lets new ones through. The server executes no request of a
    /// connection that has a successor.
    pub fn abandon(&self) {
        self.link.abandon();
        self.renew();
    }

    /// Lets requests through, but keeps replies and wake-ups until [`reconnect`](Self::reconnect) or [`hold`](Self::hold). Requests do
    /// not renew the session: after the session timeout the server ends it.
    pub fn delay(&self) {
        self.link.delay();
        self.expire_in_time();
    }

    /// How many requests have been held, and replies delayed, so far.
    pub fn kept(&self) -> usize {
        self.link.kept()
    }

    /// Lets requests through, but no replies and no wake-ups. The server keeps the session alive, the client must
    /// not rely on that.
    pub fn mute(&self) {
        self.link.mute();
        self.live_sessions().iter().for_each(|session| doubt(session, self.session_timeout));
    }

    /// Ends [`disconnect`](Self::disconnect), [`hold`](Self::hold), [`delay`](Self::delay) and [`mute`](Self::mute), whose replies
    /// are lost.
    pub fn reconnect(&self) {
        self.renew();
        self.link.heal();
    }

    fn renew(&self) {
        for session in self.live_sessions() {
            if session.lease.loss().is_some() || session.closed.load(Ordering::Acquire) {
                session.memory.end_session(session.number);
            } else {
                session.lease.renewed(session.lease.now());
                session.lease.grant(None);
            }
        }
    }

    fn expire_in_time(&self) {
        for session in self.live_sessions() {
            doubt(&session, self.session_timeout);
            tokio::spawn(expire_unless_connected(session, self.link.clone(), self.session_timeout));
        }
    }

    /// Lets something go wrong with the next request; several faults are for as many requests.
    pub fn inject(&self, fault: Fault) {
        self.link.inject(fault);
    }

    /// Holds back wake-ups, or lets them through again.
    pub fn hold_wake_ups(&self, hold: bool) {
        self.link.hold_wake_ups(hold);
    }

    fn live_sessions(&self) -> Vec<Arc<Shared>> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| session.strong_count() > 0);
        sessions.iter().filter_map(Weak::upgrade).collect()
    }
}

fn doubt(session: &Shared, session_timeout: Duration) {
    session.lease.renewed(session.lease.now());
    session.lease.grant(Some(session_timeout));
    session.lease.doubt();
}

async fn expire_unless_connected(session: Arc<Shared>, link: Arc<Link>, session_timeout: Duration) {
    if tokio::time::timeout(session_timeout, link.connected()).await.is_err() {
        session.lease.end(Loss::Expired);
        session.memory.end_session(session.number);
    }
}

#[async_trait]
impl QueueBackend for MemoryClient {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::strict();
        capabilities.failover = Failover::NoServer;
        capabilities.clocks = Clocks::None;
        capabilities.interprocess = false;
        capabilities
    }

    fn place(&self) -> String {
        "the memory".to_owned()
    }

    fn identity(&self) -> String {
        format!("memory {}", self.memory.number())
    }

    fn connect_timeout(&self) -> Duration {
        DEFAULT_CONNECT_TIMEOUT
    }

    async fn open_session(&self) -> Result<Arc<dyn QueueSession>> {
        if tokio::time::timeout(DEFAULT_CONNECT_TIMEOUT, self.link.connected()).await.is_err() {
            return Err(Error::new(
                ErrorKind::Unreachable,
                "this client of the memory is disconnected: see MemoryClient::disconnect",
            ));
        }
        let (session, shared) = Session::open(self.memory.clone(), self.link.clone());
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&shared));
        Ok(Arc::new(session))
    }
}

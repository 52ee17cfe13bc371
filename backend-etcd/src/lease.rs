//! The lease of a session at the server: its beginning, its end, and what proves that it is there.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, LeaseGrantOptions, PutOptions, Txn, TxnOp};
use lockcore::session::{Clock, Lease, Loss};
use lockcore::{Error, Result};
use rand::RngExt;

use crate::connection::{Connection, Link};
use crate::layout::{ordered, session_key, sessions_prefix};

/// The lease of a session.
#[derive(Debug, Clone)]
pub(crate) struct SessionLease {
    pub(crate) connection: Arc<Connection>,
    /// How long it is sure to last.
    pub(crate) local: Lease,
    /// The number that the server knows it by.
    pub(crate) id: i64,
    /// The number of the session, which its keys contain.
    pub(crate) session: u64,
}

impl SessionLease {
    /// Begins a session: a lease, and a key on it.
    pub(crate) async fn begin(connection: Arc<Connection>) -> Result<Self> {
        // Before anything is sent: the server may count from any moment after this.
        let sent = Clock::Boot.now();
        connection.link().await?;
        let id = rand::rng().random_range(1..=i64::MAX);
        let begun = async {
            let (ttl, options) = (connection.options().ttl(), LeaseGrantOptions::new().with_id(id));
            let grant = |link: &Link| {
                let mut leases = link.client().lease_client();
                async move { leases.grant(ttl, Some(options)).await }
            };
            let granted = u64::try_from(connection.call(grant).await?.ttl()).unwrap_or_default();
            let session = take_number(&connection, id).await?;
            let local = Lease::new(Clock::Boot, Some(Duration::from_secs(granted)), sent);
            Ok(Self { connection: connection.clone(), local, id, session })
        };
        let begun = begun.await;
        if begun.is_err() {
            // What there is of it would stay until it expires.
            tokio::spawn(async move { revoke(&connection, id).await });
        }
        begun
    }

    /// Asks a majority whether the session is still there. A leader that has been deposed without noticing may
    /// answer renewals (<https://github.com/etcd-io/etcd/issues/15247>), but not this.
    pub(crate) async fn confirm(&self, link: &Link) -> Result<()> {
        let key = session_key(self.connection.options().root(), self.session);
        let mut kv = link.kv();
        let question = kv.get(key, Some(GetOptions::new().with_keys_only()));
        let got = link.answer(self.connection.options().patience(), question).await?;
        // Another session has the number only if somebody removed our key.
        if got.kvs().iter().any(|key| key.lease() == self.id) { Ok(()) } else { Err(self.expired()) }
    }

    /// Gives the lease back, and with it all keys.
    pub(crate) async fn stop(&self) -> Result<()> {
        revoke(&self.connection, self.id).await
    }

    /// The session is over, whatever renewals say.
    pub(crate) fn expired(&self) -> Error {
        self.local.end(Loss::Expired);
        Error::lost(Loss::Expired)
    }
}

async fn revoke(connection: &Connection, id: i64) -> Result<()> {
    let revoke = |link: &Link| {
        let mut leases = link.client().lease_client();
        async move { leases.revoke(id).await }
    };
    connection.call(revoke).await.map(drop)
}

/// Takes a number that no other session has as long as this lease lives. Numbers are used again, so that the names
/// of keys are: whoever is alone has the number 0, and no number is much larger than there are sessions.
async fn take_number(connection: &Connection, lease: i64) -> Result<u64> {
    let root = connection.options().root();
    let mut spread = 2;
    loop {
        let count = GetOptions::new().with_prefix().with_count_only();
        let counted = connection.get(sessions_prefix(root), count).await?;
        let sessions = u64::try_from(counted.count()).unwrap_or_default();
        let session = rand::rng().random_range(0..=sessions.saturating_mul(spread));
        let key = session_key(root, session);
        let put = TxnOp::put(&*key, ordered(0), Some(PutOptions::new().with_lease(lease)));
        let take = Txn::new().when([Compare::create_revision(key, CompareOp::Equal, 0)]).and_then([put]);
        if connection.txn(take).await?.succeeded() {
            return Ok(session);
        }
        spread = spread.saturating_mul(2);
    }
}

//! Keeps the lease of a session alive, and knows for how long it is sure to live.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, GetOptions, LeaseGrantOptions, LeaseKeepAliveStream, LeaseKeeper, PutOptions, Txn,
    TxnOp,
};
use lockcore::session::{Clock, Lease, Loss};
use lockcore::{Error, ErrorKind, Result};
use rand::RngExt;
use tokio::time::sleep;

use crate::connection::{Connection, Link, limited};
use crate::layout::{ordered, session_key, sessions_prefix};

/// The lease of a session at the server, and how long that is sure to last.
#[derive(Debug, Clone)]
pub(crate) struct KeepAlive {
    pub(crate) connection: Arc<Connection>,
    pub(crate) lease: Lease,
    /// The lease at the server.
    pub(crate) id: i64,
    /// The number of the session, which its keys contain.
    pub(crate) session: u64,
}

impl KeepAlive {
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
            let lease = Lease::new(Clock::Boot, Some(Duration::from_secs(granted)), sent);
            Ok(Self { connection: connection.clone(), lease, id, session })
        };
        let begun = begun.await;
        if begun.is_err() {
            // What there is of it would stay until it expires.
            tokio::spawn(async move { revoke(&connection, id).await });
        }
        begun
    }

    /// Renews the lease, as long as somebody polls.
    pub(crate) async fn run(self) {
        let period = self.lease.renewal_interval().unwrap_or_default();
        loop {
            let Err(error) = self.renew(period).await;
            tracing::debug!(%error, "session not renewed");
            self.lease.doubt();
            sleep(period / 4).await;
        }
    }

    /// Renews on one stream until that fails.
    async fn renew(&self, period: Duration) -> Result<std::convert::Infallible> {
        let link = self.connection.link().await?;
        let renewed = async {
            let (mut keeper, mut answers) = self.open(&link).await?;
            loop {
                sleep(period).await;
                let sent = self.lease.now();
                self.ask(&mut keeper, &mut answers).await?;
                self.confirm(&link).await?;
                self.lease.renewed(sent);
            }
        };
        let failed = renewed.await;
        self.connection.replace(&link).await;
        failed
    }

    /// Opening the stream renews once, which is all it takes where streams do not last.
    async fn open(&self, link: &Link) -> Result<(LeaseKeeper, LeaseKeepAliveStream)> {
        let sent = self.lease.now();
        let mut client = link.client().lease_client();
        let opened = link.answer(self.connection.options().patience(), async {
            match client.keep_alive(self.id).await {
                // The library's name for a time to live of 0.
                Err(etcd_client::Error::LeaseKeepAliveError(_)) => Ok(None),
                opened => opened.map(Some),
            }
        });
        let stream = opened.await?.ok_or_else(|| self.expired())?;
        self.confirm(link).await?;
        self.lease.renewed(sent);
        Ok(stream)
    }

    async fn ask(&self, keeper: &mut LeaseKeeper, answers: &mut LeaseKeepAliveStream) -> Result<()> {
        let answer = limited(self.connection.options().patience(), async {
            keeper.keep_alive().await?;
            answers.message().await
        });
        match answer.await? {
            Some(answer) if answer.ttl() > 0 => Ok(()),
            Some(_) => Err(self.expired()),
            None => Err(Error::new(ErrorKind::Unreachable, "etcd ended the stream of renewals")),
        }
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
    fn expired(&self) -> Error {
        self.lease.end(Loss::Expired);
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

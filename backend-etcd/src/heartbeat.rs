//! Keeps the lease of a session alive, and knows for how long it is sure to live.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{GetOptions, LeaseKeepAliveStream, LeaseKeeper};
use lockcore::session::{Lease, Loss};
use lockcore::{Error, ErrorKind, Result};
use tokio::time::sleep;

use crate::connection::{Connection, Link, limited};
use crate::layout::session_key;

/// What the life of a session hangs on.
#[derive(Debug, Clone)]
pub(crate) struct Heart {
    pub(crate) connection: Arc<Connection>,
    pub(crate) lease: Lease,
    pub(crate) id: i64,
}

impl Heart {
    /// Renews the lease, as long as somebody polls.
    pub(crate) async fn beat(self) {
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
        let opened = limited(self.connection.options().patience(), async {
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
        let key = session_key(self.connection.options().root(), self.id);
        let mut client = link.client().kv_client();
        let question = client.get(key, Some(GetOptions::new().with_count_only()));
        match limited(self.connection.options().patience(), question).await?.count() {
            0 => Err(self.expired()),
            _ => Ok(()),
        }
    }

    /// Gives the lease back, and with it all keys.
    pub(crate) async fn stop(&self) -> Result<()> {
        let link = self.connection.link().await?;
        let mut client = link.client().lease_client();
        limited(self.connection.options().patience(), client.revoke(self.id)).await.map(drop)
    }

    /// The session is over, whatever renewals say.
    fn expired(&self) -> Error {
        self.lease.end(Loss::Expired);
        Error::lost(Loss::Expired)
    }
}

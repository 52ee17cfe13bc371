//! The requests that keep a session alive.

use etcd_client::{LeaseKeepAliveStream, LeaseKeeper};
use lockcore::session::KeepAlive;
use lockcore::{Error, ErrorKind, Result};

use crate::connection::{Link, limited};
use crate::lease::SessionLease;

/// The renewals of a session, all on one stream until that fails.
pub(crate) struct Renewals {
    lease: SessionLease,
    link: Option<Link>,
    stream: Option<(LeaseKeeper, LeaseKeepAliveStream)>,
}

impl Renewals {
    pub(crate) fn new(lease: SessionLease) -> Self {
        Self { lease, link: None, stream: None }
    }

    /// Opens the stream, which renews once: that is all it takes where streams do not last.
    async fn open(&mut self, link: &Link) -> Result<()> {
        let mut client = link.client().lease_client();
        let opened = link.answer(self.lease.connection.options().patience(), async {
            match client.keep_alive(self.lease.id).await {
                // The library's name for a time to live of 0.
                Err(etcd_client::Error::LeaseKeepAliveError(_)) => Ok(None),
                opened => opened.map(Some),
            }
        });
        self.stream = Some(opened.await?.ok_or_else(|| self.lease.expired())?);
        Ok(())
    }

    async fn ask(&mut self, link: &Link) -> Result<()> {
        let Some((keeper, answers)) = &mut self.stream else { return self.open(link).await };
        let answer = limited(self.lease.connection.options().patience(), async {
            keeper.keep_alive().await?;
            answers.message().await
        });
        match answer.await? {
            Some(answer) if answer.ttl() > 0 => Ok(()),
            Some(_) => Err(self.lease.expired()),
            None => Err(Error::new(ErrorKind::Unreachable, "etcd ended the stream of renewals")),
        }
    }
}

impl KeepAlive for Renewals {
    /// A stream that cannot be opened is noticed while there is time.
    const FIRST_AT_ONCE: bool = true;

    /// The next renewal is sent over another connection than the last.
    async fn connect(&mut self) -> Result<()> {
        self.stream = None;
        if let Some(failed) = self.link.take() {
            self.lease.connection.replace(&failed).await;
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<()> {
        let link = match &self.link {
            Some(link) => link.clone(),
            None => self.link.insert(self.lease.connection.link().await?).clone(),
        };
        self.ask(&link).await?;
        self.lease.confirm(&link).await
    }
}

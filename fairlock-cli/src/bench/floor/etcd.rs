//! The floor of etcd: a transaction that puts a key on a lease, then a deletion.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use etcd_client::{ConnectOptions, PutOptions, Txn, TxnOp};
use fairlock::{EntryId, LockUrl};
use lockcore::Credentials;

use super::{Client, Shape, failed};
use crate::exit::Failure;

struct EtcdClient {
    client: etcd_client::Client,
    lease: i64,
    granted: Instant,
    key: String,
}

/// How long a lease lasts, in seconds.
const LEASE: i64 = 60;
/// When another takes its place: far sooner, and seldom enough not to be seen in what is measured.
const RENEWAL: Duration = Duration::from_secs(20);

pub(super) async fn clients(url: &LockUrl, shape: Shape) -> Result<Vec<Box<dyn Client>>, Failure> {
    let options = match Credentials::of(url)? {
        None => None,
        Some(login) => {
            Some(ConnectOptions::new().with_user(login.user(), login.password()?.unwrap_or_default()))
        }
    };
    let root = if matches!(url.path(), "" | "/") { "/fairlock" } else { url.path().trim_end_matches('/') };
    let (mut clients, id): (Vec<Box<dyn Client>>, _) = (Vec::new(), EntryId::random());
    for _ in 0..shape.connections {
        // Like the driver, which uses one server at a time.
        let server = [url.endpoints(2379)?.remove(0)];
        let mut client = etcd_client::Client::connect(server, options.clone()).await.map_err(failed)?;
        let lease = grant(&mut client).await?;
        for _ in 0..shape.tasks_each {
            let key = format!("{root}/bench-{id}/{}", clients.len());
            let granted = Instant::now();
            clients.push(Box::new(EtcdClient { client: client.clone(), lease, granted, key }));
        }
    }
    Ok(clients)
}

async fn grant(client: &mut etcd_client::Client) -> Result<i64, Failure> {
    Ok(client.lease_grant(LEASE, None).await.map_err(failed)?.id())
}

#[async_trait]
impl Client for EtcdClient {
    async fn enter(&mut self) -> Result<(), Failure> {
        if self.granted.elapsed() > RENEWAL {
            // It may have expired while others were measured.
            self.lease = grant(&mut self.client).await?;
            self.granted = Instant::now();
        }
        let put = TxnOp::put(&*self.key, "", Some(PutOptions::new().with_lease(self.lease)));
        self.client.txn(Txn::new().and_then([put])).await.map_err(failed)?;
        Ok(())
    }

    async fn leave(&mut self) -> Result<(), Failure> {
        self.client.delete(&*self.key, None).await.map_err(failed)?;
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Failure> {
        // Whose lease another client has ended has nothing left behind.
        let _ = self.client.lease_revoke(self.lease).await;
        Ok(())
    }
}

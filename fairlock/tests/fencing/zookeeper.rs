//! The recipe for ZooKeeper: one `multi`, repeated if another came between.

use async_trait::async_trait;
use conformance::server::ZooKeeper;
use fairlock::FencingToken;
use zookeeper_client::{Acls, Client, CreateMode, Error, MultiWriteError};

use crate::holders::{Store, check, write_much};

struct Nodes(Client);

/// Writes unless a later holder has been here; whether it did.
async fn write(client: &Client, token: FencingToken, value: u64) -> Result<bool, MultiWriteError> {
    loop {
        let (seen, stat) = client.get_data("/orders/token").await?;
        let largest = std::str::from_utf8(&seen).ok().and_then(|seen| seen.parse().ok());
        if largest.is_some_and(|largest: u64| token.get() < largest) {
            return Ok(false);
        }
        let mut writer = client.new_multi_writer();
        writer.add_set_data("/orders/token", token.to_string().as_bytes(), Some(stat.version))?;
        writer.add_set_data("/orders/42", value.to_string().as_bytes(), None)?;
        match writer.commit().await {
            Err(MultiWriteError::OperationFailed { source: Error::BadVersion, .. }) => {}
            written => return written.map(|_| true),
        }
    }
}

#[async_trait]
impl Store for Nodes {
    async fn write(&self, token: FencingToken, value: u64) -> bool {
        write(&self.0, token, value).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zookeeper_takes_no_stale_write() {
    let server = ZooKeeper::start().await.unwrap();
    let client = Client::connect(server.address()).await.unwrap();
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    for path in ["/orders", "/orders/token", "/orders/42"] {
        client.create(path, b"", &options).await.unwrap();
    }
    check(&write_much(Nodes(client)).await);
}

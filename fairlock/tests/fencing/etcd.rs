//! The recipe for etcd: one transaction, repeated if another came between.

use async_trait::async_trait;
use conformance::server::Etcd;
use etcd_client::{Client, Compare, CompareOp, Error, Txn, TxnOp};
use fairlock::FencingToken;

use crate::holders::{Store, check, write_much};

struct Keys(Client);

/// Writes unless a later holder has been here; whether it did.
async fn write(client: &mut Client, token: FencingToken, value: u64) -> Result<bool, Error> {
    loop {
        let seen = client.get("orders/token", None).await?;
        // 0 if there is none.
        let revision = seen.kvs().first().map_or(0, |seen| seen.mod_revision());
        let largest = seen.kvs().first().and_then(|seen| seen.value_str().ok()?.parse().ok());
        if largest.is_some_and(|largest: u64| token.get() < largest) {
            return Ok(false);
        }
        let unchanged = Compare::mod_revision("orders/token", CompareOp::Equal, revision);
        let writes = [
            TxnOp::put("orders/token", token.to_string(), None),
            TxnOp::put("orders/42", value.to_string(), None),
        ];
        if client.txn(Txn::new().when([unchanged]).and_then(writes)).await?.succeeded() {
            return Ok(true);
        }
    }
}

#[async_trait]
impl Store for Keys {
    async fn write(&self, token: FencingToken, value: u64) -> bool {
        write(&mut self.0.clone(), token, value).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_takes_no_stale_write() {
    // That the disk has everything matters when the machine stops, not here.
    let server = Etcd::start_with_arguments(&["--unsafe-no-fsync".to_owned()]).await.unwrap();
    let client = Client::connect([format!("http://{}", server.address())], None).await.unwrap();
    check(&write_much(Keys(client)).await);
}

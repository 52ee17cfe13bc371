//! Records: a key of each lock, on no lease.

use std::time::SystemTime;

use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp};
use lockcore::{FencingToken, LockKey, Record, Recorded, Result};

use crate::layout::record_key;
use crate::requests::Requests;

impl Requests {
    pub(crate) async fn read_record(&self, lock: &LockKey) -> Result<Recorded> {
        Ok(Recorded { record: self.found_record(lock).await?.0, now: SystemTime::now() })
    }

    /// The record, and the revision at which it was set; 0 if there is none.
    async fn found_record(&self, lock: &LockKey) -> Result<(Option<Record>, i64)> {
        let key = record_key(&self.root, lock);
        let got = self.unless_lost(self.lease.connection.get(key, GetOptions::new())).await?;
        let found = got.kvs().first();
        Ok((
            found.and_then(|found| Record::decode(found.value())),
            found.map_or(0, |found| found.mod_revision()),
        ))
    }

    pub(crate) async fn write_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        let key = record_key(&self.root, lock);
        loop {
            let (record, revision) = self.found_record(lock).await?;
            if record.is_some_and(|record| record.token > token) {
                return Ok(false);
            }
            let unchanged = Compare::mod_revision(&*key, CompareOp::Equal, revision);
            let put = TxnOp::put(&*key, Record::encode(token, text), None);
            if self.txn(Txn::new().when([unchanged]).and_then([put])).await?.succeeded() {
                return Ok(true);
            }
        }
    }
}

//! Records: a key beside the queue of a lock.

use std::time::{Duration, UNIX_EPOCH};

use lockcore::{FencingToken, LockKey, Record, Recorded, Result};

use crate::connection::Purpose;
use crate::queue::Shared;
use crate::scripts::SCRIPTS;

impl Shared {
    pub(crate) async fn record(&self, lock: &LockKey) -> Result<Recorded> {
        let call = SCRIPTS.record.on(&[self.layout.record_key(lock)]);
        let purpose = Purpose { operation: "record", lock: Some(lock) };
        let (record, (seconds, micros)): (Option<Vec<u8>>, (u64, u32)) =
            self.connection.run(purpose, &call).await?;
        let now = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros.into());
        Ok(Recorded { record: record.as_deref().and_then(Record::decode), now })
    }

    pub(crate) async fn set_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        let mut call = SCRIPTS.set_record.on(&[self.layout.record_key(lock)]);
        call.arg(token.get()).arg(Record::encode(token, text));
        self.connection.run(Purpose { operation: "setting of the record", lock: Some(lock) }, &call).await
    }
}

//! Records: a row for each lock, which goes with nobody.

use std::time::SystemTime;

use lockcore::{FencingToken, LockKey, Record, Recorded, Result};

use crate::layout::lock_bytes;
use crate::requests::Shared;

impl Shared {
    /// The record, and what time it is at the server.
    pub(crate) async fn record(&self, lock: &LockKey) -> Result<Recorded> {
        let (schema, bytes) = (self.options.schema(), lock_bytes(lock));
        let text = format!(
            "SELECT clock_timestamp(), token, text FROM (VALUES (0)) AS one LEFT JOIN {schema}.record ON lock = $1"
        );
        let row = self.unless_lost(
            self.requests.request(async |ready| ready.link.client().query_one(&text, &[&bytes]).await),
        );
        let row = row.await?;
        let recorded = || {
            let now = row.try_get::<_, SystemTime>(0)?;
            let token = row.try_get::<_, Option<i64>>(1)?;
            let text = row.try_get::<_, Option<&[u8]>>(2)?;
            let record = token.zip(text).map(|(token, text)| Record {
                token: FencingToken::new(token.unsigned_abs()),
                text: String::from_utf8_lossy(text).into_owned(),
            });
            Ok::<_, tokio_postgres::Error>(Recorded { record, now })
        };
        recorded().map_err(crate::error::error)
    }

    /// Whether it was set: not if the record is of a later holder.
    pub(crate) async fn set_record(&self, lock: &LockKey, token: FencingToken, text: &str) -> Result<bool> {
        let (schema, bytes) = (self.options.schema(), lock_bytes(lock));
        let set = format!(
            "INSERT INTO {schema}.record AS present VALUES ($1, $2, $3) ON CONFLICT (lock) DO UPDATE \
             SET token = EXCLUDED.token, text = EXCLUDED.text WHERE present.token <= EXCLUDED.token"
        );
        let token = i64::try_from(token.get()).unwrap_or(i64::MAX);
        let rows = self.unless_lost(self.requests.request(async |ready| {
            ready.link.client().execute(&set, &[&bytes, &token, &text.as_bytes()]).await
        }));
        Ok(rows.await? == 1)
    }
}

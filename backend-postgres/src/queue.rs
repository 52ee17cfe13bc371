//! The requests to a queue.

use std::sync::Arc;
use std::time::SystemTime;

use lockcore::queue::Standing;
use lockcore::session::Loss;
use lockcore::{
    Effect, Enqueued, Entry, EntryDetails, EntryId, EntryKind, Error, ErrorKind, FencingToken, LockKey,
    QueuedEntry, Removed, Result,
};
use tokio_postgres::types::ToSql;

use crate::connection::{Call, pooled};
use crate::layout::{Seen, kind, lock_bytes, lock_key, numbers, order_key, seen};
use crate::requests::Shared;

/// What the function that appends answers instead of a token.
const OVER: i64 = -1;
const POOLED: i64 = -2;
const MISMATCH: i64 = -3;

impl Shared {
    pub(crate) async fn append(&self, lock: &LockKey, entry: &Entry) -> Result<Enqueued> {
        let place = self.own_entries.asking(entry);
        let answer = self.ask_to_append(lock, entry, place.again, place.rings).await?;
        match answer[..] {
            [OVER] => Err(Error::lost(Loss::Expired)),
            [POOLED] => Err(pooled()),
            [MISMATCH, theirs] => {
                // It never was in the queue, and has no token that anybody would see.
                let theirs = u32::try_from(theirs).unwrap_or(u32::MAX);
                Ok(Enqueued { token: FencingToken::new(0), standing: Standing::LimitMismatch { theirs } })
            }
            _ => {
                let seen = self.sees(lock, &entry.id, entry.kind, &answer).ok_or_else(makes_no_sense)?;
                Ok(Enqueued { token: FencingToken::new(seen.token.unsigned_abs()), standing: seen.standing })
            }
        }
    }

    async fn ask_to_append(
        &self,
        lock: &LockKey,
        entry: &Entry,
        again: bool,
        rings: bool,
    ) -> Result<Vec<i64>> {
        let bytes = lock_bytes(lock);
        let key = order_key(self.options.schema(), &bytes);
        let (weight, limit) = numbers(entry.kind);
        let (id, label, low) = (entry.id.as_str(), entry.label.as_bytes(), self.own_entries.low(lock));
        self.requests
            .request(async |ready| {
                let parameters: [&(dyn ToSql + Sync); 12] = [
                    &self.id,
                    &ready.epoch,
                    &ready.link.process,
                    &key,
                    &bytes,
                    &id,
                    &weight,
                    &limit,
                    &label,
                    &low,
                    &rings,
                    &again,
                ];
                ready.call(Call::Enqueue, &parameters).await
            })
            .await
    }

    /// Where the entry stands now.
    pub(crate) async fn standing(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        let Some(place) = self.own_entries.get(id) else { return Ok(Standing::Absent) };
        let bytes = lock_bytes(lock);
        let ((weight, limit), low) = (numbers(place.kind), self.own_entries.low(lock));
        let answer: Vec<i64> = self
            .unless_lost(self.requests.request(async |ready| {
                let parameters: [&(dyn ToSql + Sync); 6] =
                    [&self.id, &bytes, &place.token, &weight, &limit, &low];
                ready.call(Call::Look, &parameters).await
            }))
            .await?;
        Ok(self.sees(lock, id, place.kind, &answer).map_or(Standing::Absent, |seen| seen.standing))
    }

    /// What an answer says; none if the entry is not there.
    pub(crate) fn sees(&self, lock: &LockKey, id: &EntryId, kind: EntryKind, answer: &[i64]) -> Option<Seen> {
        let seen = seen(id, kind, answer)?;
        self.own_entries.sees(lock, id, &seen);
        Some(seen)
    }

    pub(crate) async fn clear(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let token = self.own_entries.get(id).map_or(0, |place| place.token);
        let (bytes, text) = (lock_bytes(lock), id.as_str());
        let there: Option<bool> = self
            .unless_lost(self.requests.request(async |ready| {
                let parameters: [&(dyn ToSql + Sync); 4] = [&self.id, &bytes, &token, &text];
                ready.call(Call::Remove, &parameters).await
            }))
            .await?;
        there.map(Removed::from).ok_or_else(makes_no_sense)
    }

    /// Removes the entry in the name of its session, which lets go of its advisory lock when it next renews.
    pub(crate) async fn evict(&self, lock: &LockKey, id: &EntryId) -> Result<Removed> {
        let schema = self.options.schema();
        let text = format!(
            "SELECT {schema}.remove(session, lock, token, id) FROM {schema}.entry WHERE lock = $1 AND id = $2"
        );
        let (bytes, id) = (lock_bytes(lock), id.as_str());
        let rows = self.unless_lost(
            self.requests.request(async |ready| ready.link.client().query(&text, &[&bytes, &id]).await),
        );
        let removed = rows.await?.iter().any(|row| row.try_get(0).unwrap_or(false));
        Ok(Removed::from(removed))
    }

    /// Lets those behind know that an entry holds, where others may hold beside it.
    pub(crate) fn let_go(self: &Arc<Self>, lock: &LockKey, token: i64) {
        let (shared, bytes) = (self.clone(), lock_bytes(lock));
        tokio::spawn(async move {
            let call = format!("SELECT {}.let_go($1, $2)", shared.options.schema());
            let asked = shared
                .requests
                .request(async |ready| ready.link.client().execute(&call, &[&bytes, &token]).await);
            if let Err(error) = asked.await {
                tracing::debug!(%error, "those behind look by themselves");
            }
        });
    }

    /// The whole queue. Entries are called by what they are called in the tables.
    pub(crate) async fn entries(&self, lock: &LockKey) -> Result<Vec<QueuedEntry>> {
        let details = self.details(lock).await?;
        Ok(details.into_iter().map(|EntryDetails { id, kind, .. }| QueuedEntry { id, kind }).collect())
    }

    pub(crate) async fn details(&self, lock: &LockKey) -> Result<Vec<EntryDetails>> {
        let text = format!(
            "SELECT id, weight, bound, token, label, since FROM {}.entry WHERE lock = $1 ORDER BY token",
            self.options.schema()
        );
        let bytes = lock_bytes(lock);
        let rows = self.unless_lost(
            self.requests.request(async |ready| ready.link.client().query(&text, &[&bytes]).await),
        );
        let details = rows.await?.into_iter().map(|row| {
            let token = row.try_get::<_, i64>(3)?;
            Ok::<_, tokio_postgres::Error>(EntryDetails {
                id: EntryId::from(row.try_get::<_, &str>(0)?),
                kind: kind(lock.family, row.try_get(1)?, row.try_get(2)?),
                token: FencingToken::new(token.unsigned_abs()),
                label: String::from_utf8_lossy(row.try_get(4)?).into_owned(),
                since: row.try_get::<_, SystemTime>(5).ok(),
            })
        });
        details.collect::<Result<_, _>>().map_err(crate::error::error)
    }

    pub(crate) async fn locks(&self) -> Result<Vec<LockKey>> {
        let text = format!("SELECT DISTINCT lock FROM {}.entry", self.options.schema());
        let rows = self
            .unless_lost(self.requests.request(async |ready| ready.link.client().query(&text, &[]).await));
        let keys = rows.await?.into_iter().filter_map(|row| lock_key(row.try_get(0).ok()?));
        Ok(keys.collect())
    }
}

fn makes_no_sense() -> Error {
    Error::new(ErrorKind::Backend, "the answer makes no sense").with_effect(Effect::Unknown)
}

//! What is shown of an entry, by a script or in a message.

use std::time::Duration;

use lockcore::queue::{Standing, standing};
use lockcore::{EntryId, EntryKind, QueuedEntry, Revision};
use redis::{FromRedisValue, ParsingError, Value, from_redis_value};

use crate::layout::{Row, queued};

/// As much of a queue as the rule needs to know where one entry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The ticket of the entry: 0 if it is not there, -1 if nothing of its lock is.
    pub(crate) ticket: i64,
    /// What the holders weigh that are not among the rows.
    holders: u32,
    /// In how many milliseconds somebody ahead may be dead, or -1.
    remaining: i64,
    /// Some of those ahead.
    rows: Vec<Row>,
}

impl Seen {
    /// What a message tells of an entry that has been let in, `<id>:<ticket>:<weight of all other holders>`; of others it tells the id.
    pub(crate) fn in_message(word: &str) -> (EntryId, Option<Self>) {
        let (id, told) = word.split_once(':').map_or((word, None), |(id, told)| (id, Some(told)));
        let seen = told.and_then(|told| {
            let (ticket, holders) = told.split_once(':')?;
            Some(Self::holding(ticket.parse().ok()?, holders.parse().ok()?))
        });
        (EntryId::from(id), seen)
    }

    fn holding(ticket: i64, holders: u32) -> Self {
        Self { ticket, holders, remaining: -1, rows: Vec::new() }
    }

    /// The rule, applied to what was shown. The holders that were not shown stand there as one: the rule needs no more of them than
    /// their weight.
    pub(crate) fn standing(&self, id: &EntryId, kind: EntryKind) -> Standing {
        let holders = (self.holders > 0).then(|| {
            let kind = EntryKind::Permits { permits: self.holders, limit: kind.limit() };
            QueuedEntry { id: EntryId::from("holders"), kind }
        });
        let own = QueuedEntry { id: id.clone(), kind };
        let entries: Vec<_> =
            holders.into_iter().chain(self.rows.iter().filter_map(queued)).chain([own]).collect();
        standing(&entries, id, Revision::default())
    }

    /// How long nobody ahead can be dead without our hearing of it; for ever if nobody is ahead.
    pub(crate) fn recheck(&self) -> Option<Duration> {
        // A millisecond more, or rounding could bring us there too early.
        u64::try_from(self.remaining).ok().map(|left| Duration::from_millis(left + 1))
    }
}

impl FromRedisValue for Seen {
    /// A ticket alone says that nobody else is there.
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        if let Value::Int(ticket) = value {
            return Ok(Self::holding(ticket, 0));
        }
        let (ticket, holders, remaining, rows) = from_redis_value(value)?;
        Ok(Self { ticket, holders, remaining, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_in_full_is_a_hint() {
        let (id, seen) = Seen::in_message("abc:17:3");
        assert_eq!((id, seen), (EntryId::from("abc"), Some(Seen::holding(17, 3))));
        for word in [
            "abc",
            "abc:",
            "abc:17",
            "abc:17:",
            "abc::3",
            "abc:x:3",
            "abc:17:3:4",
            "abc:17:-3",
            "abc:17:4294967296",
        ] {
            assert_eq!(Seen::in_message(word), (EntryId::from("abc"), None), "{word}");
        }
    }
}

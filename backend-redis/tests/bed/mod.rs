//! One Redis server, and what tests do with it.

#![allow(dead_code, reason = "each file of tests uses some of it")]

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backend_redis::{Redis, RedisOptions};
use conformance::server;
use lockcore::{Enqueued, Entry, EntryId, EntryKind, Family, LockKey, LockName, QueueBackend, QueueSession};

pub(crate) type Session = Arc<dyn QueueSession>;

pub(crate) const QUEUE: &str = "fairlock:{lock:l}:queue";

pub(crate) const SHORT: Duration = Duration::from_secs(3);
/// Long enough for no renewal to come between.
pub(crate) const MINUTES: Duration = Duration::from_secs(600);

pub(crate) struct Bed {
    pub(crate) server: server::Redis,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        Self { server: server::Redis::start().await.unwrap() }
    }

    pub(crate) async fn session(&self) -> Session {
        open(RedisOptions::new(self.server.address())).await
    }

    pub(crate) async fn cli(&self, arguments: &[&str]) -> String {
        self.server.cli(arguments).await.unwrap()
    }

    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.cli(&["keys", "*"]).await.lines().map(str::to_owned).collect();
        keys.sort();
        keys
    }

    /// How many scripts of ours the server has run.
    pub(crate) async fn scripts_run(&self) -> u64 {
        self.commands_run()
            .await
            .into_iter()
            .filter(|(name, _)| name.starts_with("eval"))
            .map(|(_, calls)| calls)
            .sum()
    }

    /// How often the server has executed which command, in scripts as well.
    pub(crate) async fn commands_run(&self) -> Vec<(String, u64)> {
        let stats = self.cli(&["info", "commandstats"]).await;
        let calls = |line: &str| {
            let (name, stats) = line.trim().strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), stats.split(',').next()?.parse().ok()?))
        };
        stats.lines().filter_map(calls).collect()
    }

    /// How often it has executed this one.
    pub(crate) async fn calls(&self, command: &str) -> u64 {
        self.commands_run().await.into_iter().find(|(name, _)| name == command).map_or(0, |(_, calls)| calls)
    }

    /// How many commands the server executes meanwhile.
    pub(crate) async fn commands_for(&self, work: impl Future<Output = ()> + Send) -> u64 {
        let total = |stats: Vec<(String, u64)>| {
            stats.into_iter().filter(|(name, _)| name != "info").map(|(_, calls)| calls).sum::<u64>()
        };
        let before = total(self.commands_run().await);
        work.await;
        total(self.commands_run().await) - before
    }

    /// How many scripts the server runs meanwhile.
    pub(crate) async fn scripts_for(&self, work: impl Future<Output = ()> + Send) -> u64 {
        let before = self.scripts_run().await;
        work.await;
        self.scripts_run().await - before
    }

    /// Everything that stands in the key of a lock.
    pub(crate) async fn members(&self, key: &str) -> Vec<String> {
        self.cli(&["zrange", key, "0", "-1"]).await.lines().map(str::to_owned).collect()
    }

    /// What carries the deadlines of these entries.
    pub(crate) async fn lives(&self, key: &str, ids: &[&EntryId]) -> Vec<String> {
        let known = |member: &String| {
            let words: Vec<_> = member.split(' ').collect();
            words.len() == 5 && ids.iter().any(|id| id.as_str() == words[0])
        };
        self.members(key).await.into_iter().filter(known).collect()
    }

    /// These entries have not been renewed in time.
    pub(crate) async fn die(&self, key: &str, ids: &[&EntryId]) {
        for life in self.lives(key, ids).await {
            self.cli(&["zadd", key, PAST, &life]).await;
        }
    }
}

/// A deadline long ago: in the year 1970.
pub(crate) const PAST: &str = "17179869184";

pub(crate) async fn open(options: RedisOptions) -> Session {
    Redis::new(options).open_session().await.unwrap()
}

pub(crate) fn key(family: Family) -> LockKey {
    LockKey { family, name: LockName::new("l").unwrap() }
}

pub(crate) fn lock() -> LockKey {
    key(Family::Lock)
}

pub(crate) fn entry(kind: EntryKind) -> Entry {
    Entry { id: EntryId::random(), kind, label: "a label".into() }
}

pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

pub(crate) async fn enqueue(session: &Session, entry: &Entry) -> Enqueued {
    session.enqueue(&key(entry.kind.family()), entry).await.unwrap()
}

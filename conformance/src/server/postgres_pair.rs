//! A primary and a standby.

use std::io;

use super::control::on_free_ports;
use super::postgres::Postgres;

/// A primary and a standby that follows it.
#[derive(Debug)]
pub struct PostgresPair {
    /// The primary.
    pub primary: Postgres,
    /// The standby.
    pub standby: Postgres,
}

impl PostgresPair {
    /// Starts both, and waits until the standby follows. Only if `synchronous` does the primary wait for it with each commit.
    ///
    /// # Errors
    ///
    /// As [`Postgres::start`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills what it has started.
    pub async fn start(synchronous: bool) -> io::Result<Self> {
        let primary = Postgres::start().await?;
        let standby = on_free_ports(1, async |ports| primary.standby_on(ports[0]).await).await?;
        let pair = Self { primary, standby };
        let follows = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        pair.until(follows, "1").await?;
        if synchronous {
            pair.primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'").await?;
            pair.primary.sql("SELECT pg_reload_conf()").await?;
            pair.until("SELECT sync_state FROM pg_stat_replication", "sync").await?;
        }
        Ok(pair)
    }

    /// Makes the standby a primary.
    ///
    /// # Errors
    ///
    /// What the standby says.
    ///
    /// # Cancel safety
    ///
    /// It may have become one.
    pub async fn promote(&self) -> io::Result<()> {
        self.standby.sql("SELECT pg_promote()").await.map(drop)
    }

    async fn until(&self, question: &str, answer: &str) -> io::Result<()> {
        let says = async || self.primary.sql(question).await.is_ok_and(|said| said == answer);
        self.primary.wait_until(&format!("say {answer} to {question}"), says).await
    }
}

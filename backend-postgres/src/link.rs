//! One connection to the server, and the task that drives it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockcore::{Effect, Error, ErrorKind, Result};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::error::Severity;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, SimpleQueryMessage, Socket};

use crate::error::{connect_error, error};
use crate::options::PostgresOptions;
use crate::own_entries::OwnEntries;
use crate::tls::TlsMode;

/// A connection. When nobody has it any more, it ends.
pub(crate) struct Link {
    client: Client,
    /// The process of the server.
    pub(crate) process: i32,
    driver: AbortHandle,
    /// Whether it is told who is let in.
    pub(crate) listens: AtomicBool,
}

/// What a connection is for: others can see it in `pg_stat_activity`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Use {
    Requests,
    Renewals,
    Waiting,
}

/// How long the server lets a request wait for what others have locked, in milliseconds. Those behind it on the connection wait as well.
const LOCKED: u32 = 250;
/// The same for one that has nothing else to do: then it looks again.
pub(crate) const WAITING: Duration = Duration::from_secs(5);

impl Link {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it has ended, or is about to.
    pub(crate) fn is_over(&self) -> bool {
        self.driver.is_finished() || self.client.is_closed()
    }

    /// Ends the connection, whatever is under way on it.
    pub(crate) fn cut(&self) {
        self.driver.abort();
    }

    /// Connects to the first server that is a primary.
    pub(crate) async fn connect(options: &PostgresOptions, own_entries: &Arc<OwnEntries>) -> Result<Self> {
        let configs = options.configs()?;
        let patience = options.patience() / u32::try_from(configs.len()).unwrap_or(u32::MAX).max(1);
        let mut failure: Option<Error> = None;
        for (server, config) in &configs {
            let connected = timeout(patience, Self::connect_to(config, options, own_entries)).await;
            match connected.unwrap_or_else(|_| Err(silent(patience))) {
                Ok(link) => return Ok(link),
                // Another server may have a better certificate.
                Err(error) if error.is_retryable() || error.kind() == ErrorKind::InvalidConfig => {
                    let before = failure.filter(|before| before.is_retryable() && !error.is_retryable());
                    failure = Some(before.unwrap_or_else(|| error.with_context(place(server))));
                }
                Err(error) => return Err(error.with_context(place(server)).with_effect(Effect::None)),
            }
        }
        let failure = failure.unwrap_or_else(|| silent(patience));
        Err(failure.with_effect(Effect::None))
    }

    async fn connect_to(
        config: &Config,
        options: &PostgresOptions,
        own_entries: &Arc<OwnEntries>,
    ) -> Result<Self> {
        let (client, driver) = if options.tls().mode() == TlsMode::Disable {
            connected(config, NoTls, own_entries).await?
        } else {
            connected(config, options.tls().load()?, own_entries).await?
        };
        let mut link = Self { client, process: 0, driver, listens: AtomicBool::new(false) };
        let (process, follows) = link.who().await?;
        if follows {
            return Err(Error::new(ErrorKind::Unreachable, "the server is a standby, and follows another"));
        }
        link.process = process;
        Ok(link)
    }

    /// The process of the server, and whether it is one of a standby.
    pub(crate) async fn who(&self) -> Result<(i32, bool)> {
        let row = self.ask("SELECT pg_backend_pid(), pg_is_in_recovery()").await?;
        let column = |index| row.as_ref().and_then(|row| row.get(index));
        let process = column(0).and_then(|process: &str| process.parse().ok()).unwrap_or_default();
        Ok((process, column(1) == Some("t")))
    }

    /// The last row that these statements answer. Without what poolers trip over.
    pub(crate) async fn ask(&self, statements: &str) -> Result<Option<tokio_postgres::SimpleQueryRow>> {
        let answers = self.client.simple_query(statements).await.map_err(error)?;
        Ok(answers.into_iter().rev().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        }))
    }

    /// Makes the connection ours: what the database, or the user, has as defaults may not suit us.
    ///
    /// An isolation of which statements after a lock do not see what was done under it breaks the order of queues; commits that are not
    /// written come undone in a crash, and what was acknowledged with them; plans have to suit tables that are nearly always empty.
    ///
    /// The one before may still be there, and hold locks, or wait for a standby: it is ended.
    pub(crate) async fn set_up(&self, session: i64, used: Use, patience: Duration) -> Result<()> {
        let (name, locked, limit) = match used {
            Use::Requests => ("", LOCKED, patience.as_millis()),
            Use::Renewals => (" renewals", LOCKED, patience.as_millis()),
            Use::Waiting => (" waiting", u32::try_from(WAITING.as_millis()).unwrap_or(LOCKED), 0),
        };
        let statements = format!(
            "SET application_name = 'fairlock {session}{name}'; SET search_path = pg_catalog; \
             SET default_transaction_isolation = 'read committed'; SET default_transaction_deferrable = off; \
             SET lock_timeout = {locked}; SET statement_timeout = {limit}; SET idle_in_transaction_session_timeout = 0; \
             SET client_min_messages = warning; SET row_security = on; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'; \
             SELECT set_config('idle_session_timeout', '0', false) WHERE current_setting('idle_session_timeout', true) <> '0'; \
             SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = force_generic_plan; SET jit = off"
        );
        self.ask(&statements).await?;
        if matches!(used, Use::Requests | Use::Renewals) {
            let earlier = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fairlock {session}{name}' \
                 AND usename = current_user AND pid <> pg_backend_pid()"
            );
            self.ask(&earlier).await?;
        }
        Ok(())
    }

    /// Wants to be told from now on, at the latest when this returns.
    pub(crate) async fn listen(&self, session: i64) -> Result<()> {
        if !self.listens.load(Ordering::Acquire) {
            self.ask(&format!("LISTEN fairlock_{session}")).await?;
            self.listens.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Does not want to be told any more.
    pub(crate) async fn unlisten(&self) -> Result<()> {
        if self.listens.swap(false, Ordering::AcqRel) {
            self.ask("UNLISTEN *").await?;
        }
        Ok(())
    }
}

/// A server, for messages.
fn place(server: &str) -> String {
    format!("PostgreSQL at {server}")
}

fn silent(patience: Duration) -> Error {
    Error::new(ErrorKind::Unreachable, format!("no answer within {patience:?}"))
}

async fn connected<T>(config: &Config, tls: T, own_entries: &Arc<OwnEntries>) -> Result<(Client, AbortHandle)>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await.map_err(connect_error)?;
    let driver = tokio::spawn(drive(connection, own_entries.clone()));
    Ok((client, driver.abort_handle()))
}

/// Drives the connection until it ends, or the server warns. None of our requests makes it warn, but one that it commits without having
/// waited for its standbys, because somebody cancelled that: such an answer must not be believed.
async fn drive<S>(mut connection: Connection<Socket, S>, own_entries: Arc<OwnEntries>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            AsyncMessage::Notice(notice) if notice.parsed_severity() == Some(Severity::Warning) => {
                tracing::debug!(%notice, "the server warns: its answer is not believed");
                return;
            }
            AsyncMessage::Notification(told) => {
                if let Ok(token) = told.payload().parse() {
                    own_entries.told(token);
                }
            }
            _ => {}
        }
    }
}

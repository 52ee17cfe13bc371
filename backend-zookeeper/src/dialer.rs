//! Makes connections, with one server after the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lockcore::session::{Clock, Moment};
use lockcore::{Error, Result};
use rand::seq::SliceRandom;
use tokio::time::{sleep, timeout};
use zookeeper_client::{Error as ClientError, SessionInfo};

use crate::connection::{Connection, Work};
use crate::error::error;
use crate::options::{ZooKeeperOptions, invalid};
use crate::tls;

/// How long to wait before servers are tried again of which none could be reached.
const PAUSE: Duration = Duration::from_millis(50);

/// The servers, and what is asked of them.
#[derive(Debug)]
pub(crate) struct Dialer {
    options: ZooKeeperOptions,
    servers: VecDeque<String>,
    /// How long the session lasts: what was asked for, then the least that any server has granted. (A new leader begins
    /// with what was granted first, whatever was granted later.)
    pub(crate) session_timeout: Duration,
    /// Why no connection with the server that was tried last can be made before somebody changes something.
    refusal: Option<Error>,
}

/// A connection that was made, and when it was asked for.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) connection: Arc<Connection>,
    pub(crate) work: Work,
    pub(crate) sent: Moment,
}

impl Dialer {
    pub(crate) fn new(options: &ZooKeeperOptions) -> Self {
        let mut servers = options.servers().to_vec();
        servers.shuffle(&mut rand::rng());
        let session_timeout = options.session_timeout();
        Self { options: options.clone(), servers: servers.into(), session_timeout, refusal: None }
    }

    /// How long a server may be silent.
    fn silence(&self) -> Duration {
        self.options.connection_timeout(self.session_timeout)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.options.connect_timeout()
    }

    /// Tries the servers until one takes this session, or opens a new one. Fails when there is no session to be had, or no
    /// connection with any before somebody changes something.
    pub(crate) async fn dial_until_connected(&mut self, session: Option<&SessionInfo>) -> Result<Dialed> {
        loop {
            let mut refusals = Vec::new();
            for _ in 0..self.servers.len().max(1) {
                let dialed = self.dial(session).await;
                if let Some(dialed) = dialed.map_err(|source| self.not_opened(source))? {
                    return Ok(dialed);
                }
                refusals.extend(self.refusal.take());
            }
            // As long as one of them may come back there is hope.
            match refusals.pop() {
                Some(refusal) if refusals.len() + 1 == self.servers.len() => return Err(refusal),
                _ => sleep(PAUSE).await,
            }
        }
    }

    fn not_opened(&self, source: ClientError) -> Error {
        let servers = self.options.servers().join(",");
        match source {
            ClientError::BadArguments(_) => {
                invalid(format!("{servers:?} is not a list of host:port: correct the URL"))
                    .with_source(source)
            }
            source => error(source, format_args!("open a session on {servers}")),
        }
    }

    /// Tries one server, the one that was tried the longest time ago: `None` if it cannot be reached. Fails when there is no session
    /// to be had from any.
    pub(crate) async fn dial(
        &mut self,
        session: Option<&SessionInfo>,
    ) -> Result<Option<Dialed>, ClientError> {
        self.refusal = None;
        self.servers.rotate_left(1.min(self.servers.len()));
        let server = self.servers.front().ok_or(ClientError::BadArguments(&"no servers"))?;
        let connector = match self.options.connector(self.session_timeout) {
            Ok(connector) => connector,
            Err(error) => {
                tracing::warn!(%error, "not connected");
                self.refusal = Some(error);
                return Ok(None);
            }
        };
        let connector = match session {
            Some(session) => connector.with_session(session.clone()),
            None => connector,
        };
        let (sent, files) = (Clock::Boot.now(), self.options.tls());
        match timeout(self.silence(), Connection::open(connector, server, files.is_some())).await {
            Ok(Ok((connection, work))) => {
                return Ok(Some(Dialed { connection: Arc::new(connection), work, sent }));
            }
            Ok(Err(
                end @ (ClientError::SessionExpired
                | ClientError::AuthFailed
                | ClientError::BadArguments(_)
                | ClientError::RuntimeInconsistent),
            )) => return Err(end),
            Ok(Err(failed)) => tracing::debug!(server, %failed, "not connected"),
            Err(_) => tracing::debug!(server, "not connected in time"),
        }
        if let Some(files) = files
            && let Ok(Some(refusal)) = timeout(self.silence(), tls::refusal(server, files)).await
        {
            self.refusal = Some(refusal);
        }
        Ok(None)
    }
}

//! The connection of a session: made anew when it is in trouble, and the requests that go over it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use lockcore::{Effect, Error, ErrorKind, LockKey, Result};
use redis::{Cmd, FromRedisValue, RedisResult, ServerErrorKind, from_redis_value};
use tokio::time::timeout;

use crate::error::{error, needs_reconnect};
use crate::link::Link;
use crate::scripts::Call;
use crate::servers::Servers;

/// One attempt to connect, and all who wait for it.
type Connecting = Shared<BoxFuture<'static, Result<Link>>>;

/// A connection for requests.
pub(crate) struct Connection {
    servers: Arc<Servers>,
    patience: Duration,
    /// None after trouble: the next request connects anew.
    current: Mutex<Option<Connecting>>,
}

/// What a request is for: errors name it.
#[derive(Clone, Copy)]
pub(crate) struct Purpose<'a> {
    pub(crate) operation: &'static str,
    pub(crate) lock: Option<&'a LockKey>,
}

impl Connection {
    /// A connection that the first request makes.
    pub(crate) fn new(servers: Arc<Servers>, patience: Duration) -> Self {
        Self { servers, patience, current: Mutex::default() }
    }

    fn current(&self) -> MutexGuard<'_, Option<Connecting>> {
        // Nothing panics while it is held.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connecting(&self) -> Connecting {
        let connect = || {
            let (servers, patience) = (self.servers.clone(), self.patience);
            async move {
                let silent = |_| Err(servers.silent("connection").with_effect(Effect::None));
                timeout(patience, servers.connect(patience)).await.unwrap_or_else(silent)
            }
        };
        self.current().get_or_insert_with(|| connect().boxed().shared()).clone()
    }

    fn give_up(&self, connecting: &Connecting) {
        let mut current = self.current();
        if current.as_ref().is_some_and(|current| current.ptr_eq(connecting)) {
            *current = None;
        }
    }

    /// The answer to a request. Trouble is not for this request to mend, but for the next.
    async fn request<T>(
        &self,
        purpose: Purpose<'_>,
        request: impl AsyncFnOnce(Link) -> RedisResult<T>,
    ) -> Result<T> {
        let connecting = self.connecting();
        let link = connecting.clone().await.inspect_err(|_| self.give_up(&connecting))?;
        match request(link).await {
            Ok(answer) => Ok(answer),
            Err(source) => {
                if needs_reconnect(&source) {
                    self.give_up(&connecting);
                }
                Err(error(source, &self.servers.context(purpose)))
            }
        }
    }

    /// Runs a script.
    pub(crate) async fn run<T: FromRedisValue>(&self, purpose: Purpose<'_>, call: &Call) -> Result<T> {
        self.request(purpose, async |mut link| run(&mut link, call).await).await
    }

    /// Runs a script, then waits until so many replicas confirm what it wrote.
    pub(crate) async fn run_replicated<T: FromRedisValue>(
        &self,
        purpose: Purpose<'_>,
        call: &Call,
        key: &str,
        replicas: u32,
    ) -> Result<T> {
        let limit = self.patience / 2;
        let run = async |mut link: Link| {
            let answer = run(&mut link, call).await?;
            let confirmed: u32 = link.wait(key, replicas, limit).await?;
            Ok((answer, confirmed))
        };
        match self.request(purpose, run).await? {
            (answer, confirmed) if confirmed >= replicas => Ok(answer),
            (_, confirmed) => {
                let context = self.servers.context(purpose);
                let message =
                    format!("{context}: {confirmed} of {replicas} replicas confirmed it in {limit:?}");
                Err(Error::new(ErrorKind::Unreachable, message))
            }
        }
    }

    /// What any server answers to a command without a key.
    pub(crate) async fn ask_any<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: Cmd,
    ) -> Result<T> {
        let ask = async |mut link: Link| Ok(from_redis_value(link.ask_any(command).await?)?);
        self.request(Purpose { operation, lock: None }, ask).await
    }

    /// What the server of this key answers.
    pub(crate) async fn ask<T: FromRedisValue>(&self, purpose: Purpose<'_>, command: &Cmd) -> Result<T> {
        self.request(purpose, async |mut link| command.query_async(&mut link).await).await
    }

    /// All sorted sets whose keys match, on all masters.
    pub(crate) async fn scan(&self, pattern: &str) -> Result<Vec<String>> {
        let purpose = Purpose { operation: "scan", lock: None };
        self.request(purpose, async |mut link| link.scan(pattern).await).await
    }
}

async fn run<T: FromRedisValue>(link: &mut Link, call: &Call) -> RedisResult<T> {
    match call.by_hash().query_async(link).await {
        Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {
            call.by_text().query_async(link).await
        }
        answer => answer,
    }
}

impl fmt::Display for Purpose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation)?;
        match self.lock {
            Some(LockKey { family, name }) => write!(f, " of the {family} {:?}", name.as_str()),
            None => Ok(()),
        }
    }
}

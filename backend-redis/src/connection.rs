//! The connection of a session: made anew when it is in trouble, and the scripts that run over it.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use lockcore::{Effect, Error, ErrorKind, Result};
use redis::{Cmd, FromRedisValue, RedisResult, Script, ScriptInvocation, from_redis_value};
use tokio::time::timeout;

use crate::error::{error, needs_reconnect};
use crate::link::Link;
use crate::servers::Servers;

/// The scripts. Each is idempotent in the id of the entry, and Redis either refuses it or executes all of it.
pub(crate) struct Scripts {
    pub(crate) enqueue: Script,
    pub(crate) look: Script,
    pub(crate) list: Script,
    pub(crate) renew: Script,
    pub(crate) remove: Script,
}

macro_rules! script {
    ($flags:literal, $file:literal) => {
        Script::new(concat!("#!lua", $flags, "\n", include_str!("scripts/queue.lua"), include_str!($file)))
    };
}

/// Only what needs more memory is refused when there is none: to renew and to release must always be possible.
pub(crate) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    enqueue: script!("", "scripts/enqueue.lua"),
    look: script!(" flags=allow-oom", "scripts/look.lua"),
    list: script!(" flags=allow-oom", "scripts/list.lua"),
    renew: script!(" flags=allow-oom", "scripts/renew.lua"),
    remove: script!(" flags=allow-oom", "scripts/remove.lua"),
});

/// One attempt to connect, and all who wait for it.
type Connecting = Shared<BoxFuture<'static, Result<Link>>>;

/// A connection for requests.
pub(crate) struct Connection {
    servers: Arc<Servers>,
    patience: Duration,
    /// None after trouble: the next request connects anew.
    current: Mutex<Option<Connecting>>,
}

impl Connection {
    pub(crate) fn new(servers: Arc<Servers>, link: Link, patience: Duration) -> Self {
        let connected = futures::future::ready(Ok(link)).boxed().shared();
        Self { servers, patience, current: Mutex::new(Some(connected)) }
    }

    fn current(&self) -> MutexGuard<'_, Option<Connecting>> {
        // Nothing panics while it is held.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connecting(&self) -> Connecting {
        let connect = || {
            let (servers, patience) = (self.servers.clone(), self.patience);
            async move {
                match timeout(patience, servers.connect(patience)).await {
                    Ok(connected) => connected.map_err(|source| error(source).with_effect(Effect::None)),
                    Err(_) => Err(Error::new(ErrorKind::Unreachable, "Redis does not accept connections")
                        .with_effect(Effect::None)),
                }
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
    async fn request<T>(&self, request: impl AsyncFnOnce(Link) -> RedisResult<T>) -> Result<T> {
        let connecting = self.connecting();
        let link = connecting.clone().await.inspect_err(|_| self.give_up(&connecting))?;
        match request(link).await {
            Ok(answer) => Ok(answer),
            Err(source) => {
                if needs_reconnect(&source) {
                    self.give_up(&connecting);
                }
                Err(error(source))
            }
        }
    }

    /// Runs a script.
    pub(crate) async fn run<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T> {
        self.request(async |mut link| call.invoke_async(&mut link).await).await
    }

    /// Runs a script, then waits until so many replicas confirm what it wrote.
    pub(crate) async fn run_replicated<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
        key: &str,
        replicas: u32,
    ) -> Result<T> {
        let limit = self.patience / 2;
        let run = async |mut link: Link| {
            let answer = call.invoke_async(&mut link).await?;
            let confirmed: u32 = link.wait(key, replicas, limit).await?;
            Ok((answer, confirmed))
        };
        match self.request(run).await? {
            (answer, confirmed) if confirmed >= replicas => Ok(answer),
            (_, confirmed) => {
                let message = format!("{confirmed} of {replicas} replicas confirmed the entry in {limit:?}");
                Err(Error::new(ErrorKind::Unreachable, message))
            }
        }
    }

    /// What any server answers to a command without a key.
    pub(crate) async fn ask_any<T: FromRedisValue>(&self, command: Cmd) -> Result<T> {
        let ask = async |mut link: Link| Ok(from_redis_value(link.ask_any(command).await?)?);
        self.request(ask).await
    }

    /// All keys that match, on all masters.
    pub(crate) async fn scan(&self, pattern: &str) -> Result<Vec<String>> {
        self.request(async |mut link| link.scan(pattern).await).await
    }
}

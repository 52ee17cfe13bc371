//! One connection with a server, which nothing replaces behind our back.
//!
//! The library would reconnect by itself, but at a pace that slows down without limit, with the session timeout that
//! the first server granted, and repeating its watches in requests that it cannot tell apart when they take more than
//! 128 KiB (zookeeper-client 0.11.2: `endpoint.rs`, `client/mod.rs`, `session/watch.rs`). So its task does not run by
//! itself. We poll it, and drop it in the very poll in which it loses its connection, before it has sent a byte on
//! another one. A dropped task leaves the session alive; a dropped client ends it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use lockcore::Error;
use spawns_core::{Spawn, Task};
use tokio::sync::watch;
use zookeeper_client::{
    Client, Connector, Error as ClientError, EventType, MultiWriteError, OneshotWatcher, SessionState, Stat,
    StateWatcher, WatchedEvent,
};

use crate::error::error;
use crate::nodelay::Sockets;

/// A connection with a server.
///
/// The library sends a request when its method is *called*. So the requests on one connection reach the server in the
/// order of the calls, and a future that is dropped later changes nothing about that.
#[derive(Debug)]
pub(crate) struct Connection {
    client: Client,
    server: String,
    over: watch::Sender<bool>,
}

impl Connection {
    /// Connects to this server, through TLS or without, for the session of which the connector knows, or for a new one.
    pub(crate) async fn open(
        connector: Connector,
        server: &str,
        tls: bool,
    ) -> Result<(Self, Work), ClientError> {
        let (spawned, sockets) = (Spawned::default(), Sockets::now());
        let address = format!("{}://{server}", if tls { "tcp+tls" } else { "tcp" });
        let mut connecting = pin!(connector.with_fail_eagerly().connect(&address));
        let connected = poll_fn(|context| {
            let _scope = spawns_core::enter(&spawned);
            connecting.as_mut().poll(context)
        });
        let client = connected.await?;
        sockets.set_on_new(server);
        let task = spawned.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Without it the library spawns by other means than those of 0.11.2.
        let task = task.ok_or(ClientError::RuntimeInconsistent)?;
        let (over, states) = (watch::Sender::new(false), client.state_watcher());
        let work = Work { task: Some(Box::into_pin(task.future)), states, over: over.clone() };
        Ok((Self { client, server: server.to_owned(), over }, work))
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it can no longer be used.
    pub(crate) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// What it means that this operation on this path failed.
    pub(crate) fn error(&self, operation: &str, path: &str, source: ClientError) -> Error {
        error(source, format_args!("{operation} {path} on {}", self.server))
    }

    /// Has a majority of the servers acknowledge that the session is alive.
    ///
    /// Only what is written needs a majority: a leader that was stopped, and replaced meanwhile, answers everything
    /// else when it goes on, until it notices. So this is a transaction, which checks the session and changes nothing.
    pub(crate) async fn touch(&self) -> Result<(), ClientError> {
        let mut transaction = self.client.new_multi_writer();
        transaction.add_check_version("/", -1)?;
        match transaction.commit().await {
            // It went the same way if we may not read the root.
            Ok(_) | Err(MultiWriteError::OperationFailed { source: ClientError::NoAuth, .. }) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }

    /// Watches a node; `None` if it is not there.
    pub(crate) async fn watch(&self, path: &str) -> Result<Option<(Stat, Watcher)>, ClientError> {
        let watched = match self.client.get_and_watch_data(path).await {
            Ok((_, stat, watcher)) => Ok((stat, watcher)),
            Err(ClientError::NoAuth) => self.watch_around(path).await,
            Err(source) => Err(source),
        };
        match watched {
            Ok((stat, watcher)) => {
                Ok(Some((stat, Watcher { watcher, path: path.to_owned(), over: self.over.subscribe() })))
            }
            Err(ClientError::NoNode) => Ok(None),
            Err(source) => Err(source),
        }
    }

    /// Watches a node that we may not read. Servers do not tell us when that goes (CVE-2024-23944), but when something
    /// in its directory has changed, which we may list.
    async fn watch_around(&self, path: &str) -> Result<(Stat, OneshotWatcher), ClientError> {
        let directory = path.rsplit_once('/').map_or("/", |(directory, _)| directory);
        let (_, watcher) = self.client.list_and_watch_children(directory).await?;
        let stat = self.client.check_stat(path).await?;
        stat.map(|stat| (stat, watcher)).ok_or(ClientError::NoNode)
    }
}

/// A watch that was set.
pub(crate) struct Watcher {
    watcher: OneshotWatcher,
    path: String,
    over: watch::Receiver<bool>,
}

/// What a watch told of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was removed.
    Gone,
    /// Something else has happened to it, or something around it that we cannot see.
    Other,
}

impl Watcher {
    /// Waits for a change of the node, or the end of the connection (`None`).
    pub(crate) async fn changed(self) -> Option<Change> {
        let Self { watcher, path, over } = self;
        let mut changed = pin!(watcher.changed());
        poll_fn(|context| {
            // The library panics if its task was dropped meanwhile, which does not happen while this is borrowed.
            let over = over.borrow();
            if *over {
                Poll::Ready(None)
            } else {
                changed.as_mut().poll(context).map(|event| Some(change(&event, &path)))
            }
        })
        .await
    }
}

fn change(event: &WatchedEvent, path: &str) -> Change {
    match event.event_type {
        EventType::NodeDeleted if event.path == path => Change::Gone,
        _ => Change::Other,
    }
}

/// What a connection lives on: it has to be polled, and tells how the connection ended. Dropped earlier, it cuts the
/// connection. Either way the session stays alive, unless the state says that it is over.
pub(crate) struct Work {
    task: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    states: StateWatcher,
    over: watch::Sender<bool>,
}

impl Work {
    fn end(&mut self) {
        let task = self.task.take();
        self.over.send_modify(|over| {
            *over = true;
            drop(task);
        });
    }
}

impl Future for Work {
    type Output = SessionState;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<SessionState> {
        let works = self.task.as_mut().is_some_and(|task| task.as_mut().poll(context).is_pending());
        match self.states.peek_state() {
            SessionState::SyncConnected if works => Poll::Pending,
            state => {
                self.end();
                Poll::Ready(state)
            }
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("states", &self.states).finish_non_exhaustive()
    }
}

/// Takes the one task that the library spawns for a connection.
#[derive(Default)]
struct Spawned(Mutex<Option<Task>>);

impl Spawn for Spawned {
    fn spawn(&self, task: Task) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }
}

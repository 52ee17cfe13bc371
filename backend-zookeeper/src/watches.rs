//! The watches of a session: one for each node, however many wait for it, on whatever connection there is; and those that
//! tell whether an entry of ours is there.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use lockcore::Result;
use tokio::sync::watch;

use crate::connection::{Change, Watcher};
use crate::keep_alive::Link;
use crate::layout::is_stray;

/// What a watched node turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is not there any more; with the id of its creation, if it was seen before.
    Gone(Option<i64>),
    /// It has changed, or may be gone.
    Changed,
    /// It is no entry; with the id of its creation.
    Stray(i64),
}

/// A watch, and all who wait for it. The last who drops it removes it.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    fires: Shared<Waiting>,
    set: watch::Receiver<bool>,
}

type Waiting = BoxFuture<'static, Result<Seen>>;

impl Watch {
    /// Waits until it fires.
    pub(crate) async fn fires(self) -> Result<Seen> {
        self.fires.await
    }

    /// Waits until it is set, that is: until the node was seen to be there; or until it has fired already.
    pub(crate) async fn is_set(&mut self) -> Result<Option<Seen>> {
        tokio::select! {
            biased;
            seen = self.fires.clone() => seen.map(Some),
            Ok(_) = self.set.wait_for(|set| *set) => Ok(None),
        }
    }
}

/// A node that was seen to be there, with a watch on it that stays on one connection.
///
/// Servers tell a connection of all that it watches in the order in which that happened
/// (<https://zookeeper.apache.org/doc/r3.4.12/zookeeperProgrammers.html#sc_WatchGuarantees>). So whoever hears there that
/// another node has left, and nothing of this one, knows that this one stayed.
pub(crate) struct Presence(BoxFuture<'static, Option<Change>>);

impl Presence {
    pub(crate) fn new(watcher: Watcher) -> Self {
        Self(watcher.changed().boxed())
    }

    /// Itself, unless something has happened to the node or the connection.
    pub(crate) fn lasting(mut self) -> Option<Self> {
        (&mut self.0).now_or_never().is_none().then_some(self)
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Watches {
    table: Arc<Mutex<Table>>,
}

/// The watches by the paths of their nodes.
type Table = HashMap<String, (WeakShared<Waiting>, watch::Receiver<bool>)>;

impl Watches {
    /// The watch of this node.
    pub(crate) fn watch(&self, link: &Link, path: String) -> Watch {
        let mut table = lock(&self.table);
        if let Some((weak, set)) = table.get(&path)
            && let Some(fires) = weak.upgrade()
        {
            return Watch { fires, set: set.clone() };
        }
        let (sender, set) = watch::channel(false);
        let row = Row { table: self.table.clone(), path: path.clone() };
        let fires = wait(link.clone(), row, sender).boxed().shared();
        if let Some(weak) = fires.downgrade() {
            table.insert(path, (weak, set.clone()));
        }
        Watch { fires, set }
    }
}

/// Waits for a change, and sets the watch again whenever a connection has ended.
async fn wait(link: Link, row: Row, set: watch::Sender<bool>) -> Result<Seen> {
    let mut created = None;
    loop {
        let connection = link.connection().await?;
        let watched = connection.watch(&row.path).await;
        let watched = watched.map_err(|source| connection.error("watch", &row.path, source))?;
        // Whoever waits does not keep the session alive.
        drop(connection);
        let Some((stat, watcher)) = watched else { return Ok(Seen::Gone(created)) };
        if is_stray(&stat) {
            return Ok(Seen::Stray(stat.czxid));
        }
        // The directory may have been removed meanwhile, and what has the name now be another node.
        if *created.get_or_insert(stat.czxid) != stat.czxid {
            return Ok(Seen::Gone(created));
        }
        set.send_replace(true);
        match watcher.changed().await {
            Some(Change::Gone) => return Ok(Seen::Gone(created)),
            Some(Change::Other) => return Ok(Seen::Changed),
            None => {}
        }
    }
}

/// The row of a watch in the table, for as long as the watch lasts.
struct Row {
    table: Arc<Mutex<Table>>,
    path: String,
}

impl Drop for Row {
    fn drop(&mut self) {
        // It may be that of the next watch of this node already, which is then not shared with those to come.
        lock(&self.table).remove(&self.path);
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // Nothing panics while it is held.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

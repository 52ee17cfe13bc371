//! The watches of a session: one for each node, however many wait for it, on whatever connection there is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use lockcore::Result;

use crate::keeper::Link;
use crate::layout::is_stray;

/// What a watched node turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is gone, or has changed.
    Changed,
    /// It is no entry.
    Stray,
}

/// A watch, and all who wait for it. The last who drops it removes it.
pub(crate) type Watch = Shared<Waiting>;

type Waiting = BoxFuture<'static, Result<Seen>>;

#[derive(Debug, Default)]
pub(crate) struct Watches {
    table: Arc<Mutex<Table>>,
}

/// The watches by the paths of their nodes.
type Table = HashMap<String, WeakShared<Waiting>>;

impl Watches {
    /// The watch of this node.
    pub(crate) fn watch(&self, link: &Link, path: String) -> Watch {
        let mut table = lock(&self.table);
        if let Some(watch) = table.get(&path).and_then(WeakShared::upgrade) {
            return watch;
        }
        let row = Row { table: self.table.clone(), path: path.clone() };
        let watch = watch(link.clone(), row).boxed().shared();
        if let Some(weak) = watch.downgrade() {
            table.insert(path, weak);
        }
        watch
    }
}

/// Waits for a change, and sets the watch again whenever a connection has ended.
async fn watch(link: Link, row: Row) -> Result<Seen> {
    loop {
        let connection = link.connection().await?;
        let armed = connection.watch(&row.path).await;
        let armed = armed.map_err(|source| connection.error("watch", &row.path, source))?;
        // Whoever waits does not keep the session alive.
        drop(connection);
        match armed {
            None => return Ok(Seen::Changed),
            Some((stat, _)) if is_stray(&stat) => return Ok(Seen::Stray),
            Some((_, watcher)) => {
                if watcher.changed().await {
                    return Ok(Seen::Changed);
                }
            }
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

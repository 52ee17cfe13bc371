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

#[derive(Debug, Default)]
struct Table {
    made: u64,
    nodes: HashMap<String, (u64, WeakShared<Waiting>)>,
}

impl Watches {
    /// The watch of this node.
    pub(crate) fn watch(&self, link: &Link, path: String) -> Watch {
        let mut table = lock(&self.table);
        if let Some(watch) = table.nodes.get(&path).and_then(|(_, watch)| watch.upgrade()) {
            return watch;
        }
        table.made += 1;
        let number = table.made;
        let row = Row { table: self.table.clone(), path: path.clone(), number };
        let watch = watch(link.clone(), row).boxed().shared();
        if let Some(weak) = watch.downgrade() {
            table.nodes.insert(path, (number, weak));
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
    number: u64,
}

impl Drop for Row {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        // The next one may be there already.
        if table.nodes.get(&self.path).is_some_and(|(number, _)| *number == self.number) {
            table.nodes.remove(&self.path);
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // Nothing panics while it is held.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

//! An entry of ours: its file, what it knows of those ahead, and those for which it waits.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lockcore::queue::Standing;
use lockcore::{EntryId, FencingToken, Result};
use rustix::fs::{Stat, fstat, lstat};
use rustix::io::Errno;

use crate::ahead::Ahead;
use crate::directory::{Lock, lock, unlock};
use crate::error::failed;
use crate::fifo::{Reader, write_departure};
use crate::layout::Node;
use crate::watches::EntryWatch;

/// A file that is locked as long as this lives. It is no entry yet: an entry that is seen before it is locked
/// would pass for dead, so it gets its name only then.
#[derive(Debug)]
pub(crate) struct OwnFile {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

/// An entry of ours: it lives as long as this.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) file: OwnFile,
    pub(crate) node: Node,
    pub(crate) ahead: Ahead,
    pub(crate) watched: Vec<Watched>,
}

/// An entry that another waits for. Once open, its file tells of its end even if it has no name any more.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) node: Node,
    pub(crate) watch: Arc<EntryWatch>,
}

/// What an entry that waits has heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// All are there for which it waits.
    Nothing,
    /// It holds.
    Holds,
    /// Something has changed, and it has to be looked in the directory what that means.
    Unclear,
}

impl Watched {
    pub(crate) fn can_wake(&self) -> bool {
        self.watch.can_wake()
    }

    /// Returns when the entry may be gone.
    async fn woken(&self) {
        self.watch.woken(|| self.is_gone().unwrap_or(true)).await;
    }

    /// Returns when one of these may be gone.
    pub(crate) async fn any(watched: &[Self]) {
        let mut departures: FuturesUnordered<_> = watched.iter().map(Self::woken).collect();
        if departures.next().await.is_none() {
            std::future::pending().await
        }
    }

    /// What its owner knew of those ahead when it left.
    pub(crate) fn departure(&self) -> Option<Ahead> {
        Reader::new().and_then(|reader| reader.written(&*self.watch)).ok()?.departure
    }

    /// Its owner has left or died, or somebody removed the file.
    pub(crate) fn is_gone(&self) -> Result<bool, Errno> {
        Ok(fstat(&self.watch)?.st_nlink == 0 || lock(&self.watch, Lock::Shared)?)
    }
}

impl Own {
    pub(crate) fn token(&self) -> FencingToken {
        FencingToken::new(self.node.ticket)
    }

    pub(crate) fn waits_for(&mut self, watched: Vec<Watched>) {
        let oldest = watched.first().map(|watched| watched.node.ticket);
        self.ahead.reduce(oldest, &self.node);
        self.watched = watched;
    }

    /// Those for which it waits, if it is these.
    pub(crate) fn watched(&self, ids: &[EntryId]) -> Option<Vec<Watched>> {
        self.watches(ids).then(|| self.watched.clone())
    }

    pub(crate) fn watches(&self, ids: &[EntryId]) -> bool {
        let is_watched =
            |id: &EntryId| *id == self.node.id || self.watched.iter().any(|watched| watched.node.id == *id);
        ids.iter().all(is_watched)
    }

    /// What those for which it waits tell. This asks files that are open, and where its own one lies: no disk is kept busy by that, and the
    /// runtime not kept waiting.
    pub(crate) fn hear(&mut self) -> Heard {
        let is_gone = |watched: &Watched| watched.is_gone().ok();
        let gone: Option<Vec<bool>> = self.watched.iter().map(is_gone).collect();
        match gone {
            Some(gone) if self.is_in_place() => self.heard(&gone).unwrap_or(Heard::Unclear),
            _ => Heard::Unclear,
        }
    }

    /// What it means that these are gone; `None` if that is not known.
    fn heard(&mut self, gone: &[bool]) -> Option<Heard> {
        if !gone.contains(&true) {
            return Some(Heard::Nothing);
        }
        let mut ahead = self.ahead.clone();
        for (watched, _) in self.watched.iter().zip(gone).filter(|(_, gone)| **gone) {
            ahead.learn(&watched.node, watched.departure()?);
        }
        if ahead.standing(&self.node)? != Standing::Holds {
            return None;
        }
        self.ahead = ahead;
        self.waits_for(Vec::new());
        Some(Heard::Holds)
    }

    /// Whether its file is where it was.
    fn is_in_place(&self) -> bool {
        let is_ours = |there: Stat| {
            fstat(&self.file.file)
                .is_ok_and(|ours| (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino))
        };
        lstat(&self.file.path).is_ok_and(is_ours)
    }

    /// The open file, once more: the entry lives as long as one of them.
    pub(crate) fn descriptor(&self) -> Result<OwnedFd> {
        let OwnFile { path, file } = &self.file;
        Ok(file.try_clone().map_err(|error| failed("share", path, error))?.into())
    }

    /// Removes the entry; whether it was there.
    pub(crate) fn remove(mut self) -> bool {
        let removed = self.file.remove();
        write_departure(&self.file.file, &self.ahead);
        removed
    }
}

impl OwnFile {
    fn remove(&mut self) -> bool {
        let removed = std::fs::remove_file(std::mem::take(&mut self.path));
        // What cannot be removed (the file system may be read-only by now) is dead without the lock, which others who
        // have the file open would keep.
        unlock(&self.file);
        !removed.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            self.remove();
        }
    }
}

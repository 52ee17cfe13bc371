//! The queue of one lock: a directory in which the files that are locked are the entries.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use lockcore::queue::{Standing, standing};
use lockcore::{Entry, EntryDetails, EntryId, ErrorKind, Family, FencingToken, LockName, Result, Revision};

use crate::counter::Counter;
use crate::directory::{Directory, Lock, lock, unlock};
use crate::error::{failed, refused};
use crate::layout::{FULL_NAME, LockDirectory, Node, UNFINISHED, entries, queue};

/// The directory of one lock.
#[derive(Debug)]
pub(crate) struct Queue {
    directory: Directory,
    family: Family,
}

impl Queue {
    pub(crate) fn new(directory: Directory, family: Family) -> Self {
        Self { directory, family }
    }

    /// All entries, in order; some may be dead.
    pub(crate) fn nodes(&self) -> Result<Vec<Node>> {
        Ok(queue(self.family, self.directory.names()?))
    }

    /// All entries that live, in order.
    pub(crate) fn living(&self) -> Result<Vec<Node>> {
        let mut living = Vec::new();
        for node in self.nodes()? {
            if self.lives(&node.name)? {
                living.push(node);
            }
        }
        Ok(living)
    }

    /// Whether the file of this name lives; removes it if it is dead.
    pub(crate) fn lives(&self, name: &str) -> Result<bool> {
        Ok(self.alive(name)?.is_some())
    }

    /// The file of this name, if its owner has its lock; removes it if not.
    ///
    /// Asking shared, two who ask at the same time don't take one another for the owner.
    fn alive(&self, name: &str) -> Result<Option<File>> {
        let Some(file) = self.directory.read(name)? else { return Ok(None) };
        let free = lock(&file, Lock::Shared).map_err(|errno| self.directory.failed("lock", name, errno))?;
        if free && let Err(error) = self.directory.remove(name) {
            // It counts no more, whether it is there or not.
            tracing::debug!(%error, "a dead entry stays");
        }
        Ok(Some(file).filter(|_| !free))
    }

    /// Where an entry stands among these. Only those that matter are asked whether they live: a dead one that stands
    /// elsewhere changes nothing.
    pub(crate) fn standing(&self, mut nodes: Vec<Node>, id: &EntryId) -> Result<Standing> {
        loop {
            let standing = standing(entries(&nodes), id, Revision::default());
            match self.first_dead(&nodes, &decisive(&standing, &nodes, id))? {
                Some(dead) => drop(nodes.remove(dead)),
                None => return Ok(standing),
            }
        }
    }

    fn first_dead(&self, nodes: &[Node], ids: &[EntryId]) -> Result<Option<usize>> {
        for (position, node) in nodes.iter().enumerate() {
            if ids.contains(&node.id) && !self.lives(&node.name)? {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// All that is known of the entries that live, in order.
    pub(crate) fn details(&self) -> Result<Vec<EntryDetails>> {
        let mut details = Vec::new();
        for node in self.nodes()? {
            details.extend(self.detail(node)?);
        }
        Ok(details)
    }

    fn detail(&self, node: Node) -> Result<Option<EntryDetails>> {
        let Some(file) = self.alive(&node.name)? else { return Ok(None) };
        let label = self.text(&node.name, &file, Entry::MAX_LABEL)?;
        Ok(Some(EntryDetails {
            id: node.id,
            kind: node.kind,
            token: FencingToken::new(node.ticket),
            label,
            since: file.metadata().and_then(|metadata| metadata.modified()).ok(),
        }))
    }

    fn text(&self, name: &str, file: &File, longest: usize) -> Result<String> {
        let mut text = Vec::new();
        let read = file.take(longest as u64).read_to_end(&mut text);
        read.map_err(|error| self.directory.failed("read", name, error))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Makes a file that can become this entry; `None` if the directory, or the file, is removed at once.
    pub(crate) fn prepare(&self, entry: &Entry) -> Result<Option<OwnFile>> {
        let name = format!("{UNFINISHED}{}", entry.id);
        let Some(file) = self.directory.make(&name)? else { return Ok(None) };
        let mut own = OwnFile { path: self.directory.path().join(&name), file };
        let locked = lock(&own.file, Lock::Exclusive);
        let locked = locked.map_err(|errno| self.directory.failed("lock", &name, errno))?;
        let written = own.file.write_all(entry.label.as_bytes());
        written.map_err(|error| self.directory.failed("write", &name, error))?;
        Ok(Some(own).filter(|_| locked))
    }

    /// Makes the file an entry; `None` if somebody removed it, or if the ticket does not count any more.
    pub(crate) fn append(
        &self,
        mut file: OwnFile,
        node: &Node,
        counter: &Counter<'_>,
    ) -> Result<Option<Own>> {
        if !self.directory.rename(&format!("{UNFINISHED}{}", node.id), &node.name)? {
            return Ok(None);
        }
        file.path.set_file_name(&node.name);
        let own = Own { file, token: FencingToken::new(node.ticket) };
        // If it does, whoever takes another counter sees this entry, and comes after it.
        Ok(counter.counts()?.then_some(own))
    }

    /// Sees to it that the lock's name is written in a directory that does not tell it; false if the directory has been
    /// removed.
    pub(crate) fn claim(&self, name: &LockName, _: &Counter<'_>) -> Result<bool> {
        let LockDirectory::Digest(called) = LockDirectory::of(name) else { return Ok(true) };
        match self.full_name(&called)? {
            Some(written) if written == *name => Ok(true),
            Some(_) => {
                let reason = "belongs to a lock of another name, with the same digest";
                Err(refused(ErrorKind::InvalidInput, self.directory.path(), reason))
            }
            None => self.directory.publish(FULL_NAME, name.as_str()),
        }
    }

    /// The lock's name, if it is written in this directory, which is called by its digest.
    pub(crate) fn full_name(&self, called: &str) -> Result<Option<LockName>> {
        let Some(file) = self.directory.read(FULL_NAME)? else { return Ok(None) };
        let name = LockName::new(&self.text(FULL_NAME, &file, LockName::MAX)?).ok();
        Ok(name.filter(|name| LockDirectory::of(name).as_str() == called))
    }

    /// Removes everything that is dead, so that the directory can be removed if nothing lives.
    pub(crate) fn clear(&self, _: &Counter<'_>) -> Result<()> {
        let names = self.directory.names()?;
        for unfinished in names.iter().filter(|name| name.starts_with(UNFINISHED)) {
            self.lives(unfinished)?;
        }
        if self.living()?.is_empty() {
            self.directory.remove(FULL_NAME)?;
        }
        Ok(())
    }
}

/// The entries that make the entry `id` stand where it does.
fn decisive(standing: &Standing, nodes: &[Node], id: &EntryId) -> Vec<EntryId> {
    let mut decisive = match standing {
        Standing::Absent | Standing::Holds => Vec::new(),
        Standing::Waits { wake, .. } => wake.clone(),
        Standing::LimitMismatch { theirs } => {
            let disagreeing = nodes.iter().find(|node| node.kind.limit() == *theirs);
            disagreeing.map(|node| node.id.clone()).into_iter().collect()
        }
    };
    decisive.push(id.clone());
    decisive
}

/// A file that is locked as long as this lives. It is no entry yet: an entry that is seen before it is locked
/// would pass for dead, so it gets its name only then.
#[derive(Debug)]
pub(crate) struct OwnFile {
    path: PathBuf,
    file: File,
}

/// An entry of ours: it lives as long as this.
#[derive(Debug)]
pub(crate) struct Own {
    file: OwnFile,
    pub(crate) token: FencingToken,
}

impl Own {
    /// The open file, once more: the entry lives as long as one of them.
    pub(crate) fn descriptor(&self) -> Result<OwnedFd> {
        let OwnFile { path, file } = &self.file;
        Ok(file.try_clone().map_err(|error| failed("share", path, error))?.into())
    }

    /// Removes the entry; whether it was there.
    pub(crate) fn remove(mut self) -> bool {
        self.file.remove()
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

//! The queue of one lock: a directory in which the files that are locked are the entries.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockcore::queue::Standing;
use lockcore::{Entry, EntryDetails, EntryId, EntryKind, ErrorKind, Family, FencingToken, LockName, Result};
use rustix::io::Errno;

use crate::ahead::Ahead;
use crate::counter::{self, Counter, Said};
use crate::directory::{Directory, Lock, lock, open};
use crate::error::{failed, refused};
use crate::fifo::{self, write_label};
use crate::layout::{COUNTER, FULL_NAME, LockDirectory, Node, UNFINISHED, node, queue};
use crate::own::{Own, OwnFile, Watched};
use crate::watches::EntryWatch;

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

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(crate) fn into_directory(self) -> Directory {
        self.directory
    }

    /// All entries, in order; some may be dead.
    pub(crate) fn nodes(&self) -> Result<Vec<Node>> {
        Ok(queue(self.family, self.directory.names()?))
    }

    /// The last of those of an entry: an earlier one is what a failed attempt to add it has left.
    fn node(&self, id: &EntryId) -> Result<Option<Node>> {
        Ok(self.nodes()?.into_iter().rfind(|node| node.id == *id))
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

    /// All entries ahead of this one, in order; some may be dead.
    pub(crate) fn ahead(&self, own: &Node) -> Result<Ahead> {
        let mut nodes = self.nodes()?;
        nodes.retain(|node| node.ticket < own.ticket);
        Ok(Ahead::all(nodes))
    }

    /// Where an entry stands behind these, and those that make it stand there. Only they are asked whether they live: a
    /// dead one that stands elsewhere changes nothing. The directory is read if too little is known.
    pub(crate) fn stand(&self, own: &Node, ahead: &mut Ahead) -> Result<(Standing, Vec<Watched>)> {
        loop {
            let Some(standing) = ahead.standing(own) else {
                *ahead = self.ahead(own)?;
                continue;
            };
            let (mut watched, mut dead) = (Vec::new(), false);
            for node in ahead.decisive(&standing) {
                match self.watched(&node)? {
                    Some(living) => watched.push(living),
                    None => {
                        ahead.forget(&node);
                        dead = true;
                    }
                }
            }
            if !dead {
                return Ok((standing, watched));
            }
        }
    }

    /// Forgets the dead up to the first that lives. Those of shared ones would pile up, as they decide about nobody.
    fn forget_dead(&self, ahead: &mut Ahead) -> Result<()> {
        while let Some(oldest) = ahead.oldest().cloned() {
            if self.lives(&oldest.name)? {
                break;
            }
            ahead.forget(&oldest);
        }
        Ok(())
    }

    fn watched(&self, node: &Node) -> Result<Option<Watched>> {
        let Some(file) = self.alive(&node.name)? else { return Ok(None) };
        let watch =
            EntryWatch::new(file).map_err(|error| self.directory.failed("watch", &node.name, error))?;
        Ok(Some(Watched { node: node.clone(), watch: Arc::new(watch) }))
    }

    /// Where the file of an entry lies.
    pub(crate) fn path(&self, id: &EntryId) -> Result<Option<PathBuf>> {
        Ok(self.node(id)?.map(|own| self.directory.path().join(own.name)))
    }

    /// Where one of these entries stands.
    pub(crate) fn standing(&self, id: &EntryId) -> Result<Standing> {
        match self.node(id)? {
            Some(own) if self.lives(&own.name)? => Ok(self.stand(&own, &mut self.ahead(&own)?)?.0),
            _ => Ok(Standing::Absent),
        }
    }

    /// Where our entry stands now; `None` if it still waits for these.
    pub(crate) fn stands_now(&self, ids: &[EntryId], own: &mut Own) -> Result<Option<Standing>> {
        if !self.directory.is(&own.node.name, &own.file.file)? {
            return Ok(Some(Standing::Absent));
        }
        let same = own.watches(ids);
        let (mut gone, mut living) = (Vec::new(), Vec::new());
        for watched in std::mem::take(&mut own.watched) {
            let is_gone = watched.is_gone();
            let is_gone =
                is_gone.map_err(|errno| self.directory.failed("lock", &watched.node.name, errno))?;
            if is_gone { &mut gone } else { &mut living }.push(watched);
        }
        if same && gone.is_empty() {
            own.watched = living;
            return Ok(None);
        }
        for watched in gone {
            match watched.departure() {
                Some(left) => own.ahead.learn(&watched.node, left),
                None => {
                    own.ahead.forget(&watched.node);
                    // What is left of it, if it died.
                    self.lives(&watched.node.name)?;
                }
            }
        }
        let (standing, watched) = self.stand(&own.node, &mut own.ahead)?;
        own.waits_for(watched);
        Ok(Some(standing))
    }

    /// Removes the entry, whosever it is; whether it was there. Those who wait for it are woken, as its owner may be stopped.
    pub(crate) fn evict(&self, id: &EntryId) -> Result<bool> {
        let Some(node) = self.node(id)? else { return Ok(false) };
        let file = self.directory.change(&node.name)?;
        let removed = self.directory.remove(&node.name)?;
        if let Some(file) = file {
            fifo::ring(&file);
        }
        Ok(removed)
    }

    /// All that is known of the entries that live, in order.
    pub(crate) fn details(&self) -> Result<Vec<EntryDetails>> {
        let reader = fifo::Reader::new().map_err(|error| failed("read", self.directory.path(), error))?;
        let details = self.nodes()?.into_iter().map(|node| self.detail(node, &reader));
        details.filter_map(Result::transpose).collect()
    }

    fn detail(&self, node: Node, reader: &fifo::Reader) -> Result<Option<EntryDetails>> {
        let Some(file) = self.alive(&node.name)? else { return Ok(None) };
        let written =
            reader.written(&file).map_err(|error| self.directory.failed("read", &node.name, error))?;
        Ok(Some(EntryDetails {
            id: node.id,
            kind: node.kind,
            token: FencingToken::new(node.ticket),
            label: written.label,
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
        let Some(file) = self.directory.make_fifo(&name)? else { return Ok(None) };
        let own = OwnFile { path: self.directory.path().join(&name), file };
        let locked = lock(&own.file, Lock::Exclusive);
        let locked = locked.map_err(|errno| self.directory.failed("lock", &name, errno))?;
        let written = write_label(&own.file, &entry.label);
        written.map_err(|error| self.directory.failed("write", &name, error))?;
        Ok(Some(own).filter(|_| locked))
    }

    /// Makes the file an entry, and says where it stands, behind those that are there and those who were given a ticket
    /// below the root; `None` if somebody removed the file, or if the ticket does not count any more.
    pub(crate) fn append(
        &self,
        mut file: OwnFile,
        entry: &Entry,
        counter: &Counter<'_>,
        root: &Directory,
    ) -> Result<Option<(Own, Standing)>> {
        let Said { last, queue } = counter.said()?;
        let removed = if last == 0 { counter::last(root)? } else { 0 };
        // Nobody is added meanwhile.
        let mut ahead = queue.map_or_else(|| self.nodes().map(Ahead::all), Ok)?;
        let node = Node::of(entry, counter.next(last.max(removed).max(ahead.last()))?);
        if node.kind == EntryKind::Shared {
            self.forget_dead(&mut ahead)?;
        }
        let (standing, watched) = self.stand(&node, &mut ahead)?;
        counter.give(node.ticket, Some(&ahead.clone().followed_by(node.clone())))?;
        if !self.directory.rename(&format!("{UNFINISHED}{}", node.id), &node.name)? {
            return Ok(None);
        }
        file.path.set_file_name(&node.name);
        let mut own = Own { file, node, ahead, watched: Vec::new() };
        own.waits_for(watched);
        // If it does, whoever takes another counter sees this entry, and comes after it.
        Ok(counter.counts()?.then_some((own, standing)))
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

    /// Whether somebody stands in the queue, is about to, or came within this time. Meets only as many as it takes to know.
    pub(crate) fn is_used(&self, lately: Duration) -> Result<bool> {
        let came = self.directory.read(COUNTER)?.and_then(|counter| counter.metadata().ok()?.modified().ok());
        if came.is_some_and(|came| came.elapsed().is_ok_and(|since| since < lately)) {
            return Ok(true);
        }
        for name in self.directory.each()? {
            let name = name?;
            let ours = name.starts_with(UNFINISHED) || node(name.clone()).is_some();
            if ![COUNTER, FULL_NAME].contains(&&*name) && (!ours || self.lives(&name)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes everything that is dead, and the counter if nothing else is left; false if another remover is at work. The last ticket goes to
    /// the counter of the root, where whoever makes the directory anew goes on, unless a larger one is there: of many that are removed at
    /// once few have to.
    pub(crate) fn retire(&self, counter: &Counter<'_>, root: &Directory) -> Result<bool> {
        let last = counter.said()?.last;
        // A counter that cannot grow any more stays, or its end would be that of all locks.
        if !self.clear()? || last == u64::MAX {
            return Ok(true);
        }
        if counter::last(root)? < last {
            let Some(all) = Counter::take(root)? else { return Ok(false) };
            all.give(last.max(all.said()?.last), None)?;
            if !all.counts()? {
                return Ok(false);
            }
        }
        // Not that of others, who have passed this process by.
        if counter.counts()? {
            self.directory.remove(COUNTER)?;
        }
        Ok(true)
    }

    /// Removes everything that is dead; whether nothing is left but the counter.
    fn clear(&self) -> Result<bool> {
        let names = self.directory.names()?;
        for unfinished in names.iter().filter(|name| name.starts_with(UNFINISHED)) {
            self.lives(unfinished)?;
        }
        if self.living()?.is_empty() {
            self.directory.remove(FULL_NAME)?;
        }
        Ok(self.directory.names()? == [COUNTER])
    }
}

/// Whether there is an entry at this path that lives.
pub(crate) fn lives_at(path: &Path) -> Result<bool> {
    match open(path) {
        Ok(file) => lock(&file, Lock::Shared).map(|free| !free).map_err(|errno| failed("lock", path, errno)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(failed("open", path, errno)),
    }
}

//! The directory that everything lies in: whether it can be trusted, and what is in it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use lockcore::queue::Standing;
use lockcore::{Entry, EntryId, Error, ErrorKind, Family, LockKey, Result};
use rustix::fs::fstat;

use crate::counter::{self, Counter, Progress};
use crate::directory::{Access, Directory};
use crate::error::{failed, refused};
use crate::filesystem;
use crate::layout::{LockDirectory, Node, Told, family_name, told};
use crate::options::FileOptions;
use crate::queue::{Own, OwnFile, Queue};
use crate::trust::Trusted;

/// The directory that everything lies in, found by its path at each use: it may be removed, or another one put in
/// its place.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    options: FileOptions,
}

impl Root {
    pub(crate) fn new(options: FileOptions) -> Self {
        Self { options }
    }

    pub(crate) fn options(&self) -> &FileOptions {
        &self.options
    }

    /// Opens it; `None` if there is none.
    pub(crate) fn open(&self) -> Result<Option<Directory>> {
        Directory::open(self.options.root())?.map(|root| self.check(root)).transpose()
    }

    /// Opens it, made if there is none and it is for this user alone, if nobody else can put another one in its place.
    pub(crate) fn open_or_make(&self) -> Result<Directory> {
        let path = self.options.root();
        if let Some(root) = self.open()? {
            self.trusted(&root)?.check_way(path)?;
            return Ok(root);
        }
        if self.options.shared() {
            let reason = "does not exist: make a directory that is to be shared with the group and the permissions that it \
                          is to have, such as 2770";
            return Err(refused(ErrorKind::InvalidConfig, path, reason));
        }
        Trusted::this_user().check_way(path)?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| failed("create", path, error))?;
        let root = self.open()?.ok_or_else(|| {
            let message = format!("{} was removed as soon as it was made", path.display());
            Error::new(ErrorKind::Backend, message).with_retryable(true)
        })?;
        // Somebody may have been faster at making what it lies in.
        Trusted::this_user().check_way(path)?;
        Ok(root)
    }

    fn trusted(&self, root: &Directory) -> Result<Trusted> {
        let stat = fstat(root.fd()).map_err(|errno| failed("examine", root.path(), errno))?;
        Ok(if self.options.shared() { Trusted::who_may_write(&stat) } else { Trusted::this_user() })
    }

    fn check(&self, root: Directory) -> Result<Directory> {
        let stat = fstat(root.fd()).map_err(|errno| failed("examine", root.path(), errno))?;
        if !self.options.trusts_filesystem() {
            filesystem::check(&root)?;
        }
        if self.options.shared() {
            return Ok(root.with_access(Access::like(&stat)));
        }
        Trusted::this_user().check_root(root.path(), &stat)?;
        Ok(root)
    }

    /// The queue of a lock; `None` if it has no directory.
    pub(crate) fn queue(&self, lock: &LockKey) -> Result<Option<Queue>> {
        self.queue_in(lock.family, LockDirectory::of(&lock.name).as_str())
    }

    fn queue_in(&self, family: Family, directory: &str) -> Result<Option<Queue>> {
        let Some(root) = self.open()? else { return Ok(None) };
        let Some(parent) = root.enter(family_name(family))? else { return Ok(None) };
        Ok(parent.enter(directory)?.map(|directory| Queue::new(directory, family)))
    }

    /// Where the files of a lock lie, if it has any.
    pub(crate) fn path(&self, lock: &LockKey) -> PathBuf {
        let directory = LockDirectory::of(&lock.name);
        self.options.root().join(family_name(lock.family)).join(directory.as_str())
    }

    /// Where an entry stands.
    pub(crate) fn standing(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        self.queue(lock)?.map_or(Ok(Standing::Absent), |queue| queue.standing(queue.nodes()?, id))
    }

    /// Appends an entry to a queue, with what an earlier attempt prepared.
    pub(crate) fn append(
        &self,
        lock: &LockKey,
        entry: &Entry,
        prepared: Option<OwnFile>,
    ) -> Result<Appended> {
        let root = self.open_or_make()?;
        let Some(family) = root.enter_or_make(family_name(lock.family))? else { return Ok(Appended::Gone) };
        let directory = LockDirectory::of(&lock.name);
        let Some(directory) = family.enter_or_make(directory.as_str())? else { return Ok(Appended::Gone) };
        let queue = Queue::new(directory, lock.family);
        let file = match prepared {
            Some(file) => Some(file),
            None => queue.prepare(entry)?,
        };
        let Some(file) = file else { return Ok(Appended::Gone) };
        let Some(counter) = Counter::take(&root)? else { return Ok(Appended::Busy(file)) };
        if !queue.claim(&lock.name, &counter)? {
            return Ok(Appended::Gone);
        }
        // Nobody is added meanwhile.
        let mut nodes = queue.nodes()?;
        let ticket = counter.next(nodes.last().map_or(0, |last| last.ticket))?;
        let node = Node::of(entry, ticket);
        let Some(own) = queue.append(file, &node, &counter)? else { return Ok(Appended::Gone) };
        nodes.push(node);
        Ok(Appended::Done { own, queue, nodes })
    }

    /// How far those are who add entries.
    pub(crate) fn progress(&self) -> Result<Option<Progress>> {
        self.open()?.map_or(Ok(None), |root| counter::progress(&root))
    }

    /// Passes by a process that keeps others from adding entries, if it has made no progress since.
    pub(crate) fn pass_by(&self, since: &Progress) -> Result<()> {
        self.open()?.map_or(Ok(()), |root| counter::replace(&root, since))
    }

    /// The names of the files of these entries; `None` if one is not there.
    pub(crate) fn files(&self, lock: &LockKey, ids: &[EntryId]) -> Result<Option<Vec<String>>> {
        let Some(queue) = self.queue(lock)? else { return Ok(None) };
        let nodes = queue.nodes()?;
        let file = |id: &EntryId| nodes.iter().find(|node| node.id == *id).map(|node| node.name.clone());
        Ok(ids.iter().map(file).collect())
    }

    /// Whether the entries in these files live, all of them.
    pub(crate) fn all_live(&self, lock: &LockKey, files: &[String]) -> Result<bool> {
        let Some(queue) = self.queue(lock)? else { return Ok(false) };
        for file in files {
            if !queue.lives(file)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes the traces of those who were killed while they made a directory, or the counter.
    pub(crate) fn sweep(&self) -> Result<()> {
        let Some(root) = self.open()? else { return Ok(()) };
        for family in [Family::Lock, Family::Semaphore] {
            root.enter(family_name(family))?.map_or(Ok(()), |parent| parent.sweep())?;
        }
        root.sweep()
    }

    /// How the directories of locks are called, with the family of each.
    pub(crate) fn directories(&self) -> Result<Vec<(Family, String)>> {
        let mut directories = Vec::new();
        let Some(root) = self.open()? else { return Ok(directories) };
        for family in [Family::Lock, Family::Semaphore] {
            let Some(parent) = root.enter(family_name(family))? else { continue };
            let names = parent.names()?.into_iter().filter(|name| told(name) != Told::Nothing);
            directories.extend(names.map(|name| (family, name)));
        }
        Ok(directories)
    }

    /// Every lock that has a directory.
    pub(crate) fn names(&self) -> Result<Vec<LockKey>> {
        let mut names = Vec::new();
        for (family, called) in self.directories()? {
            let name = match told(&called) {
                Told::Name(name) => Some(name),
                Told::Inside => match self.queue_in(family, &called)? {
                    Some(queue) => queue.full_name(&called)?,
                    None => None,
                },
                Told::Nothing => None,
            };
            names.extend(name.map(|name| LockKey { family, name }));
        }
        Ok(names)
    }

    /// Removes what is dead in a directory, and the directory if it is not used.
    pub(crate) fn clean(&self, family: Family, called: &str) -> Result<Cleaned> {
        let Some(root) = self.open()? else { return Ok(Cleaned::Kept) };
        let Some(parent) = root.enter(family_name(family))? else { return Ok(Cleaned::Kept) };
        let Some(directory) = parent.enter(called)? else { return Ok(Cleaned::Kept) };
        let Some(counter) = Counter::take(&root)? else { return Ok(Cleaned::Busy) };
        Queue::new(directory, family).clear(&counter)?;
        Ok(if parent.remove_empty(called)? { Cleaned::Removed } else { Cleaned::Kept })
    }
}

/// How cleaning a directory ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cleaned {
    /// It is gone.
    Removed,
    /// It is used.
    Kept,
    /// Somebody is adding an entry.
    Busy,
}

/// How an attempt to append ended.
#[derive(Debug)]
pub(crate) enum Appended {
    /// The entry is there, the last of these.
    Done { own: Own, queue: Queue, nodes: Vec<Node> },
    /// Somebody else is adding an entry, or removing a directory.
    Busy(OwnFile),
    /// Somebody removed a directory meanwhile, or the counter.
    Gone,
}

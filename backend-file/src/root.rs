//! The directory that everything lies in: whether it can be trusted, and what is in it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockcore::queue::Standing;
use lockcore::{Entry, EntryId, Error, ErrorKind, Family, LockKey, Result};
use rustix::fs::{Stat, fstat, lstat};

use crate::counter::{self, Counter, Progress};
use crate::directory::{Access, Directory};
use crate::error::{failed, refused};
use crate::filesystem;
use crate::layout::{LockDirectory, Told, family_name, told};
use crate::options::FileOptions;
use crate::own::{Own, OwnFile};
use crate::queue::Queue;
use crate::trust::Trusted;

/// The directory that everything lies in, found by its path at each use: it may be removed, or another one put in
/// its place.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    options: FileOptions,
    kept: Arc<Mutex<Option<Kept>>>,
}

/// A directory that was checked, and need not be again while it is what it was.
#[derive(Debug)]
struct Kept {
    directory: Arc<Directory>,
    stat: Stat,
}

impl Kept {
    /// Whether this is the same directory, which the same users may write.
    fn is(&self, there: &Stat) -> bool {
        let key = |stat: &Stat| (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_uid, stat.st_gid);
        key(&self.stat) == key(there)
    }
}

impl Root {
    pub(crate) fn new(options: FileOptions) -> Self {
        Self { options, kept: Arc::default() }
    }

    pub(crate) fn options(&self) -> &FileOptions {
        &self.options
    }

    /// Opens it; `None` if there is none.
    pub(crate) fn open(&self) -> Result<Option<Arc<Directory>>> {
        let path = self.options.root();
        // Nothing panics while it is held.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let there = lstat(path).ok();
        if let Some(kept) = kept.as_ref().filter(|kept| there.is_some_and(|there| kept.is(&there))) {
            return Ok(Some(kept.directory.clone()));
        }
        *kept = None;
        let Some(directory) = Directory::open(path)? else { return Ok(None) };
        let stat = fstat(directory.fd()).map_err(|errno| failed("examine", path, errno))?;
        let directory = Arc::new(self.check(directory, &stat)?);
        *kept = Some(Kept { directory: directory.clone(), stat });
        Ok(Some(directory))
    }

    /// Opens it, made if there is none and it is for this user alone, if nobody else can put another one in its place.
    pub(crate) fn open_or_make(&self) -> Result<Arc<Directory>> {
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
            let message = format!(
                "{} was removed as soon as it was made: let nobody else clean up there",
                path.display()
            );
            Error::new(ErrorKind::Backend, message).with_retryable(true)
        })?;
        // Somebody may have been faster at making what it lies in.
        Trusted::this_user().check_way(path)?;
        Ok(root)
    }

    fn trusted(&self, root: &Directory) -> Result<Trusted> {
        if !self.options.shared() {
            return Ok(Trusted::this_user());
        }
        let stat = fstat(root.fd()).map_err(|errno| failed("examine", root.path(), errno))?;
        Ok(Trusted::who_may_write(&stat))
    }

    fn check(&self, root: Directory, stat: &Stat) -> Result<Directory> {
        if !self.options.trusts_filesystem() {
            filesystem::check(&root)?;
        }
        if self.options.shared() {
            return Ok(root.with_access(Access::like(stat)));
        }
        Trusted::this_user().check_root(root.path(), stat)?;
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

    /// Where an entry stands.
    pub(crate) fn standing(&self, lock: &LockKey, id: &EntryId) -> Result<Standing> {
        self.queue(lock)?.map_or(Ok(Standing::Absent), |queue| queue.standing(id))
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
        let Some(counter) = Counter::take(queue.directory())? else { return Ok(Appended::Busy(file)) };
        if !queue.claim(&lock.name, &counter)? {
            return Ok(Appended::Gone);
        }
        let appended = queue.append(file, entry, &counter, &root)?;
        Ok(appended.map_or(Appended::Gone, |(own, standing)| Appended::Done(own, standing)))
    }

    /// Where an entry of ours stands now; `None` if it still waits for these.
    pub(crate) fn stands_now(
        &self,
        lock: &LockKey,
        ids: &[EntryId],
        own: &mut Own,
    ) -> Result<Option<Standing>> {
        self.queue(lock)?.map_or(Ok(Some(Standing::Absent)), |queue| queue.stands_now(ids, own))
    }

    /// How far those are who add entries here, or remove the directory.
    pub(crate) fn progress(&self, family: Family, called: &str) -> Result<Vec<Progress>> {
        let counters = self.counters(family, called)?;
        let progress = counters.iter().map(|directory| counter::progress(directory));
        Ok(progress.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// Passes by a process that keeps others from adding entries, if it has made no progress since.
    pub(crate) fn pass_by(&self, family: Family, called: &str, since: &[Progress]) -> Result<()> {
        let mut counters = self.counters(family, called)?.into_iter();
        counters.try_for_each(|directory| counter::replace(&directory, since))
    }

    /// Where the counters lie that whoever adds or removes something here takes.
    fn counters(&self, family: Family, called: &str) -> Result<Vec<Arc<Directory>>> {
        let Some(root) = self.open()? else { return Ok(Vec::new()) };
        let queue = self.queue_in(family, called)?.map(|queue| Arc::new(queue.into_directory()));
        Ok([Some(root), queue].into_iter().flatten().collect())
    }

    /// Where the file of an entry lies; `None` if it is not there.
    pub(crate) fn path(&self, lock: &LockKey, id: &EntryId) -> Result<Option<PathBuf>> {
        self.queue(lock)?.map_or(Ok(None), |queue| queue.path(id))
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

    /// Removes the directories of those of these locks that nobody uses, or used within this time. Returns those of which that is not known,
    /// because somebody is at work there.
    pub(crate) fn remove_unused(&self, mut locks: Vec<LockKey>, lately: Duration) -> Vec<LockKey> {
        locks.retain(|lock| {
            let removed = self.remove_if_unused(lock, lately);
            removed.unwrap_or_else(|error| {
                tracing::debug!(%error, "the directory of an unused lock stays");
                if error.is_retryable() { Cleaned::Busy } else { Cleaned::Kept }
            }) == Cleaned::Busy
        });
        locks
    }

    fn remove_if_unused(&self, lock: &LockKey, lately: Duration) -> Result<Cleaned> {
        match self.queue(lock)? {
            None => Ok(Cleaned::Removed),
            // Without keeping anybody waiting.
            Some(queue) if queue.is_used(lately)? => Ok(Cleaned::Kept),
            Some(_) => self.clean(lock.family, LockDirectory::of(&lock.name).as_str()),
        }
    }

    /// Removes what is dead in a directory, and the directory if it is not used.
    pub(crate) fn clean(&self, family: Family, called: &str) -> Result<Cleaned> {
        let Some(root) = self.open()? else { return Ok(Cleaned::Kept) };
        let Some(parent) = root.enter(family_name(family))? else { return Ok(Cleaned::Kept) };
        let Some(directory) = parent.enter(called)? else { return Ok(Cleaned::Kept) };
        let queue = Queue::new(directory, family);
        let Some(counter) = Counter::take(queue.directory())? else { return Ok(Cleaned::Busy) };
        if !queue.retire(&counter, &root)? {
            return Ok(Cleaned::Busy);
        }
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
    /// Somebody is adding an entry, or removing a directory.
    Busy,
}

/// How an attempt to append ended.
#[derive(Debug)]
pub(crate) enum Appended {
    /// The entry is there, and stands there.
    Done(Own, Standing),
    /// Somebody else is adding an entry, or removing a directory.
    Busy(OwnFile),
    /// Somebody removed a directory meanwhile, or the counter.
    Gone,
}

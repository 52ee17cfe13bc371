//! The directory that everything lies in: whether it can be trusted, and what is in it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use lockcore::queue::Standing;
use lockcore::{Entry, EntryId, Error, ErrorKind, Family, LockKey, Result};
use rustix::fs::{Stat, StatFs, fstat, fstatfs};
use rustix::process::geteuid;

use crate::counter::Counter;
use crate::directory::Directory;
use crate::error::{failed, refused};
use crate::layout::{LockDirectory, Told, family_name, told};
use crate::options::FileOptions;
use crate::queue::{Own, OwnFile, Queue};

/// The directory that everything lies in, found by its path at each use: it may be removed, or another one put in
/// its place.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    options: FileOptions,
}

/// What others who may write the directory could do.
const UNSAFE: &str = "lets other users take and break the locks: take their write permission away (chmod go-w), \
                      choose another directory, or say shared=true";

impl Root {
    pub(crate) fn new(options: FileOptions) -> Self {
        Self { options }
    }

    pub(crate) fn options(&self) -> &FileOptions {
        &self.options
    }

    /// Opens it; `None` if there is none.
    pub(crate) fn open(&self) -> Result<Option<Directory>> {
        let root = Directory::open(self.options.root())?;
        root.iter().try_for_each(|root| self.check(root))?;
        Ok(root)
    }

    /// Opens it, made if there is none.
    pub(crate) fn open_or_make(&self) -> Result<Directory> {
        if let Some(root) = self.open()? {
            return Ok(root);
        }
        let path = self.options.root();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| failed("create", path, error))?;
        self.open()?.ok_or_else(|| {
            let message = format!("{} was removed as soon as it was made", path.display());
            Error::new(ErrorKind::Backend, message).with_retryable(true)
        })
    }

    fn check(&self, root: &Directory) -> Result<()> {
        let path = root.path();
        let stat = fstat(root.fd()).map_err(|errno| failed("examine", path, errno))?;
        if !self.options.shared() && others_may_write(&stat) {
            return Err(refused(ErrorKind::PermissionDenied, path, UNSAFE));
        }
        let system = fstatfs(root.fd()).map_err(|errno| failed("examine", path, errno))?;
        match network(&system) {
            None => Ok(()),
            Some(kind) => {
                let reason = format!(
                    "is on {kind}: other machines do not see this machine's locks there, choose a local directory"
                );
                Err(refused(ErrorKind::InvalidConfig, path, &reason))
            }
        }
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
        let Some(counter) = Counter::take(&root)? else { return Ok(Appended::Busy(file)) };
        if !queue.claim(&lock.name, &counter)? {
            return Ok(Appended::Gone);
        }
        let own = queue.append(file, entry, counter.next()?)?;
        Ok(own.map_or(Appended::Gone, Appended::Done))
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
    /// The entry is there.
    Done(Own),
    /// Somebody else is adding an entry, or removing a directory.
    Busy(OwnFile),
    /// Somebody removed a directory meanwhile.
    Gone,
}

fn others_may_write(stat: &Stat) -> bool {
    let owner = [geteuid().as_raw(), 0].contains(&stat.st_uid);
    !owner || stat.st_mode & 0o022 != 0
}

/// File systems whose files other machines may have, or of which it cannot be told (FUSE), by the number that
/// `statfs` gives (<https://man7.org/linux/man-pages/man2/statfs.2.html>, linux/magic.h).
#[cfg(target_os = "linux")]
const NETWORK: [(u32, &str); 15] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564c, "NCP"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x1983_0326, "BeeGFS"),
    (0x6573_5546, "FUSE, which may be a network file system"),
];

/// Which kind of network file system it is, if it is one.
#[cfg(target_os = "linux")]
fn network(system: &StatFs) -> Option<&'static str> {
    // The kernel's type is wider on some machines, and signed on others; the numbers have 32 bits.
    let number = system.f_type as u32;
    NETWORK.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// Which kind of network file system it is, if it is one.
#[cfg(target_os = "macos")]
fn network(system: &StatFs) -> Option<&'static str> {
    const MNT_LOCAL: u32 = 0x1000;
    (system.f_flags & MNT_LOCAL == 0).then_some("a network file system")
}

/// Nothing tells.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn network(_: &StatFs) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        let directory = tempfile::tempdir().unwrap();
        let mut system = rustix::fs::statfs(directory.path()).unwrap();
        assert_eq!(network(&system), None);
        for (number, name) in NETWORK {
            // As the kernel gives it: wider, and on some machines signed.
            system.f_type = number as _;
            assert_eq!(network(&system), Some(name));
        }
    }

    #[test]
    fn a_directory_of_others_is_not_ours() {
        let directory = tempfile::tempdir().unwrap();
        let mut stat = rustix::fs::stat(directory.path()).unwrap();
        for (uid, mode, unsafe_) in [
            (geteuid().as_raw(), 0o40700, false),
            (geteuid().as_raw(), 0o40755, false),
            (0, 0o40755, false),
            (geteuid().as_raw(), 0o40770, true),
            (geteuid().as_raw(), 0o41777, true),
            (geteuid().as_raw() + 1, 0o40700, true),
        ] {
            (stat.st_uid, stat.st_mode) = (uid, mode);
            assert_eq!(others_may_write(&stat), unsafe_, "{uid} {mode:o}");
        }
    }
}

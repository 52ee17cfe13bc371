//! Directories that are open: whatever happens to the path meanwhile, what is done in one is done in the same one.
//! No symbolic link is followed from one to the next.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use lockcore::{EntryId, Error, ErrorKind, Result};
#[cfg(target_os = "linux")]
use rustix::fs::FileType;
#[cfg(any(target_os = "linux", target_os = "macos"))]
use rustix::fs::RenameFlags;
use rustix::fs::{AtFlags, Dir, FlockOperation, Gid, Mode, OFlags, Stat, flock, fstat, statat};
use rustix::io::Errno;

use crate::error::{failed, refused};
use crate::layout::UNFINISHED;

/// What is opened stays with this process: a child that inherited it would keep its lock alive.
const EVERY: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);
const DIRECTORY: OFlags = EVERY.union(OFlags::RDONLY).union(OFlags::DIRECTORY);
/// A pipe that somebody put there must not block us.
const READ: OFlags = EVERY.union(OFlags::RDONLY).union(OFlags::NONBLOCK);
const WRITE: OFlags = EVERY.union(OFlags::RDWR).union(OFlags::NONBLOCK);

/// With the sticky bit, which says nothing else of a file, those who clean up directories for temporary files leave it
/// alone (<https://specifications.freedesktop.org/basedir-spec/latest/>): a lock may be held for months.
const FILE: Mode =
    Mode::RUSR.union(Mode::WUSR).union(if cfg!(target_os = "linux") { Mode::SVTX } else { Mode::empty() });

/// A directory that is open, and its path for messages.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    access: Access,
}

/// Who may use what is made in a directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    mode: Mode,
    group: Option<Gid>,
}

impl Access {
    /// This user alone. Whoever can open a file for reading can lock it.
    pub(crate) const PRIVATE: Self = Self { mode: Mode::RWXU, group: None };

    /// Those who may write this directory. Others get nothing, although they may read it.
    pub(crate) fn like(directory: &Stat) -> Self {
        let mut mode = Mode::from_raw_mode(directory.st_mode & 0o7777);
        if !mode.contains(Mode::WGRP) {
            mode.remove(Mode::RWXG);
        }
        if !mode.contains(Mode::WOTH) {
            mode.remove(Mode::RWXO);
        }
        // Where everybody may, the group says nothing more, and we need not be in it.
        let group = mode.contains(Mode::WGRP) && !mode.contains(Mode::WOTH);
        Self { mode, group: group.then(|| Gid::from_raw(directory.st_gid)) }
    }

    /// Gives these permissions to what was just made, whatever the umask and the group of this process are.
    fn give(self, made: impl AsFd, mode: Mode) -> Result<(), Errno> {
        let stat = fstat(&made)?;
        if let Some(group) = self.group.filter(|group| group.as_raw() != stat.st_gid) {
            rustix::fs::fchown(&made, None, Some(group))?;
        }
        if stat.st_mode & 0o7777 != mode.as_raw_mode() {
            rustix::fs::fchmod(&made, mode)?;
        }
        Ok(())
    }
}

impl Directory {
    /// Opens a directory in which what is made is private; `None` if there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        Self::opened(rustix::fs::open(path, DIRECTORY, Mode::empty()), path.to_owned(), Access::PRIVATE)
    }

    fn opened(opened: Result<OwnedFd, Errno>, path: PathBuf, access: Access) -> Result<Option<Self>> {
        match opened {
            Ok(fd) => Ok(Some(Self { fd, path, access })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let reason = "is not a directory (symbolic links are not followed)";
                Err(refused(ErrorKind::PermissionDenied, &path, reason))
            }
            Err(errno) => Err(failed("open", &path, errno)),
        }
    }

    /// The same directory, where those who are meant by `access` may use what is made.
    pub(crate) fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The error of something that was to be done with the file of this name.
    pub(crate) fn failed(&self, what: &str, name: &str, error: impl Into<io::Error>) -> Error {
        failed(what, &self.path.join(name), error)
    }

    /// The directory of this name in this one; `None` if there is none.
    pub(crate) fn enter(&self, name: &str) -> Result<Option<Self>> {
        let opened = rustix::fs::openat(&self.fd, name, DIRECTORY, Mode::empty());
        Self::opened(opened, self.path.join(name), self.access)
    }

    /// The directory of this name in this one, made if there is none; `None` if this one has been removed, or that one
    /// was at once.
    pub(crate) fn enter_or_make(&self, name: &str) -> Result<Option<Self>> {
        match self.enter(name)? {
            Some(there) => Ok(Some(there)),
            None if self.make_directory(name)? => self.enter(name),
            None => Ok(None),
        }
    }

    /// Makes a directory that nobody sees before it is accessible to those who may use it; whether there is one now.
    fn make_directory(&self, name: &str) -> Result<bool> {
        let unfinished = unfinished();
        match rustix::fs::mkdirat(&self.fd, &unfinished, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(self.failed("create", name, errno)),
        }
        let made = self.give_and_rename(&unfinished, name);
        if !matches!(made, Ok(true)) {
            // What went wrong first is what matters.
            let _ = self.remove_empty(&unfinished);
        }
        made
    }

    fn give_and_rename(&self, unfinished: &str, name: &str) -> Result<bool> {
        let Some(made) = self.enter(unfinished)? else { return Ok(false) };
        let given = self.access.give(&made.fd, self.access.mode);
        given.map_err(|errno| self.not_given(name, errno))?;
        match self.rename_where_none(unfinished, name) {
            Ok(()) => Ok(true),
            // Somebody was faster.
            Err(Errno::NOTEMPTY | Errno::EXIST) => self.remove_empty(unfinished),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.failed("create", name, errno)),
        }
    }

    fn not_given(&self, name: &str, errno: Errno) -> Error {
        let what = match self.access.group {
            Some(_) => "give to the group of the directory (chmod g+s on the shared directory does it)",
            None => "make accessible",
        };
        self.failed(what, name, errno)
    }

    /// Everything in it, read as it is asked for.
    pub(crate) fn each(&self) -> Result<impl Iterator<Item = Result<String>>> {
        let entries = match Dir::read_from(&self.fd) {
            // It has been removed.
            Err(Errno::NOENT) => None,
            entries => Some(entries.map_err(|errno| failed("list", &self.path, errno))?),
        };
        Ok(entries.into_iter().flatten().filter_map(|entry| match entry {
            // Our own are all ASCII.
            Ok(entry) => {
                let name = entry.file_name().to_str().ok().filter(|name| ![".", ".."].contains(name));
                name.map(|name| Ok(name.to_owned()))
            }
            Err(Errno::NOENT) => None,
            Err(errno) => Some(Err(failed("list", &self.path, errno))),
        }))
    }

    /// Everything in it.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        self.each()?.collect()
    }

    /// A file to read; `None` if there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<File>> {
        self.file(name, READ)
    }

    /// A file to change; `None` if there is none.
    pub(crate) fn change(&self, name: &str) -> Result<Option<File>> {
        self.file(name, WRITE)
    }

    fn file(&self, name: &str, how: OFlags) -> Result<Option<File>> {
        match rustix::fs::openat(&self.fd, name, how, Mode::empty()) {
            Ok(file) => Ok(Some(file.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => {
                let path = self.path.join(name);
                Err(refused(ErrorKind::PermissionDenied, &path, "is a symbolic link, which is not followed"))
            }
            Err(errno) => Err(self.failed("open", name, errno)),
        }
    }

    /// A new FIFO, open at both ends, so that those who wait at its other end learn of its closing from the kernel; on other
    /// systems than Linux, a file. `None` if there is one, or if this directory has been removed.
    pub(crate) fn make_fifo(&self, name: &str) -> Result<Option<File>> {
        #[cfg(target_os = "linux")]
        {
            match rustix::fs::mknodat(&self.fd, name, FileType::Fifo, FILE, 0) {
                Ok(()) => {}
                Err(Errno::EXIST | Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(self.failed("create", name, errno)),
            }
            match self.change(name) {
                Ok(Some(file)) => self.give(name, name, file),
                made => self.or_remove(name, made),
            }
        }
        #[cfg(not(target_os = "linux"))]
        self.make_for(name, name)
    }

    fn make_for(&self, name: &str, purpose: &str) -> Result<Option<File>> {
        let how = WRITE.union(OFlags::CREATE).union(OFlags::EXCL);
        let file = match rustix::fs::openat(&self.fd, name, how, FILE) {
            Ok(file) => file,
            Err(Errno::EXIST | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed("create", purpose, errno)),
        };
        self.give(name, purpose, file.into())
    }

    fn give(&self, made: &str, purpose: &str, file: File) -> Result<Option<File>> {
        let mode = FILE | (self.access.mode & Mode::from_raw_mode(0o666));
        let given = self.access.give(&file, mode).map_err(|errno| self.not_given(purpose, errno));
        self.or_remove(made, given.map(|()| Some(file)))
    }

    /// Makes a file with this text that nobody sees before it is complete, in the place of the one that is there; false
    /// if this directory has been removed.
    pub(crate) fn publish(&self, name: &str, text: &str) -> Result<bool> {
        self.publish_by(name, text, |unfinished| self.rename(unfinished, name))
    }

    /// The same where there is no such file. One that is there stays: somebody was faster.
    pub(crate) fn publish_first(&self, name: &str, text: &str) -> Result<bool> {
        self.publish_by(name, text, |unfinished| match self.rename_where_none(unfinished, name) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => self.remove(unfinished),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.failed("create", name, errno)),
        })
    }

    fn publish_by(
        &self,
        name: &str,
        text: &str,
        give_name: impl FnOnce(&str) -> Result<bool>,
    ) -> Result<bool> {
        let unfinished = unfinished();
        let Some(file) = self.make_for(&unfinished, name)? else { return Ok(false) };
        let written =
            file.write_all_at(text.as_bytes(), 0).map_err(|error| self.failed("write", name, error));
        self.or_remove(&unfinished, written.and_then(|()| give_name(&unfinished)))
    }

    /// What became of a file that was just made, which goes if it is not to be used.
    fn or_remove<T>(&self, made: &str, result: Result<T>) -> Result<T> {
        result.inspect_err(|_| {
            // What went wrong first is what matters.
            let _ = self.remove(made);
        })
    }

    /// Whether this is the file of this name.
    pub(crate) fn is(&self, name: &str, file: &File) -> Result<bool> {
        let there = match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            there => there.map_err(|errno| self.failed("examine", name, errno))?,
        };
        let ours = fstat(file).map_err(|errno| self.failed("examine", name, errno))?;
        Ok((there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino))
    }

    /// Removes what somebody who was killed had begun to make here, as far as this user may. Its maker, if there still is
    /// one, begins anew.
    pub(crate) fn sweep(&self) -> Result<()> {
        for name in self.names()?.iter().filter(|name| name.starts_with(UNFINISHED)) {
            if let Err(error) = self.remove(name).or_else(|_| self.remove_empty(name)) {
                tracing::debug!(%error, "an unfinished file stays");
            }
        }
        Ok(())
    }

    /// Removes a file; whether it was there.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        self.unlink(name, AtFlags::empty())
    }

    /// Removes a directory; whether it was there and empty.
    pub(crate) fn remove_empty(&self, name: &str) -> Result<bool> {
        self.unlink(name, AtFlags::REMOVEDIR)
    }

    fn unlink(&self, name: &str, flags: AtFlags) -> Result<bool> {
        match rustix::fs::unlinkat(&self.fd, name, flags) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(errno) => Err(self.failed("remove", name, errno)),
        }
    }

    /// Gives a file or a directory a name that nothing has. Where the system, or the file system, cannot do that, what has the name is replaced,
    /// unless it is a directory that is not empty. A link would be no way: whoever is killed before he removes the first name leaves one
    /// that looks alive whenever the file is locked.
    fn rename_where_none(&self, from: &str, to: &str) -> Result<(), Errno> {
        #[cfg(any(target_os = "linux", target_os = "macos"))]
        match rustix::fs::renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            renamed => return renamed,
        }
        rustix::fs::renameat(&self.fd, from, &self.fd, to)
    }

    /// Gives a file another name; whether it was there.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<bool> {
        match rustix::fs::renameat(&self.fd, from, &self.fd, to) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.failed("create", to, errno)),
        }
    }
}

/// A file to read, wherever it is.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, READ, Mode::empty())
}

/// A name for what is not ready to be seen.
fn unfinished() -> String {
    format!("{UNFINISHED}{}", EntryId::random())
}

/// Takes the kernel's lock on an open file; whether it was free. The kernel gives it back when the file is closed by
/// everybody who has it open through the same call.
pub(crate) fn lock(file: impl AsFd, how: Lock) -> Result<bool, Errno> {
    let operation = match how {
        Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
        Lock::Shared => FlockOperation::NonBlockingLockShared,
    };
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Gives the kernel's lock back, for everybody who has the file open through the same call.
pub(crate) fn unlock(file: &File) {
    // This fails for no file that was locked (flock(2)), and if it did, the file is closed next.
    let _ = flock(file, FlockOperation::Unlock);
}

/// The kernel's two kinds of locks.
pub(crate) enum Lock {
    Exclusive,
    Shared,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_somebody_else_just_made_is_not_replaced() {
        let there = tempfile::tempdir().unwrap();
        let root = Directory::open(there.path()).unwrap().unwrap();
        let first = root.enter_or_make("a").unwrap().unwrap();
        assert!(root.make_directory("a").unwrap(), "there is one");
        assert!(first.publish("file", "").unwrap(), "it is the first");
        assert_eq!(root.names().unwrap(), ["a"]);
    }
}

//! Directories that are open: whatever happens to the path meanwhile, what is done in one is done in the same one.
//! No symbolic link is followed from one to the next.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use lockcore::{Error, ErrorKind, Result};
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstat};
use rustix::io::Errno;

use crate::error::{failed, refused};

/// What is opened stays with this process: a child that inherited it would keep its lock alive.
const EVERY: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);
const DIRECTORY: OFlags = EVERY.union(OFlags::RDONLY).union(OFlags::DIRECTORY);
/// A pipe that somebody put there must not block us.
const READ: OFlags = EVERY.union(OFlags::RDONLY).union(OFlags::NONBLOCK);
const WRITE: OFlags = EVERY.union(OFlags::RDWR).union(OFlags::NONBLOCK);

/// A directory that is open, and its path for messages.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    /// Its permissions, which everything in it gets as well.
    mode: Mode,
}

impl Directory {
    /// Opens a directory; `None` if there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        Self::opened(rustix::fs::open(path, DIRECTORY, Mode::empty()), path.to_owned())
    }

    fn opened(opened: Result<OwnedFd, Errno>, path: PathBuf) -> Result<Option<Self>> {
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let reason = "is not a directory (symbolic links are not followed)";
                return Err(refused(ErrorKind::PermissionDenied, &path, reason));
            }
            Err(errno) => return Err(failed("open", &path, errno)),
        };
        let stat = fstat(&fd).map_err(|errno| failed("examine", &path, errno))?;
        Ok(Some(Self { fd, path, mode: Mode::from_raw_mode(stat.st_mode & 0o7777) }))
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
        Self::opened(rustix::fs::openat(&self.fd, name, DIRECTORY, Mode::empty()), self.path.join(name))
    }

    /// The directory of this name in this one, made if there is none; `None` if this one has been removed, or that one
    /// was at once.
    pub(crate) fn enter_or_make(&self, name: &str) -> Result<Option<Self>> {
        if let Some(there) = self.enter(name)? {
            return Ok(Some(there));
        }
        match rustix::fs::mkdirat(&self.fd, name, self.mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => return self.enter(name),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed("create", name, errno)),
        }
        let Some(mut made) = self.enter(name)? else { return Ok(None) };
        if made.mode != self.mode {
            // The umask of this process took something away.
            rustix::fs::fchmod(&made.fd, self.mode)
                .map_err(|errno| self.failed("make accessible", name, errno))?;
            made.mode = self.mode;
        }
        Ok(Some(made))
    }

    /// Everything in it.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let read = || -> Result<Vec<String>, Errno> {
            let mut names = Vec::new();
            for entry in Dir::read_from(&self.fd)? {
                // Our own are all ASCII.
                names.extend(entry?.file_name().to_str().map(str::to_owned));
            }
            names.retain(|name| name != "." && name != "..");
            Ok(names)
        };
        match read() {
            Err(Errno::NOENT) => Ok(Vec::new()),
            names => names.map_err(|errno| failed("list", &self.path, errno)),
        }
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

    /// A new file to write; `None` if there is one, or if this directory has been removed.
    pub(crate) fn make(&self, name: &str) -> Result<Option<File>> {
        let mode = self.mode & Mode::from_raw_mode(0o666);
        let how = WRITE.union(OFlags::CREATE).union(OFlags::EXCL);
        let file = match rustix::fs::openat(&self.fd, name, how, mode) {
            Ok(file) => file,
            Err(Errno::EXIST | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed("create", name, errno)),
        };
        rustix::fs::fchmod(&file, mode).map_err(|errno| self.failed("make accessible", name, errno))?;
        Ok(Some(file.into()))
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

    /// Gives a file another name; whether it was there.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<bool> {
        match rustix::fs::renameat(&self.fd, from, &self.fd, to) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.failed("create", to, errno)),
        }
    }
}

/// Takes the kernel's lock on an open file; whether it was free. The kernel gives it back when the file is closed by
/// everybody who has it open through the same call.
pub(crate) fn lock(file: &File, how: Lock) -> Result<bool, Errno> {
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

//! Whether somebody else could put another directory in the place of ours.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use lockcore::{ErrorKind, Result};
use rustix::fs::{FileType, RawMode, Stat, lstat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::{failed, refused};

/// Who may change the directory of the locks, and what it lies in.
#[derive(Debug)]
pub(crate) struct Trusted {
    user: u32,
    owner: u32,
    group: Option<u32>,
    everybody: bool,
}

const ROOT: u32 = 0;
const STICKY: RawMode = 0o1000;

impl Trusted {
    /// This user. Root, who can do everything, always is.
    pub(crate) fn this_user() -> Self {
        let user = geteuid().as_raw();
        Self { user, owner: user, group: None, everybody: false }
    }

    /// This user, and those who may write this directory, which is shared on purpose.
    pub(crate) fn who_may_write(shared: &Stat) -> Self {
        let group = (shared.st_mode & 0o020 != 0).then_some(shared.st_gid);
        Self { user: geteuid().as_raw(), owner: shared.st_uid, group, everybody: shared.st_mode & 0o002 != 0 }
    }

    /// Refuses a root directory that others own or may write.
    pub(crate) fn check_root(&self, path: &Path, stat: &Stat) -> Result<()> {
        let reason = match (self.own_it(stat), self.alone_write_it(stat)) {
            (true, true) => return Ok(()),
            (true, false) => {
                "lets other users take and break the locks: take their write permission away (chmod go-w), choose another \
                 directory, or say shared=true"
            }
            (false, _) => {
                "belongs to another user, who can take and break the locks: choose another directory, or say shared=true"
            }
        };
        Err(refused(ErrorKind::PermissionDenied, path, reason))
    }

    /// Refuses a root directory that others could move away, to put another one in its place: by any of the
    /// directories, and of the symbolic links, that lead there. Of those that do not exist yet nothing is said.
    pub(crate) fn check_way(&self, root: &Path) -> Result<()> {
        // More than the kernel follows.
        const LINKS: usize = 64;
        let (mut here, mut links) = (PathBuf::from("/"), 0);
        let mut ahead = parts(root.parent().unwrap_or(root));
        self.check_step(root, &here, &lstat(&here).map_err(|errno| failed("examine", &here, errno))?)?;
        while let Some(part) = ahead.pop() {
            if part == ".." {
                here.pop();
                continue;
            }
            here.push(part);
            let stat = match lstat(&here) {
                Err(Errno::NOENT) => return Ok(()),
                stat => stat.map_err(|errno| failed("examine", &here, errno))?,
            };
            self.check_step(root, &here, &stat)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink && links < LINKS {
                links += 1;
                let target = std::fs::read_link(&here).map_err(|error| failed("read", &here, error))?;
                here.pop();
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                ahead.extend(parts(&target));
            }
        }
        Ok(())
    }

    fn check_step(&self, root: &Path, step: &Path, stat: &Stat) -> Result<()> {
        let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        // What lies in a directory with the sticky bit can be moved by its owner alone.
        let unchanged = link || stat.st_mode & STICKY != 0 || self.alone_write_it(stat);
        if (self.own_it(stat) || is_of_outside(stat.st_uid)) && unchanged {
            return Ok(());
        }
        let reason = format!(
            "is not safe: other users may change {}, and so put another directory in its place: take their write permission \
             away (chmod go-w), or choose another directory",
            step.display()
        );
        Err(refused(ErrorKind::PermissionDenied, root, &reason))
    }

    fn own_it(&self, stat: &Stat) -> bool {
        [ROOT, self.user, self.owner].contains(&stat.st_uid)
    }

    /// Whether nobody else may write it: a directory says who may change what lies in it.
    fn alone_write_it(&self, stat: &Stat) -> bool {
        let group = stat.st_mode & 0o020 == 0 || self.group == Some(stat.st_gid);
        let others = stat.st_mode & 0o002 == 0;
        self.everybody || group && others
    }
}

/// The parts of a path, the first last.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    let mut parts: Vec<_> = parts.map(|part| part.as_os_str().to_owned()).collect();
    parts.reverse();
    parts
}

/// Whether this is how a user is shown whom this process's user namespace does not have, root for example: in there
/// nobody can be that user.
fn is_of_outside(uid: u32) -> bool {
    let read = |path| std::fs::read_to_string(path).ok();
    let (Some(overflow), Some(map)) = (read("/proc/sys/kernel/overflowuid"), read("/proc/self/uid_map"))
    else {
        return false;
    };
    let is_in = |line: &str| {
        let numbers: Vec<u32> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        matches!(numbers[..], [inside, _, count] if uid.checked_sub(inside).is_some_and(|offset| offset < count))
    };
    overflow.trim().parse() == Ok(uid) && !map.lines().any(is_in)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_directory_of_others_is_not_ours() {
        let directory = tempfile::tempdir().unwrap();
        let mut stat = lstat(directory.path()).unwrap();
        let user = geteuid().as_raw();
        for (uid, mode, safe) in [
            (user, 0o40700, true),
            (user, 0o40755, true),
            (ROOT, 0o40755, true),
            (user, 0o40770, false),
            (user, 0o40702, false),
            (user, 0o41777, false),
            (user + 1, 0o40700, false),
        ] {
            (stat.st_uid, stat.st_mode) = (uid, mode);
            let checked = Trusted::this_user().check_root(directory.path(), &stat);
            assert_eq!(checked.is_ok(), safe, "{uid} {mode:o}");
        }
    }

    #[test]
    fn every_step_of_the_way_is_checked() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
        fs::create_dir_all(a.join("deep")).unwrap();
        fs::create_dir(&b).unwrap();
        symlink("../b/link", a.join("link")).unwrap();
        symlink(a.join("deep"), b.join("link")).unwrap();
        let check = |path: &Path| Trusted::this_user().check_way(path);
        let ways = [a.join("deep/root"), a.join("link/root"), a.join("deep/not/yet/root")];
        for way in &ways {
            check(way).unwrap();
        }
        for (opened, unsafe_ways) in
            [(&a, [true, true, true]), (&a.join("deep"), [true, true, true]), (&b, [false, true, false])]
        {
            for (mode, is_safe) in
                [(0o777, false), (0o770, false), (0o702, false), (0o1777, true), (0o755, true)]
            {
                fs::set_permissions(opened, fs::Permissions::from_mode(mode)).unwrap();
                for (way, unsafe_) in ways.iter().zip(unsafe_ways) {
                    let checked = check(way);
                    assert_eq!(
                        checked.is_err(),
                        unsafe_ && !is_safe,
                        "{} with {opened:?} {mode:o}",
                        way.display()
                    );
                    let Err(error) = checked else { continue };
                    assert!(error.to_string().contains(&format!("change {},", opened.display())), "{error}");
                    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                }
            }
        }
    }

    #[test]
    fn whom_a_shared_directory_trusts_may_change_the_way() {
        let directory = tempfile::tempdir().unwrap();
        let mut shared = lstat(directory.path()).unwrap();
        let mut step = shared;
        (shared.st_uid, shared.st_gid) = (7, 70);
        for (mode, uid, gid, step_mode, safe) in [
            (0o42770, 7, 1, 0o40755, true),
            (0o42770, 8, 70, 0o40755, false),
            (0o42770, 7, 70, 0o40775, true),
            (0o42770, 7, 71, 0o40775, false),
            (0o42770, 7, 70, 0o40777, false),
            (0o42770, 7, 71, 0o41777, true),
            (0o42750, 7, 70, 0o40775, false),
            (0o40777, 7, 71, 0o40777, true),
        ] {
            shared.st_mode = mode;
            (step.st_uid, step.st_gid, step.st_mode) = (uid, gid, step_mode);
            let checked =
                Trusted::who_may_write(&shared).check_step(directory.path(), Path::new("/step"), &step);
            assert_eq!(checked.is_ok(), safe, "{mode:o} {uid} {gid} {step_mode:o}");
        }
    }
}

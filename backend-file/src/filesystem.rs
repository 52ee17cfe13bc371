//! Whether a file system is of this machine alone, so that all who use it see one another's locks.

use lockcore::{ErrorKind, Result};
use rustix::fs::{StatFs, fstatfs};

use crate::directory::Directory;
use crate::error::{failed, refused};

/// Refuses a directory whose file system is not known to be local.
pub(crate) fn check(root: &Directory) -> Result<()> {
    let system = fstatfs(root.fd()).map_err(|errno| failed("examine", root.path(), errno))?;
    match not_local(&system) {
        None => Ok(()),
        Some(kind) => {
            let reason = format!(
                "is on {kind}: other machines may use it and do not see this machine's locks, so choose a directory on a local \
                 disk or in memory, or say trust_filesystem=true if this one is local"
            );
            Err(refused(ErrorKind::InvalidConfig, root.path(), &reason))
        }
    }
}

#[cfg(target_os = "linux")]
const TMPFS: u32 = 0x0102_1994;
#[cfg(target_os = "linux")]
const RAMFS: u32 = 0x8584_58f6;

/// The file systems that are local for certain, and have locks, renaming and inotify, by the number that `statfs` gives
/// (<https://man7.org/linux/man-pages/man2/statfs.2.html>, linux/magic.h). FUSE may be anything.
#[cfg(target_os = "linux")]
const LOCAL: [(u32, &str); 13] = [
    (0xef53, "ext2, ext3, ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (TMPFS, "tmpfs"),
    (RAMFS, "ramfs"),
    (0x794c_7630, "overlayfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
    (0xca45_1a4e, "bcachefs"),
    (0x3153_464a, "jfs"),
    (0x5265_4973, "reiserfs"),
    (0x3434, "nilfs2"),
    (0x2405_1905, "ubifs"),
];

/// What a file system is that is not known to be local.
#[cfg(target_os = "linux")]
fn not_local(system: &StatFs) -> Option<String> {
    // The kernel's type is wider on some machines, and signed on others; the numbers have 32 bits.
    let number = system.f_type as u32;
    let local = LOCAL.iter().any(|(known, _)| *known == number);
    (!local).then(|| format!("a file system of type {number:#x} (`stat -f` names it)"))
}

/// Whether a file system is in memory, so that no disk keeps anybody waiting who uses it.
pub(crate) fn is_in_memory(root: &Directory) -> bool {
    #[cfg(target_os = "linux")]
    let is_memory = |system: StatFs| matches!(system.f_type as u32, TMPFS | RAMFS);
    #[cfg(not(target_os = "linux"))]
    let is_memory = |_: StatFs| false;
    fstatfs(root.fd()).is_ok_and(is_memory)
}

/// What a file system is that is not known to be local.
#[cfg(target_os = "macos")]
fn not_local(system: &StatFs) -> Option<String> {
    const MNT_LOCAL: u32 = 0x1000;
    (system.f_flags & MNT_LOCAL == 0).then(|| "a network file system".to_owned())
}

/// Nothing tells.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn not_local(_: &StatFs) -> Option<String> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_those_known_to_be_local_are_accepted() {
        let mut system = rustix::fs::statfs("/proc").unwrap();
        assert_eq!(not_local(&system).unwrap(), "a file system of type 0x9fa0 (`stat -f` names it)");
        for (number, name) in LOCAL {
            // As the kernel gives it: wider, and on some machines signed.
            system.f_type = number as _;
            assert_eq!(not_local(&system), None, "{name}");
        }
        // NFS, SMB, FUSE, 9P, vboxsf, kAFS, vmhgfs, PanFS, StorNext, VxFS.
        for number in [
            0x6969u32,
            0xfe53_4d42,
            0x6573_5546,
            0x0102_1997,
            0x786f_4256,
            0x6b41_4653,
            0xbacb_acbc,
            0xaad7_aaea,
            0xbeef_dead,
            0xa501_fcf5,
        ] {
            system.f_type = number as _;
            let kind = not_local(&system).unwrap();
            assert!(kind.contains(&format!("{number:#x}")), "{kind}");
        }
    }
}

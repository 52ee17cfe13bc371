//! Whom a directory is for: permissions, and links.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use backend_file::{FileLocks, FileOptions};
use lockcore::queue::QueueLocks;
use lockcore::{DistributedLockExt, ErrorKind, LockService, Result};

use support::{connect, directory, entries, files, lock};

/// That what is made is not removed when it is old, for all that honour it.
const STICKY: u32 = if cfg!(target_os = "linux") { 0o1000 } else { 0 };

#[track_caller]
fn assert_mode(path: impl AsRef<Path>, mode: u32) {
    let path = path.as_ref();
    assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, mode, "{}", path.display());
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn what_is_made_is_private_whoever_may_look_into_the_directory() {
    let (_directory, root) = directory();
    let deep = root.join("deep/er");
    let guard = lock(&deep).await.acquire().await.unwrap();
    for made in [&root, &root.join("deep"), &deep] {
        assert_mode(made, 0o700);
    }
    drop(guard);
    fs::remove_dir_all(deep.join("locks")).unwrap();
    // Whoever can open a file for reading can lock it.
    set_mode(&deep, 0o755);
    let _guard = lock(&deep).await.acquire().await.unwrap();
    assert_mode(deep.join("locks"), 0o700);
    assert_mode(deep.join("locks/x"), 0o700);
    assert_mode(deep.join("locks/x/counter"), STICKY | 0o600);
    assert_mode(deep.join("locks/x").join(&entries(deep.join("locks/x"))[0]), STICKY | 0o600);
}

async fn connect_shared(root: &Path) -> Result<QueueLocks> {
    QueueLocks::connect(FileLocks::new(FileOptions::new(root)?.with_shared(true))).await
}

#[tokio::test]
async fn what_others_may_write_is_refused_unless_asked_for() {
    let (_directory, root) = directory();
    fs::create_dir(&root).unwrap();
    // Those who may only read the directory get nothing.
    for (mode, made) in
        [(0o770, 0o770), (0o2770, 0o2770), (0o707, 0o707), (0o1777, 0o1777), (0o775, 0o770), (0o757, 0o707)]
    {
        set_mode(&root, mode);
        assert_refused(connect(&root).await.map(drop), "shared=true");

        let locks = connect_shared(&root).await.unwrap();
        let _guard = locks.exclusive("x").unwrap().acquire().await.unwrap();
        // Whatever the umask is.
        for directory in ["locks", "locks/x"] {
            assert_mode(root.join(directory), made);
        }
        for file in files(root.join("locks/x")) {
            assert_mode(root.join("locks/x").join(file), STICKY | made & 0o666);
        }
        locks.close().await.unwrap();
        fs::remove_dir_all(root.join("locks")).unwrap();
    }
}

#[tokio::test]
async fn a_directory_to_be_shared_is_not_made_for_one_alone() {
    let (_directory, root) = directory();
    let error = connect_shared(&root).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert!(error.to_string().contains("does not exist") && !root.exists(), "{error}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_system_that_may_not_be_local_is_refused_unless_it_is_trusted() {
    let root = Path::new("/proc/self/fdinfo");
    let error = connect(root).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    let message = error.to_string();
    assert!(message.contains("type 0x9fa0") && message.contains("trust_filesystem=true"), "{error}");
    let trusted = FileOptions::new(root).unwrap().with_trust_filesystem(true);
    drop(QueueLocks::connect(FileLocks::new(trusted)).await.expect("nothing else is wrong with it"));
}

#[tokio::test]
async fn a_directory_that_others_can_move_away_is_refused() {
    let (directory, root) = directory();
    let lock = lock(&root).await;
    drop(lock.acquire().await.unwrap());
    set_mode(directory.path(), 0o777);
    let parent = format!("other users may change {}", directory.path().display());
    for refused in [
        connect(&root).await.map(drop),
        connect(&directory.path().join("not/yet")).await.map(drop),
        connect_shared(&root).await.map(drop),
        lock.try_acquire().await.map(drop),
    ] {
        assert_refused(refused, &parent);
    }
    assert!(!directory.path().join("not").exists(), "nothing was made");
    set_mode(directory.path(), 0o1777);
    drop(connect(&root).await.unwrap());
}

#[tokio::test]
async fn permissions_that_are_opened_later_are_noticed() {
    let (_directory, root) = directory();
    let lock = lock(&root).await;
    set_mode(&root, 0o777);
    assert_eq!(lock.acquire().await.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn symbolic_links_are_not_followed() {
    let (directory, root) = directory();
    let link = directory.path().join("link");
    symlink(&root, &link).unwrap();
    let guard = lock(&root).await.acquire().await.unwrap();
    // It is not removed as long as somebody keeps something there.
    File::create_new(root.join("locks/x/notes.txt")).unwrap();
    drop(guard);
    assert_refused(
        connect(&link).await.map(drop),
        "link is not a directory (symbolic links are not followed)",
    );
    // A slash at the end would follow it.
    assert_refused(connect(&link.join("")).await.map(drop), "symbolic links are not followed");

    for place in ["locks/x", "locks", "locks/x/counter"] {
        let (place, real) = (root.join(place), directory.path().join("real"));
        fs::rename(&place, &real).unwrap();
        symlink(&real, &place).unwrap();
        let locks = connect(&root).await.unwrap();
        assert_refused(locks.exclusive("x").unwrap().acquire().await.map(drop), "symbolic link");
        fs::remove_file(&place).unwrap();
        fs::rename(&real, &place).unwrap();
    }
    assert!(lock(&root).await.try_acquire().await.unwrap().is_some());
}

#[track_caller]
fn assert_refused(result: Result<()>, reason: &str) {
    let error = result.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert!(error.to_string().contains(reason), "{error}");
}

#[tokio::test]
async fn a_directory_that_is_a_file_is_named_in_the_error() {
    let (_directory, root) = directory();
    File::create_new(&root).unwrap();
    let error = connect(&root).await.unwrap_err();
    assert!(error.to_string().contains(root.to_str().unwrap()), "{error}");
}

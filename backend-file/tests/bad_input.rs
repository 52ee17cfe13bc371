//! A directory in which anything may stand: no panic, no hang, and either a lock or an error. Two thousand cases of each;
//! `PROPTEST_CASES=1000000 cargo test -p fairlock-backend-file --test bad_input` for more.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use backend_file::FileFactory;
use lockcore::{DistributedLockExt, LockService, Registry};
use proptest::prelude::*;
use proptest::test_runner::Config as Cases;

fn cases() -> Cases {
    let usual = Cases::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => usual,
        None => Cases { cases: 2000, ..usual },
    }
}

/// A place of locks, and the directory of the lock called `a`.
struct Place {
    locks: std::sync::Arc<dyn LockService>,
    runtime: tokio::runtime::Runtime,
    lock: PathBuf,
    _directory: tempfile::TempDir,
}

fn place() -> Place {
    let directory = tempfile::Builder::new().tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let directory = directory.expect("there is a directory for temporary ones");
    let root = directory.path().join("locks");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the system has one");
    let url = format!("file://{}", root.display()).parse().expect("it is a URL");
    let registry = Registry::new().with("file", FileFactory);
    let (locks, lock) = runtime.block_on(async {
        let locks = registry.connect_url(url).await.expect("the directory can be made");
        let guard = locks.exclusive("a").expect("it is a name").acquire().await.expect("it is free");
        let lock = find(&root).expect("a lock that is held has a directory");
        let _ = guard.release().await.expect("it is held");
        (locks, lock)
    });
    Place { locks, runtime, lock, _directory: directory }
}

/// The directory that has a counter and an entry.
fn find(root: &std::path::Path) -> Option<PathBuf> {
    let below = fs::read_dir(root).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    for path in below.filter(|path| path.is_dir()) {
        if path.join("counter").exists() && path.file_name().is_some_and(|name| name == "a") {
            return Some(path);
        }
        if let Some(found) = find(&path) {
            return Some(found);
        }
    }
    None
}

impl Place {
    /// A try is answered: with the lock, with none, or with an error.
    fn is_answered(&self) {
        let answered = self.runtime.block_on(async {
            let lock = self.locks.exclusive("a").expect("it is a name");
            tokio::time::timeout(Duration::from_secs(60), lock.try_acquire()).await
        });
        drop(answered.expect("a try ends"));
    }
}

fn counter() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "[0-9]{0,25}\n(all|some)?( gap)?(\n(ex|sh)-[a-zA-Z0-9]{1,22}-[0-9]{1,22}){0,5}\n{0,3}"
            .prop_map(String::into_bytes),
    ]
}

#[test]
fn counters() {
    let place = place();
    proptest!(cases(), |(said in counter())| {
        fs::create_dir_all(&place.lock).expect("it can be made");
        fs::write(place.lock.join("counter"), &said).expect("it can be written");
        place.is_answered();
        let _ = fs::remove_file(place.lock.join("counter"));
    });
}

#[test]
fn entries() {
    let place = place();
    proptest!(cases(), |(name in "((ex|sh|sem-[0-9]{1,11}-[0-9]{1,11})-[a-zA-Z0-9]{0,24}-[0-9]{0,24})|[^/\0]{1,30}")| {
        fs::create_dir_all(&place.lock).expect("it can be made");
        let path = place.lock.join(&name);
        if name != "." && name != ".." && fs::write(&path, &name).is_ok() {
            place.is_answered();
            let _ = fs::remove_file(path);
        }
    });
}

//! Locks in a directory of their own.

#![allow(dead_code, reason = "not every test needs everything")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backend_file::{FileLocks, FileOptions};
use lockcore::queue::QueueLocks;
use lockcore::{DistributedLock, DistributedLockExt, LockGuard, LockService, Result};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Far more than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

pub(crate) async fn connect(root: &Path) -> Result<QueueLocks> {
    QueueLocks::connect(FileLocks::new(FileOptions::new(root)?)).await
}

pub(crate) async fn lock(root: &Path) -> Arc<dyn DistributedLock> {
    connect(root).await.unwrap().exclusive("x").unwrap()
}

/// An acquisition that waits in the queue, as the last of `length`.
pub(crate) async fn wait(lock: &Arc<dyn DistributedLock>, length: usize) -> JoinHandle<Result<LockGuard>> {
    let waiter = lock.clone();
    let waiting = tokio::spawn(async move { waiter.acquire().await });
    until_queue(lock, length).await;
    waiting
}

pub(crate) async fn until_queue(lock: &Arc<dyn DistributedLock>, length: usize) {
    let there = async { while lock.queue().await.unwrap().len() != length {} };
    in_time(&format!("{length} in the queue"), there).await;
}

pub(crate) fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    (directory, root)
}

/// The directory of a lock, made by somebody with `mkdir` if it is not there. That of a lock which nobody uses goes after a second.
pub(crate) fn directory_of(root: &Path, lock: &str) -> PathBuf {
    let directory = root.join(lock);
    fs::create_dir_all(&directory).unwrap();
    directory
}

pub(crate) async fn until_removed(directory: impl AsRef<Path>) {
    let directory = directory.as_ref();
    let removed = async {
        while directory.exists() {
            tokio::task::yield_now().await;
        }
    };
    in_time(&format!("{} is removed", directory.display()), removed).await;
}

/// The entries of a lock, or what will be one.
pub(crate) fn entries(path: impl AsRef<Path>) -> Vec<String> {
    let mut files = files(path);
    files.retain(|name| name != "counter");
    files
}

pub(crate) fn files(path: impl AsRef<Path>) -> Vec<String> {
    let files = fs::read_dir(path).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    files
}

//! What is peculiar to a directory: other processes, leftovers, and somebody with `rm` and `mv`.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lockcore::{
    AcquireOptions, DistributedLock, DistributedLockExt, ErrorKind, LockGuard, LockService, Loss, Released,
    Result,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use support::{
    connect, directory, directory_of, entries, files, in_time, lock, until_queue, until_removed, wait,
};

const ROOT: &str = "BACKEND_FILE_TEST_ROOT";
/// Whether the other process gives the descriptor of its guard to a process of its own.
const HEIR: &str = "BACKEND_FILE_TEST_HEIR";

/// Not a test: what [`Other`] runs. Holds the lock until it is killed.
#[test]
fn as_another_process() {
    let Ok(root) = std::env::var(ROOT) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        println!("\nwaiting");
        let guard = lock(Path::new(&root)).await.acquire().await.unwrap();
        println!("\nholding {}", guard.fencing_token());
        if std::env::var_os(HEIR).is_some() {
            let descriptor = guard.descriptor().unwrap().expect("a file");
            let heir = Command::new("sleep").arg("60").stdin(descriptor).spawn().unwrap();
            println!("\nheir {}", heir.id().unwrap());
        }
        println!("\nlost {}", guard.lost().await);
    });
}

/// Another process that takes the lock.
struct Other {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Other {
    fn start(root: &Path) -> Self {
        Self::started(Self::command(root))
    }

    fn command(root: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "as_another_process", "--nocapture"]).env(ROOT, root);
        command
    }

    fn started(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// What follows on the line that begins like this.
    async fn says(&mut self, beginning: &str) -> String {
        let said = async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("it goes on");
                if let Some(rest) = line.strip_prefix(beginning) {
                    return rest.trim().to_owned();
                }
            }
        };
        in_time(beginning, said).await
    }

    async fn holding(root: &Path) -> (Self, u64) {
        let mut other = Self::start(root);
        let token = other.says("holding").await.parse().unwrap();
        (other, token)
    }

    /// What it has open, as the system names that.
    fn open_files(&self) -> Vec<String> {
        let files = fs::read_dir(format!("/proc/{}/fd", self.child.id().unwrap())).unwrap();
        let links = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
        links.map(|link| link.to_string_lossy().into_owned()).collect()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_makes_room() {
    let (_directory, root) = directory();
    let lock = lock(&root).await;
    let (holder, token) = Other::holding(&root).await;
    let mut killed = Other::start(&root);
    until_queue(&lock, 2).await;
    let waiting = wait(&lock, 3).await;

    killed.signal(Signal::KILL);
    in_time("the waiter dies", killed.child.wait()).await.unwrap();
    until_queue(&lock, 2).await;
    assert!(!waiting.is_finished());
    holder.signal(Signal::KILL);
    let guard = in_time("the lock is free", waiting).await.unwrap().unwrap();
    assert!(guard.fencing_token().get() > token);
    assert_eq!(entries(root.join("locks/x")).len(), 1, "dead entries are removed");
}

#[tokio::test]
async fn however_many_processes_wait_a_killed_holder_makes_room_for_the_next() {
    // The system gives a user 128 instances of inotify.
    const PROCESSES: usize = 140;
    let (_directory, root) = directory();
    let lock = lock(&root).await;
    let (holder, token) = Other::holding(&root).await;
    let mut next = Other::start(&root);
    until_queue(&lock, 2).await;
    let crowd: Vec<_> = (2..PROCESSES).map(|_| Other::start(&root)).collect();
    until_queue(&lock, PROCESSES).await;
    let open: Vec<_> = crowd.iter().flat_map(Other::open_files).collect();
    assert!(open.len() > PROCESSES && !open.iter().any(|file| file.contains("inotify")), "{open:?}");

    holder.signal(Signal::KILL);
    let given: u64 = next.says("holding").await.parse().unwrap();
    assert!(given > token);
    let queue = lock.queue().await.unwrap();
    assert_eq!(queue.len(), PROCESSES - 1);
    assert!(queue[0].holds && queue[0].token.get() == given, "{:?}", queue[0]);
    assert!(queue[1..].iter().all(|entry| !entry.holds));
    drop(crowd);
}

#[tokio::test]
async fn a_stopped_process_holds_on() {
    let (_directory, root) = directory();
    let lock = lock(&root).await;
    let (mut holder, _) = Other::holding(&root).await;
    holder.signal(Signal::STOP);
    let waiting = wait(&lock, 2).await;
    // Longer than anything here looks again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!waiting.is_finished(), "a stopped process was taken for dead");
    assert!(lock.queue().await.unwrap()[0].holds);

    // It was stopped and goes on, nothing else.
    holder.signal(Signal::CONT);
    assert!(lock.try_acquire().await.unwrap().is_none());
    assert!(!waiting.is_finished());
    holder.signal(Signal::STOP);
    holder.signal(Signal::KILL);
    drop(in_time("the lock is free", waiting).await.unwrap().unwrap());
    in_time("the holder is dead", holder.child.wait()).await.unwrap();
}

#[tokio::test]
async fn whoever_has_the_descriptor_of_a_killed_holder_holds_on() {
    let (_directory, root) = directory();
    let lock = lock(&root).await;
    let mut command = Other::command(&root);
    command.env(HEIR, "yes");
    let mut holder = Other::started(command);
    let heir: i32 = holder.says("heir").await.parse().unwrap();
    holder.signal(Signal::KILL);
    in_time("the holder is dead", holder.child.wait()).await.unwrap();
    let waiting = wait(&lock, 2).await;
    assert!(lock.queue().await.unwrap()[0].holds);
    assert!(lock.try_acquire().await.unwrap().is_none());
    kill_process(Pid::from_raw(heir).unwrap(), Signal::KILL).unwrap();
    drop(in_time("the lock is free", waiting).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_release_frees_the_lock_whoever_has_the_descriptor() {
    let (_directory, root) = directory();
    let (one, two) = (lock(&root).await, lock(&root).await);
    let guard = one.acquire().await.unwrap();
    let inherited = guard.descriptor().unwrap().expect("a file");
    let entry = File::open(root.join("locks/x").join(entries(root.join("locks/x")).remove(0))).unwrap();
    entry.try_lock_shared().expect_err("it is held");
    let waiting = wait(&two, 2).await;
    assert_eq!(guard.release().await.unwrap(), Released::Held);
    drop(in_time("the lock is free", waiting).await.unwrap().unwrap());
    entry.try_lock_shared().expect("nobody has the kernel's lock");
    drop(inherited);
}

#[tokio::test]
async fn whoever_meets_a_dead_entry_removes_it() {
    let (_directory, root) = directory();
    let locks = connect(&root).await.unwrap();
    let (lock, semaphore) = (locks.exclusive("x").unwrap(), locks.semaphore("x", 2).unwrap());
    for directory in ["locks/x", "semaphores/x"] {
        directory_of(&root, directory);
    }
    for dead in [
        "locks/x/ex-a-00000000000000000001",
        "locks/x/sh-b-00000000000000000002",
        "semaphores/x/sem-3-3-c-00000000000000000001",
        "semaphores/x/sem-2-2-d-00000000000000000002",
    ] {
        File::create_new(root.join(dead)).unwrap();
    }
    for (lock, directory) in [(lock, "locks/x"), (semaphore, "semaphores/x")] {
        let guard = lock.try_acquire().await.unwrap().expect("the dead don't hold");
        assert_eq!(lock.queue().await.unwrap().len(), 1);
        guard.verify().await.unwrap();
        assert_eq!(entries(root.join(directory)).len(), 1);
    }
}

#[tokio::test]
async fn those_who_ask_do_not_take_one_another_for_the_owner() {
    let (_directory, root) = directory();
    let lock = lock(&root).await;
    let dead = directory_of(&root, "locks/x").join("ex-a-00000000000000000001");
    let dead = File::create_new(dead).unwrap();
    dead.try_lock_shared().expect("it is dead");
    assert!(lock.try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn cleanup_removes_what_the_dead_left_and_nothing_of_strangers() {
    let (_directory, root) = directory();
    let locks = connect(&root).await.unwrap();
    let used = locks.exclusive("used").unwrap().acquire().await.unwrap();
    for left in ["dead/ex-a-00000000000000000001", "unfinished/.new-a", "strange/notes.txt"] {
        let (name, file) = left.split_once('/').unwrap();
        File::create_new(directory_of(&root, &format!("locks/{name}")).join(file)).unwrap();
    }
    let name = "long".repeat(100);
    let guard = locks.exclusive(&name).unwrap().acquire().await.unwrap();
    let digest = files(root.join("locks")).into_iter().find(|name| name.starts_with('=')).unwrap();
    assert_eq!(guard.release().await.unwrap(), Released::Held);
    until_removed(root.join("locks").join(&digest)).await;
    fs::write(directory_of(&root, &format!("locks/{digest}")).join("name"), name).unwrap();
    // Of those who were killed while they made something that nobody was to see before it was ready.
    File::create_new(root.join(".new-a")).unwrap();
    for left in [".new-b", "locks/.new-c"] {
        fs::create_dir(root.join(left)).unwrap();
    }
    assert_eq!(locks.names().await.unwrap().len(), 5);
    assert_eq!(locks.cleanup().await.unwrap(), 3);
    assert_eq!(files(&root), ["counter", "locks"]);
    assert_eq!(files(root.join("locks")), ["strange", "used"]);
    assert_eq!(files(root.join("locks/strange")), ["counter", "notes.txt"]);
    used.verify().await.unwrap();
}

async fn assert_all_lost(
    guard: LockGuard,
    waiting: JoinHandle<Result<LockGuard>>,
    lock: &Arc<dyn DistributedLock>,
) {
    assert_eq!(in_time("the holder is told", guard.lost()).await, Loss::Removed);
    let waiter = in_time("the waiter is told", waiting).await.unwrap();
    assert_eq!(waiter.unwrap_err().kind(), ErrorKind::EntryRemoved);
    let next = in_time("the next", lock.acquire()).await.unwrap();
    assert!(next.fencing_token() > guard.fencing_token(), "the token fell");
    next.verify().await.unwrap();
}

#[tokio::test]
async fn a_directory_removed_underneath_is_a_loss() {
    let (_directory, root) = directory();
    let (one, two) = (lock(&root).await, lock(&root).await);
    for removed in [root.clone(), root.join("locks"), root.join("locks/x")] {
        let guard = one.acquire().await.unwrap();
        let waiting = wait(&two, 2).await;
        fs::remove_dir_all(removed).unwrap();
        assert_all_lost(guard, waiting, &two).await;
        until_queue(&one, 0).await;
    }
}

#[tokio::test]
async fn a_directory_moved_away_is_a_loss() {
    let (directory, root) = directory();
    let (one, two) = (lock(&root).await, lock(&root).await);
    let guard = one.acquire().await.unwrap();
    let waiting = wait(&two, 2).await;
    fs::rename(&root, directory.path().join("elsewhere")).unwrap();
    assert_all_lost(guard, waiting, &two).await;
}

#[tokio::test]
async fn a_copy_of_an_entry_holds_nothing() {
    let (_directory, root) = directory();
    let lock = lock(&root).await;
    let guard = lock.acquire().await.unwrap();
    let entry = root.join("locks/x").join(&entries(root.join("locks/x"))[0]);
    assert!(
        Command::new("cp").arg("-R").args([&entry, &root.join("copy")]).status().await.unwrap().success()
    );
    // As after a backup is put back.
    fs::rename(root.join("copy"), &entry).unwrap();
    assert_eq!(in_time("the holder is told", guard.lost()).await, Loss::Removed);
    assert!(lock.try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn long_names_live_under_their_digest() {
    let (_directory, root) = directory();
    let locks = connect(&root).await.unwrap();
    let names = ["long".repeat(100), "long".repeat(101), "/".repeat(200)];
    let mut guards = Vec::new();
    for name in &names {
        guards.push(locks.exclusive(name).unwrap().try_acquire().await.unwrap().expect("a lock of its own"));
        let options = AcquireOptions::new().with_wait(lockcore::Wait::Never);
        assert!(locks.exclusive(name).unwrap().acquire_with(&options).await.unwrap().is_none());
    }
    let directories = files(root.join("locks"));
    assert!(directories.iter().all(|name| name.starts_with('=') && name.len() == 65), "{directories:?}");
    let mut listed: Vec<_> = locks.names().await.unwrap().iter().map(|key| key.name.to_string()).collect();
    listed.sort();
    assert_eq!(listed, {
        let mut names = names.to_vec();
        names.sort();
        names
    });

    // A process that died while it wrote the name.
    fs::write(root.join("locks").join(&directories[0]).join("name"), "lo").unwrap();
    assert_eq!(locks.names().await.unwrap().len(), 2);
    for name in &names {
        assert!(locks.exclusive(name).unwrap().try_acquire().await.unwrap().is_none());
    }
    assert_eq!(locks.names().await.unwrap().len(), 3);
    drop(guards);
    for directory in directories {
        until_removed(root.join("locks").join(directory)).await;
    }
}

//! One session against another, without the core.

use std::path::Path;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lockcore::{EntryKind, Family, LockName};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;
use crate::counter::Counter;
use crate::directory::{Directory, Lock, lock, unlock};
use crate::options::FileOptions;

fn session(root: &tempfile::TempDir) -> FileSession {
    FileSession::new(Root::new(FileOptions::new(root.path()).unwrap()))
}

fn key() -> LockKey {
    LockKey { family: Family::Lock, name: LockName::new("x").unwrap() }
}

async fn enqueue(session: &FileSession) -> (EntryId, Standing) {
    let entry = Entry { id: EntryId::random(), kind: EntryKind::Exclusive, label: "label".into() };
    (entry.id.clone(), session.enqueue(&key(), &entry).await.unwrap().standing)
}

/// How many there are in the directory of the lock, but for the counter.
fn files(root: &tempfile::TempDir) -> usize {
    std::fs::read_dir(root.path().join("locks/x")).unwrap().count() - 1
}

/// Whether a watch on another session's entry returns when that leaves, and not before.
async fn wakes(waiter: FileSession, root: &tempfile::TempDir) {
    let holder = session(root);
    let (held, _) = enqueue(&holder).await;
    let (waiting, standing) = enqueue(&waiter).await;
    assert!(matches!(standing, Standing::Waits { .. }));
    let (lock, ids) = (key(), [held.clone()]);
    let mut watch = std::pin::pin!(waiter.watch(&lock, &waiting, &ids, Revision::default()));
    let early = tokio::time::timeout(2 * RECHECK, &mut watch).await;
    assert!(early.is_err(), "woken while the entry is there");
    assert_eq!(holder.remove(&key(), &held).await.unwrap(), Removed::Now);
    tokio::time::timeout(Duration::from_secs(60), watch).await.expect("woken in the end").unwrap();
}

#[tokio::test]
async fn a_departure_wakes() {
    let root = tempfile::tempdir().unwrap();
    wakes(session(&root), &root).await;
}

const OTHER: &str = "ex-a-00000000000000000001";

/// An entry of somebody else, in a file of this kind.
fn entry_of_another(root: &tempfile::TempDir, fifo: bool) -> std::fs::File {
    let directory = root.path().join("locks/x");
    let file = match fifo {
        true => Directory::open(&directory).unwrap().unwrap().make_fifo(OTHER).unwrap().unwrap(),
        false => std::fs::File::create_new(directory.join(OTHER)).unwrap(),
    };
    assert!(lock(&file, Lock::Exclusive).unwrap());
    // Which does not know of it.
    std::fs::remove_file(directory.join("counter")).unwrap();
    file
}

/// Whether a waiter is let in by the end of an entry of which nobody tells it.
async fn is_let_in(fifo: bool, end: impl FnOnce(std::fs::File, &Path) -> Option<std::fs::File>) {
    let root = tempfile::tempdir().unwrap();
    let waiter = session(&root);
    let (id, _) = enqueue(&waiter).await;
    waiter.remove(&key(), &id).await.unwrap();
    let other = entry_of_another(&root, fifo);
    let (id, Standing::Waits { wake, .. }) = enqueue(&waiter).await else { panic!("it does not wait") };
    let lock = key();
    let mut watch = std::pin::pin!(waiter.watch(&lock, &id, &wake, Revision::default()));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut watch).await;
    assert!(early.is_err(), "woken while the entry is there");
    let kept = end(other, &root.path().join("locks/x").join(OTHER));
    let standing = tokio::time::timeout(Duration::from_secs(60), watch).await.expect("woken in the end");
    assert_eq!(standing.unwrap(), Some(Standing::Holds));
    drop(kept);
}

#[tokio::test]
async fn an_entry_that_cannot_ring_is_looked_at_again() {
    is_let_in(false, |file, _| {
        drop(file);
        None
    })
    .await;
}

#[tokio::test]
async fn an_entry_that_was_given_back_without_a_word_is_looked_at_again() {
    is_let_in(true, |file, _| {
        unlock(&file);
        Some(file)
    })
    .await;
}

/// Its owner has it open still, but it stands in the queue no more.
#[tokio::test]
async fn an_entry_whose_file_was_removed_by_hand_is_not_waited_for() {
    is_let_in(true, |file, path| {
        std::fs::remove_file(path).unwrap();
        Some(file)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_a_thousand_waiters_none_looks_anything_up_while_nothing_happens() {
    const SESSIONS: usize = 300;
    const WAITERS: usize = 1050;
    const TIME: Duration = Duration::from_secs(60);
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let root = tempfile::tempdir().unwrap();
    let sessions: Vec<_> = (0..SESSIONS).map(|_| session(&root)).collect();
    enqueue(&sessions[0]).await;
    let (lock, polls) = (key(), std::cell::Cell::new(0));
    let mut watches = FuturesUnordered::new();
    for number in 0..WAITERS {
        let waiter = &sessions[number % SESSIONS];
        let (id, Standing::Waits { wake, .. }) = enqueue(waiter).await else { panic!("it does not wait") };
        let (lock, polls) = (&lock, &polls);
        // Without a budget: what is used up by others of this task is no reason of theirs to look.
        watches.push(tokio::task::unconstrained(async move {
            let mut watch = waiter.watch(lock, &id, &wake, Revision::default());
            let counted = std::future::poll_fn(|context| {
                polls.set(polls.get() + 1);
                watch.as_mut().poll(context)
            });
            counted.await
        }));
    }
    let early = tokio::time::timeout(TIME, watches.next()).await;
    assert!(early.is_err(), "woken while all are there");
    // When it begins, and after 2, 6, 14 and 30 seconds: for the timer, and for what the owner wrote before, which is seen by each watch
    // that is set. No work is given to another thread.
    let most = 2 * WAITERS * 5;
    assert!(polls.get() <= most, "woken {} times", polls.get());
}

#[tokio::test]
async fn a_directory_that_is_moved_away_wakes_although_nothing_tells() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let session = || FileSession::new(Root::new(FileOptions::new(&root).unwrap()));
    let (holder, waiter) = (session(), session());
    let (held, _) = enqueue(&holder).await;
    let (lock, ids) = (key(), [held]);
    let mut watch = std::pin::pin!(waiter.watch(&lock, &ids[0], &ids, Revision::default()));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut watch).await;
    assert!(early.is_err(), "woken while the entry is there");
    std::fs::rename(&root, directory.path().join("elsewhere")).unwrap();
    tokio::time::timeout(Duration::from_secs(60), watch).await.expect("woken in the end").unwrap();
}

#[tokio::test]
async fn an_enqueue_dropped_while_another_process_keeps_the_counter_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let session = session(&root);
    let (id, _) = enqueue(&session).await;
    session.remove(&key(), &id).await.unwrap();
    let counter = std::fs::File::open(root.path().join("locks/x/counter")).unwrap();
    counter.try_lock().unwrap();

    let files = || files(&root);
    let entry = Entry { id: EntryId::random(), kind: EntryKind::Exclusive, label: "".into() };
    let lock = key();
    {
        let mut enqueue = std::pin::pin!(session.enqueue(&lock, &entry));
        let prepared = async {
            while files() == 0 {
                tokio::time::sleep(SHORTEST).await
            }
        };
        tokio::select! {
            _ = &mut enqueue => panic!("the counter is locked"),
            () = prepared => {}
        }
    }
    assert_eq!(session.remove(&lock, &entry.id).await.unwrap(), Removed::Absent);
    assert_eq!(files(), 0);
}

#[tokio::test]
async fn a_ticket_of_a_counter_that_was_replaced_makes_no_entry() {
    let root = tempfile::tempdir().unwrap();
    let session = session(&root);
    let (id, _) = enqueue(&session).await;
    session.remove(&key(), &id).await.unwrap();
    let (directory, queue) =
        (session.entries.root.open().unwrap().unwrap(), session.entries.root.queue(&key()).unwrap().unwrap());
    let entry = Entry { id: EntryId::random(), kind: EntryKind::Exclusive, label: "".into() };

    // As a process that is stopped just before it adds its entry, and goes on when others have taken over.
    let prepared = queue.prepare(&entry).unwrap().unwrap();
    let counter = Counter::take(queue.directory()).unwrap().unwrap();
    let (other, standing) = enqueue(&session).await;
    assert_eq!(standing, Standing::Holds);
    assert!(
        queue.append(prepared, &entry, &counter, &directory).unwrap().is_none(),
        "the counter is another"
    );
    assert_eq!(session.look(&key(), &other).await.unwrap(), Standing::Holds);
    assert_eq!(session.list(&key()).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn enqueueing_again_finds_the_first_entry() {
    let root = tempfile::tempdir().unwrap();
    let session = session(&root);
    let entry = Entry { id: EntryId::random(), kind: EntryKind::Shared, label: "".into() };
    let first = session.enqueue(&key(), &entry).await.unwrap();
    enqueue(&session).await;
    assert_eq!(session.enqueue(&key(), &entry).await.unwrap(), first);
    assert_eq!(session.list(&key()).await.unwrap().entries.len(), 2);
}

#[tokio::test]
async fn a_removal_waits_for_the_making_that_nobody_waits_for() {
    let root = tempfile::tempdir().unwrap();
    let session = session(&root);
    for polls in 1..20 {
        let entry = Entry { id: EntryId::random(), kind: EntryKind::Exclusive, label: "".into() };
        let (lock, mut left) = (key(), polls);
        let mut enqueue = std::pin::pin!(session.enqueue(&lock, &entry));
        std::future::poll_fn(|context| {
            left -= 1;
            let ready = enqueue.as_mut().poll(context).is_ready();
            if ready || left == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        session.remove(&lock, &entry.id).await.unwrap();
        let left = session.list(&lock).await.unwrap().entries;
        assert_eq!(left, [], "after {polls} polls");
    }
}

#[test]
fn a_session_ends_with_its_runtime() {
    let root = tempfile::tempdir().unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let kept = first.block_on(async {
        let kept = session(&root);
        enqueue(&kept).await;
        kept
    });
    assert_eq!(kept.lease().loss(), None);
    drop(first);
    assert_eq!(kept.lease().loss(), Some(Loss::Abandoned));
    runtime().block_on(async {
        assert_eq!(session(&root).list(&key()).await.unwrap().entries, []);
    });
}

#[tokio::test]
async fn a_session_that_is_dropped_takes_its_entries_with_it() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (session(&root), session(&root));
    enqueue(&one).await;
    assert_eq!(two.list(&key()).await.unwrap().entries.len(), 1);
    drop(one);
    assert_eq!(two.list(&key()).await.unwrap().entries, []);
    assert!(!root.path().join("locks/x").exists(), "nothing is left either");
}

#[tokio::test]
async fn the_root_is_opened_once_until_another_is_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let session = FileSession::new(Root::new(FileOptions::new(&root).unwrap()));
    let take = async || {
        let (id, _) = enqueue(&session).await;
        session.remove(&key(), &id).await.unwrap();
        session.entries.root.open().unwrap().unwrap()
    };
    let first = take().await;
    assert!(Arc::ptr_eq(&first, &take().await));
    std::fs::rename(&root, directory.path().join("elsewhere")).unwrap();
    assert!(!Arc::ptr_eq(&first, &take().await));
}

#[tokio::test]
async fn a_directory_that_was_used_lately_is_not_removed() {
    let root = tempfile::tempdir().unwrap();
    let session = session(&root);
    let (id, _) = enqueue(&session).await;
    session.remove(&key(), &id).await.unwrap();
    let remove = |lately| session.entries.root.remove_unused(vec![key()], lately);
    assert_eq!(remove(Duration::from_secs(3600)), []);
    assert_eq!(files(&root), 0, "and the counter is there");
    let counter = std::fs::File::open(root.path().join("locks/x/counter")).unwrap();
    counter.try_lock().unwrap();
    assert_eq!(remove(Duration::ZERO), [key()], "somebody is at work there");
    drop(counter);
    assert_eq!(remove(Duration::ZERO), []);
    assert!(!root.path().join("locks/x").exists());
}

#[tokio::test]
async fn a_remover_that_was_passed_by_removes_nothing_of_others() {
    let root = tempfile::tempdir().unwrap();
    let session = session(&root);
    let (id, _) = enqueue(&session).await;
    session.remove(&key(), &id).await.unwrap();
    let directory = session.entries.root.open().unwrap().unwrap();
    let queue = session.entries.root.queue(&key()).unwrap().unwrap();
    let counter = Counter::take(queue.directory()).unwrap().unwrap();
    let (place, copy) = (root.path().join("locks/x/counter"), root.path().join("locks/x/copy"));
    std::fs::copy(&place, &copy).unwrap();
    std::fs::rename(copy, &place).unwrap();
    assert!(queue.retire(&counter, &directory).unwrap());
    assert!(place.exists());
}

#[tokio::test]
async fn a_directory_is_removed_when_its_last_ticket_is_kept_and_not_before() {
    let root = tempfile::tempdir().unwrap();
    let session = session(&root);
    let (id, _) = enqueue(&session).await;
    session.remove(&key(), &id).await.unwrap();
    let remove = || session.entries.root.remove_unused(vec![key()], Duration::ZERO);
    let directory = session.entries.root.open().unwrap().unwrap();
    let all = Counter::take(&directory).unwrap().unwrap();
    assert_eq!(remove(), [key()], "another remover is at work");
    all.give(u64::MAX - 1, None).unwrap();
    assert_eq!(remove(), [], "a larger one is kept, and nobody has to be waited for");
    assert!(!root.path().join("locks/x").exists());
}

#[tokio::test]
async fn whoever_closes_a_session_has_nothing_left_whoever_else_does() {
    let root = tempfile::tempdir().unwrap();
    let session = session(&root);
    enqueue(&session).await;
    let there = || root.path().join("locks/x").exists();
    let close = async || {
        session.close().await.unwrap();
        there()
    };
    assert_eq!(tokio::join!(close(), close()), (false, false));
}

#[tokio::test]
async fn a_watch_that_is_set_again_finds_what_nobody_told() {
    let root = tempfile::tempdir().unwrap();
    let (holder, waiter) = (session(&root), session(&root));
    let (held, _) = enqueue(&holder).await;
    let (waiting, _) = enqueue(&waiter).await;
    let (lock, ids) = (key(), [held, waiting.clone()]);
    let path = waiter.entries.root.path(&lock, &waiting).unwrap().unwrap();
    std::fs::remove_file(path).unwrap();
    let watch = waiter.watch(&lock, &waiting, &ids, Revision::default());
    let standing = tokio::time::timeout(Duration::from_secs(60), watch).await.expect("it asks at once");
    assert_eq!(standing.unwrap(), Some(Standing::Absent));
}

#[tokio::test]
async fn an_entry_that_somebody_takes_away_wakes_whoever_waits_for_it_although_its_owner_does_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (holder, waiter) = (session(&root), session(&root));
    let (held, _) = enqueue(&holder).await;
    let (waiting, _) = enqueue(&waiter).await;
    // As of somebody who has waited for long, and looks for nothing by itself.
    let (lock, ids) = (key(), [held.clone(), waiting.clone()]);
    let mut watch = std::pin::pin!(waiter.watch(&lock, &waiting, &ids, Revision::default()));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut watch).await;
    assert!(early.is_err(), "woken while the entry is there");
    assert_eq!(waiter.evict(&lock, &held).await.unwrap(), Removed::Now);
    let standing = tokio::time::timeout(Duration::from_secs(60), watch).await.expect("woken");
    assert_eq!(standing.unwrap(), Some(Standing::Holds));
}

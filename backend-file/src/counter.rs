//! Tickets: who comes when, and behind whom.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

use lockcore::{ErrorKind, Result};
use rustix::fs::fstat;

use crate::ahead::Ahead;
use crate::directory::{Directory, Lock, lock};
use crate::error::refused;
use crate::layout::{COUNTER, ticket};

/// The right to add entries to a directory, until it is dropped. One process at a time has it, and none may
/// dawdle: of one that is stopped just then the others [take it away](replace).
#[derive(Debug)]
pub(crate) struct Counter<'d> {
    directory: &'d Directory,
    file: File,
}

/// What a counter says.
#[derive(Debug)]
pub(crate) struct Said {
    /// The ticket that was given away last; 0 if it has given none.
    pub(crate) last: u64,
    /// The last entries of the queue, unless somebody wrote the ticket alone.
    pub(crate) queue: Option<Ahead>,
}

impl<'d> Counter<'d> {
    /// Takes the right; `None` if somebody else has it, or the file has just been replaced, or the directory removed.
    pub(crate) fn take(directory: &'d Directory) -> Result<Option<Self>> {
        match directory.change(COUNTER)? {
            Some(file) => Self::of(directory, file),
            None => Self::make(directory),
        }
    }

    /// The same where there was none. Of all who make one at the same time the first has the right, and keeps it.
    fn make(directory: &'d Directory) -> Result<Option<Self>> {
        directory.publish_first(COUNTER, &text(0, None))?;
        directory.change(COUNTER)?.map_or(Ok(None), |file| Self::of(directory, file))
    }

    fn of(directory: &'d Directory, file: File) -> Result<Option<Self>> {
        let locked =
            lock(&file, Lock::Exclusive).map_err(|errno| directory.failed("lock", COUNTER, errno))?;
        let counter = Self { directory, file };
        Ok((locked && counter.counts()?).then_some(counter))
    }

    /// Whether this still is the file that everybody takes. What is added when it no longer is does not count: others
    /// have the right meanwhile.
    pub(crate) fn counts(&self) -> Result<bool> {
        self.directory.is(COUNTER, &self.file)
    }

    /// What it says.
    pub(crate) fn said(&self) -> Result<Said> {
        said(self.directory, &self.file)
    }

    /// The ticket after the largest that was ever given away here.
    ///
    /// Never behind the clock, so that they rise even if the file is removed, or lost in a crash: it is not synced.
    pub(crate) fn next(&self, largest: u64) -> Result<u64> {
        let next = largest.checked_add(1).ok_or_else(|| {
            let reason = format!(
                "or an entry carries the largest ticket that there is, {largest}: remove it, and the entry, when nobody uses \
                 these locks; tickets then go on from the clock"
            );
            refused(ErrorKind::Backend, &self.directory.path().join(COUNTER), &reason)
        })?;
        Ok(next.max(now()))
    }

    /// Gives a ticket away. It is the last entry of this queue that has it, or will have.
    ///
    /// Who is killed or stopped before he has added it leaves the name of an entry that never lives. Who comes to the new
    /// file after the old one was taken away reads nothing here, but the directory.
    pub(crate) fn give(&self, ticket: u64, queue: Option<&Ahead>) -> Result<()> {
        // At most a page. Once that is there, it needs no more room on a disk that is full.
        let written = self.file.write_all_at(text(ticket, queue).as_bytes(), 0);
        written.map_err(|error| self.directory.failed("write", COUNTER, error))
    }
}

/// The ticket that was given away last; 0 if there is no counter.
pub(crate) fn last(directory: &Directory) -> Result<u64> {
    directory.read(COUNTER)?.map_or(Ok(0), |file| Ok(said(directory, &file)?.last))
}

fn said(directory: &Directory, file: &File) -> Result<Said> {
    let mut page = [0; 4096];
    let length = file.read_at(&mut page, 0).map_err(|error| directory.failed("read", COUNTER, error))?;
    // It was made just before a crash.
    if length == 0 {
        return Ok(Said { last: 0, queue: None });
    }
    // What follows after a queue was written earlier, and may be cut.
    let page = page[..length].utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let ticket_and_rest = page.split_once('\n').and_then(|(line, rest)| Some((ticket(line)?, rest)));
    let (last, rest) = ticket_and_rest.ok_or_else(|| {
        let reason = "does not hold a ticket: remove it, and tickets go on from the clock";
        refused(ErrorKind::Backend, &directory.path().join(COUNTER), reason)
    })?;
    Ok(Said { last, queue: Ahead::parse(rest) })
}

fn text(ticket: u64, queue: Option<&Ahead>) -> String {
    // An empty line is no queue.
    let queue = queue.and_then(Ahead::text).unwrap_or_else(|| "\n".to_owned());
    format!("{ticket:020}\n{queue}")
}

/// What tells whether anybody makes progress: which file it is, and what it says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    inode: u64,
    last: u64,
}

/// How far the counter is; `None` if there is none.
pub(crate) fn progress(directory: &Directory) -> Result<Option<Progress>> {
    let Some(file) = directory.read(COUNTER)? else { return Ok(None) };
    let stat = fstat(&file).map_err(|errno| directory.failed("examine", COUNTER, errno))?;
    Ok(Some(Progress { inode: stat.st_ino, last: said(directory, &file)?.last }))
}

/// Takes the right away from the process that has it, if it has made no progress since.
///
/// That process still has the old file locked. Should it go on, what it adds [does not count](Counter::counts), and it
/// begins anew.
pub(crate) fn replace(directory: &Directory, since: &[Progress]) -> Result<()> {
    let Some(file) = directory.read(COUNTER)? else { return Ok(()) };
    let idle = lock(&file, Lock::Shared).map_err(|errno| directory.failed("lock", COUNTER, errno))?;
    let now = progress(directory)?;
    let Some(since) = now.filter(|now| !idle && since.contains(now)) else { return Ok(()) };
    let (counter, process) = (directory.path().join(COUNTER), keeper(&file));
    let counter = counter.display();
    match directory.publish(COUNTER, &text(since.last, None)) {
        Ok(_) => {
            tracing::warn!(%counter, process, "a process that kept the counter locked, perhaps stopped, is passed by")
        }
        // In a directory with the sticky bit, it is the other user's.
        Err(error) => {
            tracing::warn!(%counter, process, %error, "a process keeps the counter locked, perhaps a stopped one")
        }
    }
    Ok(())
}

/// The process that has locked this file, if the system tells.
fn keeper(file: &File) -> Option<u64> {
    let stat = fstat(file).ok()?;
    let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    let inode = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
    // Such as `1: FLOCK  ADVISORY  WRITE 708 08:02:1310 0 EOF`: proc_locks(5).
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let mut lines = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let words = lines.find(|words| words.get(5) == Some(&&*inode))?;
    // One in another container has none.
    words[4].parse().ok().filter(|process| *process > 0)
}

/// The time of day in microseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn root() -> (tempfile::TempDir, Directory) {
        let directory = tempfile::tempdir().unwrap();
        let root = Directory::open(directory.path()).unwrap().unwrap();
        (directory, root)
    }

    fn next(root: &Directory, last_entry: u64) -> Result<u64> {
        give(&Counter::take(root)?.expect("nobody else has it"), last_entry)
    }

    fn give(counter: &Counter<'_>, last_entry: u64) -> Result<u64> {
        let next = counter.next(counter.said()?.last.max(last_entry))?;
        counter.give(next, None)?;
        Ok(next)
    }

    #[test]
    fn one_at_a_time() {
        let (_directory, root) = root();
        let counter = Counter::take(&root).unwrap().unwrap();
        assert!(Counter::take(&root).unwrap().is_none());
        drop(counter);
        assert!(Counter::take(&root).unwrap().is_some());
    }

    #[test]
    fn of_two_who_find_no_counter_the_first_keeps_the_right() {
        let (_directory, root) = root();
        let first = Counter::take(&root).unwrap().unwrap();
        assert!(Counter::make(&root).unwrap().is_none());
        assert!(first.counts().unwrap());
        assert_eq!(root.names().unwrap(), [COUNTER]);
    }

    #[test]
    fn never_behind_the_clock_nor_an_entry_and_never_twice() {
        const FUTURE: u64 = 4_000_000_000_000_000;
        let (directory, root) = root();
        let before = now();
        let first = next(&root, 0).unwrap();
        assert!(first >= before);
        assert!(next(&root, 0).unwrap() > first);
        fs::write(directory.path().join(COUNTER), text(FUTURE, None)).unwrap();
        assert_eq!(next(&root, 0).unwrap(), FUTURE + 1);
        assert_eq!(next(&root, FUTURE).unwrap(), FUTURE + 2);
        assert_eq!(next(&root, FUTURE + 7).unwrap(), FUTURE + 8);
        assert_eq!(next(&root, 0).unwrap(), FUTURE + 9);
    }

    #[test]
    fn a_counter_that_was_emptied_is_behind_no_entry() {
        let (directory, root) = root();
        let last_entry = 2 * now();
        fs::write(directory.path().join(COUNTER), "").unwrap();
        assert_eq!(next(&root, last_entry).unwrap(), last_entry + 1);
    }

    #[test]
    fn garbage_is_an_error() {
        let (directory, root) = root();
        let counter = directory.path().join(COUNTER);
        for garbage in
            [&b"1"[..], b"99999999999999999999\n", b"\xff\xff", &[0; 21], b"000000000000000000012\n"]
        {
            fs::write(&counter, garbage).unwrap();
            let error = next(&root, 0).unwrap_err().to_string();
            let expected = format!("{} does not hold a ticket: remove it", counter.display());
            assert!(error.starts_with(&expected), "{garbage:?}: {error}");
            assert_eq!(fs::read(&counter).unwrap(), garbage);
        }
        fs::remove_file(&counter).unwrap();
        next(&root, 0).unwrap();
    }

    #[test]
    fn a_counter_that_cannot_grow_is_an_error() {
        let (directory, root) = root();
        let counter = directory.path().join(COUNTER);
        assert_eq!(next(&root, u64::MAX - 1).unwrap(), u64::MAX);
        for last_entry in [0, u64::MAX] {
            let error = next(&root, last_entry).unwrap_err().to_string();
            assert!(error.starts_with(counter.to_str().unwrap()) && error.contains("remove it"), "{error}");
            fs::remove_file(&counter).unwrap();
        }
    }

    #[test]
    fn a_counter_that_was_replaced_does_not_count() {
        let (directory, root) = root();
        let counter = directory.path().join(COUNTER);
        for replace in [
            (|counter| fs::remove_file(counter).unwrap()) as fn(&std::path::Path),
            |counter| fs::rename(counter, counter.with_extension("moved")).unwrap(),
            |counter| {
                let copy = counter.with_extension("copy");
                fs::copy(counter, &copy).unwrap();
                fs::rename(copy, counter).unwrap();
            },
        ] {
            let old = Counter::take(&root).unwrap().unwrap();
            let opened = root.change(COUNTER).unwrap().unwrap();
            assert!(old.counts().unwrap());
            replace(&counter);
            assert!(!old.counts().unwrap());
            drop(old);
            assert!(Counter::of(&root, opened).unwrap().is_none(), "it was opened before, and locked after");
            assert!(Counter::take(&root).unwrap().is_some());
        }
    }

    #[test]
    fn the_right_is_taken_from_those_only_who_make_no_progress() {
        let (_directory, root) = root();
        let first = next(&root, 0).unwrap();
        let stopped = Counter::take(&root).unwrap().unwrap();
        let before = progress(&root).unwrap().unwrap();
        let second = give(&stopped, 0).unwrap();
        replace(&root, &[before]).unwrap();
        assert!(stopped.counts().unwrap() && second > first);

        let before = [progress(&root).unwrap().unwrap()];
        replace(&root, &before).unwrap();
        assert!(!stopped.counts().unwrap());
        assert!(next(&root, 0).unwrap() > second, "the new one goes on where the old one was");
        replace(&root, &before).unwrap();
        assert!(next(&root, 0).unwrap() > second + 1, "it is replaced once");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_keeps_a_file_locked_is_told() {
        // In memory: some file systems on disks have another number in /proc/locks than for everybody else.
        let file = rustix::fs::memfd_create("counter", rustix::fs::MemfdFlags::CLOEXEC).unwrap().into();
        assert_eq!(keeper(&file), None);
        assert!(lock(&file, Lock::Exclusive).unwrap());
        assert_eq!(keeper(&file), Some(std::process::id().into()));
    }
}

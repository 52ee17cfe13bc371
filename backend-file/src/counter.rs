//! Tickets: who comes when.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

use lockcore::Result;
use rustix::fs::fstat;

use crate::directory::{Directory, Lock, lock};
use crate::layout::{COUNTER, ticket};

/// The right to add entries below a root directory, until it is dropped. One process at a time has it; none may
/// dawdle, and if one is stopped just then, the others wait for it to go on or to die.
#[derive(Debug)]
pub(crate) struct Counter<'r> {
    root: &'r Directory,
    file: File,
}

impl<'r> Counter<'r> {
    /// Takes the right; `None` if somebody else has it, or the file has just been removed.
    pub(crate) fn take(root: &'r Directory) -> Result<Option<Self>> {
        let file = match root.change(COUNTER)? {
            Some(file) => Some(file),
            None => root.make(COUNTER)?,
        };
        let Some(file) = file else { return Ok(None) };
        let failed = |errno| root.failed("lock", COUNTER, errno);
        let locked = lock(&file, Lock::Exclusive).map_err(failed)?;
        let there = locked && fstat(&file).map_err(failed)?.st_nlink > 0;
        Ok(there.then_some(Self { root, file }))
    }

    /// The next ticket: larger than all before.
    ///
    /// Never behind the clock, so that they rise even if the file is removed, or lost in a crash: it is not synced.
    pub(crate) fn next(&self) -> Result<u64> {
        let mut text = [0; 20];
        let read = self.file.read_at(&mut text, 0);
        let length = read.map_err(|error| self.root.failed("read", COUNTER, error))?;
        let last = std::str::from_utf8(&text[..length]).ok().and_then(ticket).unwrap_or(0);
        let next = now().max(last.saturating_add(1));
        // Always of the same length: once there, it needs no more room on a disk that is full.
        let written = self.file.write_all_at(format!("{next:020}\n").as_bytes(), 0);
        written.map_err(|error| self.root.failed("write", COUNTER, error))?;
        Ok(next)
    }
}

/// The time of day in microseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(path: &std::path::Path) -> Directory {
        Directory::open(path).unwrap().unwrap()
    }

    #[test]
    fn one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let root = root(directory.path());
        let counter = Counter::take(&root).unwrap().unwrap();
        assert!(Counter::take(&root).unwrap().is_none());
        drop(counter);
        assert!(Counter::take(&root).unwrap().is_some());
    }

    #[test]
    fn never_behind_the_clock_and_never_twice() {
        let directory = tempfile::tempdir().unwrap();
        let root = root(directory.path());
        let counter = Counter::take(&root).unwrap().unwrap();
        let before = now();
        let first = counter.next().unwrap();
        assert!(first >= before);
        assert!(counter.next().unwrap() > first);

        let future = 4_000_000_000_000_000;
        std::fs::write(directory.path().join(COUNTER), format!("{future:020}\n")).unwrap();
        assert_eq!(counter.next().unwrap(), future + 1);
        assert_eq!(counter.next().unwrap(), future + 2);
    }

    #[test]
    fn garbage_counts_as_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = root(directory.path());
        for garbage in [&b""[..], b"1", b"99999999999999999999\n", b"\xff\xff"] {
            std::fs::write(directory.path().join(COUNTER), garbage).unwrap();
            let before = now();
            let ticket = Counter::take(&root).unwrap().unwrap().next().unwrap();
            assert!((before..=now()).contains(&ticket), "{garbage:?} led to {ticket}");
        }
    }

    #[test]
    fn a_removed_counter_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let root = root(directory.path());
        let removed = Counter::take(&root).unwrap().unwrap();
        let last = removed.next().unwrap();
        std::fs::remove_file(directory.path().join(COUNTER)).unwrap();
        assert!(Counter::take(&root).unwrap().unwrap().next().unwrap() > last);
    }
}

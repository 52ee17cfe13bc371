//! How many files may be open.

use std::fs::File;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many as the system lets this process have: a thousand may contend, and the locks of a directory take an open file each.
pub(crate) fn allow_many() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// Fails if fewer than so many can be opened now: better before something than in the midst of it.
pub(crate) fn expect(count: usize) -> io::Result<()> {
    (0..count).map(|_| File::open("/dev/null")).collect::<io::Result<Vec<File>>>().map(drop)
}

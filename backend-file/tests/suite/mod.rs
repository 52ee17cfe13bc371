//! The suite, in temporary directories in a given one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use async_trait::async_trait;
use backend_file::{FileFactory, SCHEME};
use conformance::{Operator, UrlFixture};
use lockcore::{EntryId, Error, ErrorKind, LockKey, Registry, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Somebody with `rm`.
#[derive(Debug)]
struct Remover(PathBuf);

#[async_trait]
impl Operator for Remover {
    async fn remove_entry(&self, _: &LockKey, id: &EntryId) -> Result<()> {
        let directories = [self.0.join("locks"), self.0.join("semaphores")];
        let locks = directories.iter().filter_map(|directory| directory.read_dir().ok()).flatten();
        let files = locks.filter_map(|lock| lock.ok()?.path().read_dir().ok()).flatten();
        let mut files = files.filter_map(|file| Some(file.ok()?.path()));
        let entry = files.find(|file| file.to_string_lossy().contains(id.as_str()));
        let missing = || Error::new(ErrorKind::Backend, "there is no such entry");
        std::fs::remove_file(entry.ok_or_else(missing)?).map_err(|error| missing().with_source(error))
    }
}

pub(crate) fn run(parent: &Path) -> ExitCode {
    // A trial has a thousand waiters, each of which takes an open file.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("a process may have more");
    conformance::main(Registry::new().with(SCHEME, FileFactory), |registry| {
        let broken = |error| Error::new(ErrorKind::Backend, "no directory can be had").with_source(error);
        let directory = tempfile::Builder::new().prefix("fairlock-").tempdir_in(parent).map_err(broken)?;
        let fixture = UrlFixture::new(registry, &format!("file://{}", directory.path().display()))?;
        Ok::<_, Error>(fixture.with_operator(Remover(directory.path().to_owned())).with_server(directory))
    })
}

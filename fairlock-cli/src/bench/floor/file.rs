//! The floor of a directory: a file is opened, locked and closed.

use std::fs::{self, File};
use std::path::PathBuf;

use async_trait::async_trait;
use fairlock::{EntryId, LockUrl};

use super::{Client, Shape, failed};
use crate::exit::Failure;

struct FileClient {
    path: PathBuf,
    entry: Option<File>,
}

/// The clients; `None` if we may make no directory beside that of the locks, in which nothing is allowed but locks.
pub(super) fn clients(url: &LockUrl, shape: Shape) -> Option<Vec<Box<dyn Client>>> {
    let beside = format!("{}.bench-{}", url.path().trim_end_matches('/'), EntryId::random());
    fs::create_dir(&beside).ok()?;
    let client = |contender: u32| -> Box<dyn Client> {
        Box::new(FileClient { path: PathBuf::from(&beside).join(contender.to_string()), entry: None })
    };
    Some((0..shape.contenders()).map(client).collect())
}

#[async_trait]
impl Client for FileClient {
    async fn enter(&mut self) -> Result<(), Failure> {
        let file = File::options().create(true).append(true).open(&self.path).map_err(failed)?;
        file.lock().map_err(failed)?;
        self.entry = Some(file);
        Ok(())
    }

    async fn leave(&mut self) -> Result<(), Failure> {
        self.entry = None;
        Ok(())
    }
}

impl Drop for FileClient {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        // Only the last of them can.
        let _ = self.path.parent().map(fs::remove_dir);
    }
}

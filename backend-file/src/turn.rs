//! Waiting for those who are adding an entry, or removing a directory.

use std::sync::Arc;
use std::time::Duration;

use lockcore::{Family, Result};

use crate::counter::Progress;
use crate::root::Root;
use crate::session::{FileSession, SHORTEST};

/// The longest pause between two attempts to be the one who adds an entry.
const LONGEST: Duration = Duration::from_millis(8);
/// For how many attempts a process may keep others from theirs before it is passed by: half a second or so.
const LONG: usize = 64;

/// Waits for others to have added their entries.
pub(crate) struct Turn<'s> {
    session: &'s FileSession,
    family: Family,
    directory: Arc<str>,
    attempts: usize,
    pause: Duration,
    progress: Vec<Progress>,
}

impl<'s> Turn<'s> {
    pub(crate) fn new(session: &'s FileSession, family: Family, directory: &str) -> Self {
        let directory = directory.into();
        Self { session, family, directory, attempts: 0, pause: SHORTEST, progress: Vec::new() }
    }

    /// Waits a moment before the next attempt. A process that is stopped just then is not waited for: whoever takes
    /// it for stopped although it is only slow makes it begin anew, nothing else.
    pub(crate) async fn wait(&mut self) -> Result<()> {
        self.attempts += 1;
        if self.attempts.is_multiple_of(LONG) {
            let (family, directory) = (self.family, self.directory.clone());
            let before = std::mem::take(&mut self.progress);
            let pass_by = move |root: &Root| {
                root.pass_by(family, &directory, &before)?;
                root.progress(family, &directory)
            };
            self.progress = self.session.blocking(pass_by).await?;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = LONGEST.min(2 * self.pause);
        Ok(())
    }
}

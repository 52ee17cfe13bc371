//! Opens sessions.

use std::sync::Arc;

use async_trait::async_trait;
use lockcore::queue::QueueLocks;
use lockcore::{
    Capabilities, Clocks, Failover, LockService, LockUrl, QueueBackend, QueueSession, Result, ServiceFactory,
    UrlOption,
};

use crate::filesystem;
use crate::options::{FileOptions, OPTIONS};
use crate::root::Root;
use crate::session::FileSession;

/// The scheme of URLs that mean a local directory.
pub const SCHEME: &str = "file";

/// Makes the lock service for a [URL](FileOptions::from_url).
#[derive(Debug, Clone, Copy, Default)]
pub struct FileFactory;

impl ServiceFactory for FileFactory {
    fn service(&self, url: &LockUrl) -> Result<Arc<dyn LockService>> {
        let backend = FileLocks::new(FileOptions::from_url(url)?);
        Ok(Arc::new(QueueLocks::new(backend)))
    }

    fn options(&self) -> &'static [UrlOption] {
        &OPTIONS
    }
}

/// Locks in a local directory, for [`QueueLocks`].
#[derive(Debug, Clone)]
pub struct FileLocks {
    root: Root,
}

impl FileLocks {
    /// The locks in this directory. Nothing is touched yet.
    pub fn new(options: FileOptions) -> Self {
        Self { root: Root::new(options) }
    }
}

#[async_trait]
impl QueueBackend for FileLocks {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::strict();
        capabilities.failover = Failover::NoServer;
        capabilities.clocks = Clocks::None;
        capabilities
    }

    fn place(&self) -> String {
        format!("the directory {}", self.root.options().root().display())
    }

    fn identity(&self) -> String {
        format!("file {}", self.root.options().root().display())
    }

    async fn open_session(&self) -> Result<Arc<dyn QueueSession>> {
        let mut session = FileSession::new(self.root.clone());
        let directory = session.blocking(Root::open_or_make).await?;
        session.in_memory = filesystem::is_in_memory(&directory);
        Ok(Arc::new(session))
    }
}

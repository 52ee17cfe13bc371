//! `memory://` URLs.

use std::sync::Arc;

use lockcore::queue::QueueLocks;
use lockcore::{Error, ErrorKind, LockService, LockUrl, Result, ServiceFactory};

use crate::client::MemoryClient;
use crate::server::Memory;

/// The scheme of the URLs that [`MemoryFactory`] takes.
pub const SCHEME: &str = "memory";

/// Connects to `memory://` (a place of its own for each connection) or `memory://name` (one place for all
/// connections of this process). Option: `session_timeout` (10s), which matters to the hooks of tests only.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryFactory;

impl ServiceFactory for MemoryFactory {
    fn service(&self, url: &LockUrl) -> Result<Arc<dyn LockService>> {
        let options = url.options();
        let session_timeout = options.duration("session_timeout", MemoryClient::SESSION_TIMEOUT)?;
        options.finish()?;
        if url.credentials().is_some() || !url.path().trim_start_matches('/').is_empty() {
            let message = format!("{url} is not of the form memory:// or memory://name");
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
        let memory = match url.hosts() {
            [] => Memory::new(),
            [name] => Memory::named(name),
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!("{url} names more than one memory, expected memory://name"),
                ));
            }
        };
        Ok(Arc::new(QueueLocks::new(memory.client().with_session_timeout(session_timeout))))
    }
}

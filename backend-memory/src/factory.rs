//! `memory://` URLs.

use std::sync::Arc;

use lockcore::queue::QueueLocks;
use lockcore::{Error, ErrorKind, LockService, LockUrl, Result, ServiceFactory, UrlOption};

use crate::server::Memory;

/// The scheme of the URLs that [`MemoryFactory`] takes.
pub const SCHEME: &str = "memory";

/// The options of such URLs. The session timeout matters to the hooks of tests only.
pub const OPTIONS: [UrlOption; 1] = [UrlOption::SESSION_TIMEOUT];

/// Connects to `memory://` (a place of its own for each connection) or `memory://name` (one place for all
/// connections of this process), with [`OPTIONS`].
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryFactory;

impl ServiceFactory for MemoryFactory {
    fn service(&self, url: &LockUrl) -> Result<Arc<dyn LockService>> {
        let session_timeout = url.options(&OPTIONS)?.duration("session_timeout")?;
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

    fn options(&self) -> &'static [UrlOption] {
        &OPTIONS
    }
}

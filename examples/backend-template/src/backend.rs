//! Opens sessions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lockcore::queue::QueueLocks;
use lockcore::{
    Capabilities, Error, ErrorKind, Failover, LockService, LockUrl, QueueBackend, QueueSession, Result,
    ServiceFactory, UrlOption,
};

use crate::server::Server;
use crate::session::TemplateSession;

/// The scheme of URLs that mean this backend.
pub const SCHEME: &str = "template";

/// The options of such URLs, with their defaults.
const OPTIONS: [UrlOption; 1] = [UrlOption::SESSION_TIMEOUT];

/// Makes the lock service for a URL such as `template://name?session_timeout=10s`.
#[derive(Debug, Clone, Default)]
pub struct TemplateFactory;

impl ServiceFactory for TemplateFactory {
    fn service(&self, url: &LockUrl) -> Result<Arc<dyn LockService>> {
        // Whatever else is in the URL is an error that lists the valid options.
        let session_timeout = url.options(&OPTIONS)?.duration("session_timeout")?;
        let [name] = url.hosts() else {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("{url} is not of the form template://name"),
            ));
        };
        let backend = Template { name: name.clone(), session_timeout };
        Ok(Arc::new(QueueLocks::new(backend)))
    }

    fn options(&self) -> &'static [UrlOption] {
        &OPTIONS
    }
}

/// Locks on one server, for [`QueueLocks`].
#[derive(Debug, Clone)]
pub struct Template {
    name: String,
    session_timeout: Duration,
}

#[async_trait]
impl QueueBackend for Template {
    /// What cannot be kept is taken back from the strongest promises: this server is a part of one process.
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::strict();
        capabilities.failover = Failover::NoServer;
        capabilities.interprocess = false;
        capabilities
    }

    fn place(&self) -> String {
        format!("the template {:?}", self.name)
    }

    async fn open_session(&self) -> Result<Arc<dyn QueueSession>> {
        Ok(Arc::new(TemplateSession::open(Server::named(&self.name), self.session_timeout)))
    }
}

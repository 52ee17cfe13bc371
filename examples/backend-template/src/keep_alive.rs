//! The requests that keep a session alive.

use std::sync::Arc;
use std::time::Duration;

use lockcore::session::KeepAlive;
use lockcore::{Error, Loss, Result};

use crate::server::Server;

/// The renewals of one session.
#[derive(Debug)]
pub(crate) struct Renewals {
    pub(crate) server: Arc<Server>,
    pub(crate) session: u64,
    pub(crate) lives: Duration,
}

impl KeepAlive for Renewals {
    async fn renew(&mut self) -> Result<()> {
        if self.server.renew(self.session, self.lives) { Ok(()) } else { Err(Error::lost(Loss::Expired)) }
    }
}

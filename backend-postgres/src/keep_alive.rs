//! The requests that keep a session alive.

use std::sync::Arc;

use lockcore::session::{KeepAlive, Loss};
use lockcore::{Error, Result};

use crate::connection::Call;
use crate::requests::Shared;

/// The renewals of a session. Its connection makes itself anew.
pub(crate) struct Renewals(pub(crate) Arc<Shared>);

impl KeepAlive for Renewals {
    async fn renew(&mut self) -> Result<()> {
        match self.0.renew(true, (0, 0), &[], &[]).await?[..] {
            [0, ..] => Err(Error::lost(Loss::Expired)),
            _ => Ok(()),
        }
    }
}

impl Shared {
    /// Renews the session if that is `due`, and advances the clock of the sessions, which somebody saw say `seen` so many milliseconds ago. 0 if
    /// the session is over, what the clock says, and which of these entries are not there.
    pub(crate) async fn renew(
        &self,
        due: bool,
        (seen, elapsed): (i64, i64),
        locks: &[Vec<u8>],
        tokens: &[i64],
    ) -> Result<Vec<i64>> {
        self.renewals
            .request(async |ready| {
                ready.call(Call::Renew, &[&self.id, &due, &seen, &elapsed, &locks, &tokens]).await
            })
            .await
    }
}

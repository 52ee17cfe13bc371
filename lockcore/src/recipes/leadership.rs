//! Held leadership.

use tokio::time::Instant;

use crate::entry::FencingToken;
use crate::error::Result;
use crate::guard::LockGuard;
use crate::hold::Released;
use crate::loss_signal::HeldLock;
use crate::session::Loss;

/// Held leadership. Dropping it resigns in the background; do so only when the work of a leader has ended.
#[must_use = "whoever drops a leadership resigns"]
#[derive(Debug)]
#[clippy::has_significant_drop]
pub struct Leadership {
    pub(super) guard: LockGuard,
}

impl Leadership {
    /// A number that grows from leader to leader, for what the leader works on to check: its fencing token.
    pub fn term(&self) -> FencingToken {
        self.guard.fencing_token()
    }

    /// Whether we still lead, computed at the call.
    pub fn is_valid(&self) -> bool {
        self.guard.is_valid()
    }

    /// Until when we are sure to lead if nothing more is heard: see [`LockGuard::deadline`].
    pub fn deadline(&self) -> Option<Instant> {
        self.guard.deadline()
    }

    /// Returns when the leadership is lost, no later than anybody else may come to lead.
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again.
    pub async fn lost(&self) -> Loss {
        self.guard.lost().await
    }

    /// Returns when the leadership is at risk: see [`LockGuard::at_risk`].
    ///
    /// # Cancel safety
    ///
    /// Safe to drop and to call again.
    pub async fn at_risk(&self) {
        self.guard.at_risk().await;
    }

    /// The term and the loss signal, without the power to resign.
    pub fn held(&self) -> HeldLock {
        self.guard.held()
    }

    /// The guard behind it, for all else that can be asked of one.
    pub fn guard(&self) -> &LockGuard {
        &self.guard
    }

    /// Gives the leadership up, and says whether it was held without a gap until then. The next candidate leads.
    ///
    /// # Errors
    ///
    /// Those of [`LockGuard::release`].
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, the resignation goes on in the background.
    pub async fn resign(self) -> Result<Released> {
        self.guard.release().await
    }
}

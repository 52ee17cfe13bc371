//! What is logged seldom, however often it happens.

use std::time::Duration;

use tokio::time::Instant;

/// Lets one thing through in ten seconds.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    last: Option<Instant>,
}

impl Seldom {
    const PERIOD: Duration = Duration::from_secs(10);

    /// Whether it is time again; if so, it is not for the next ten seconds.
    pub(crate) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.last.is_none_or(|last| now.duration_since(last) >= Self::PERIOD);
        if due {
            self.last = Some(now);
        }
        due
    }
}

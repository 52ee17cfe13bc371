//! What fails for want of something that others may give back is tried again, for as long as there is time for the lock.

use std::time::Duration;

use fairlock::Wait;
use tokio::time::Instant;

use crate::exit::Failure;

/// Until when to try again; `None`: for ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience(Option<Instant>);

impl Patience {
    const PAUSE: Duration = Duration::from_millis(50);

    /// As long as somebody waits for the lock.
    pub(crate) fn new(wait: Wait) -> Self {
        Self(match wait {
            Wait::Forever => None,
            Wait::For(duration) => Instant::now().checked_add(duration),
            _ => Some(Instant::now()),
        })
    }

    /// What comes of an attempt, which is repeated while open files, processes or memory are wanting. That is told once.
    pub(crate) async fn repeat<T>(self, attempt: impl AsyncFn() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut told = false;
        loop {
            let failure = match attempt().await {
                Err(failure) if failure.is_transient() => failure,
                ended => return ended,
            };
            if self.0.is_some_and(|until| until <= Instant::now()) {
                return Err(failure);
            }
            if !std::mem::replace(&mut told, true) {
                let _ = failure.during("trying again").report();
            }
            tokio::time::sleep(Self::PAUSE).await;
        }
    }
}

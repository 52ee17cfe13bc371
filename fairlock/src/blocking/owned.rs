//! What has to be given back: by hand, or when it is dropped.

use std::ops::Deref;
use std::time::Duration;

use lockcore::{Released, Result};

use super::runtime::{wait, wait_for};

/// How long what is dropped waits for the server's answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// Something of the async library that a future gives back.
pub(super) trait GiveBack {
    fn give_back(self) -> impl Future<Output = Result<Released>>;
}

impl GiveBack for lockcore::LockGuard {
    fn give_back(self) -> impl Future<Output = Result<Released>> {
        self.release()
    }
}

impl GiveBack for lockcore::SetGuard {
    fn give_back(self) -> impl Future<Output = Result<Released>> {
        self.release()
    }
}

impl GiveBack for lockcore::Leadership {
    fn give_back(self) -> impl Future<Output = Result<Released>> {
        self.resign()
    }
}

/// Gives it back when it is dropped.
#[derive(Debug)]
pub(super) struct Owned<G: GiveBack> {
    /// Until it is given back.
    given: Option<G>,
}

impl<G: GiveBack> Owned<G> {
    pub(super) fn new(given: G) -> Self {
        Self { given: Some(given) }
    }

    /// Gives it back now, and waits as long as that takes.
    pub(super) fn give_back(mut self) -> Result<Released> {
        let given = self.given.take().expect("nobody has taken it before");
        wait(given.give_back())?
    }
}

impl<G: GiveBack> Deref for Owned<G> {
    type Target = G;

    fn deref(&self) -> &G {
        self.given.as_ref().expect("it is taken by what consumes or drops us")
    }
}

impl<G: GiveBack> Drop for Owned<G> {
    fn drop(&mut self) {
        if let Some(given) = self.given.take() {
            // What is not done by then, or cannot be waited for, goes on in the background.
            let _ = wait_for(PATIENCE, given.give_back());
        }
    }
}

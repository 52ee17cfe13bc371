//! The "network" between one client and the server, and what can go wrong on it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockcore::{Error, ErrorKind, Result};
use tokio::sync::watch;

/// Something that goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The request takes this long to the server. It arrives even if the caller is gone by then.
    DelayRequest(Duration),
    /// The request takes effect at once, its reply takes this long.
    DelayReply(Duration),
    /// The request fails, and never takes effect.
    LoseRequest,
    /// The request takes effect and then fails.
    LoseReply,
}

#[derive(Debug, Clone, Copy)]
struct State {
    connected: bool,
    replies: bool,
    wake_ups: bool,
}

#[derive(Debug)]
pub(crate) struct Link {
    state: watch::Sender<State>,
    faults: Mutex<VecDeque<Fault>>,
    /// Whether nothing goes wrong, for all who only want to know that.
    healthy: AtomicBool,
}

impl Link {
    pub(crate) fn new() -> Self {
        let state = State { connected: true, replies: true, wake_ups: true };
        Self { state: watch::Sender::new(state), faults: Mutex::default(), healthy: AtomicBool::new(true) }
    }

    fn faults(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is going wrong.
    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    fn change(&self, change: impl FnOnce(&mut State, &mut VecDeque<Fault>)) {
        let mut faults = self.faults();
        self.state.send_modify(|state| {
            change(state, &mut faults);
            let healthy = state.connected && state.replies && state.wake_ups && faults.is_empty();
            self.healthy.store(healthy, Ordering::Release);
        });
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state.borrow().connected
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.change(|_, faults| faults.push_back(fault));
    }

    pub(crate) fn disconnect(&self) {
        self.change(|state, _| state.connected = false);
    }

    pub(crate) fn mute(&self) {
        self.change(|state, _| state.replies = false);
    }

    pub(crate) fn heal(&self) {
        self.change(|state, _| (state.connected, state.replies) = (true, true));
    }

    pub(crate) fn hold_wake_ups(&self, hold: bool) {
        self.change(|state, _| state.wake_ups = !hold);
    }

    /// Carries a request to the server and its reply back.
    pub(crate) async fn carry<T>(&self, request: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut fault = None;
        self.change(|_, faults| fault = faults.pop_front());
        match fault {
            Some(Fault::LoseRequest) => return Err(connection_lost()),
            Some(Fault::DelayRequest(delay)) => tokio::time::sleep(delay).await,
            _ => {}
        }
        self.wait_for(|state| state.connected).await;
        let reply = request();
        match fault {
            Some(Fault::LoseReply) => return Err(connection_lost()),
            Some(Fault::DelayReply(delay)) => tokio::time::sleep(delay).await,
            _ => {}
        }
        let muted = !self.state.borrow().replies;
        if muted {
            self.wait_for(|state| state.replies).await;
            return Err(connection_lost());
        }
        reply
    }

    /// Until wake-ups pass.
    pub(crate) async fn wake_up(&self) {
        self.wait_for(|state| state.connected && state.replies && state.wake_ups).await;
    }

    /// Until requests pass.
    pub(crate) async fn connected(&self) {
        self.wait_for(|state| state.connected && state.replies).await;
    }

    async fn wait_for(&self, condition: impl Fn(&State) -> bool + Send + Sync) {
        // The sender is ours and lives: this cannot fail.
        let _ = self.state.subscribe().wait_for(|state| condition(state)).await;
    }
}

fn connection_lost() -> Error {
    Error::new(ErrorKind::Unreachable, "the connection to the memory was lost")
}

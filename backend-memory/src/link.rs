//! The "network" between one client and the server, and what can go wrong on it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    held: bool,
    /// How many connections were given up, with the requests that were held on them.
    abandoned: u64,
    replies: bool,
    delayed: bool,
    wake_ups: bool,
}

impl State {
    /// Whether requests come to the server.
    fn passes(&self) -> bool {
        self.connected && !self.held
    }

    /// Whether replies come back.
    fn answers(&self) -> bool {
        self.replies && !self.delayed
    }
}

#[derive(Debug)]
pub(crate) struct Link {
    state: watch::Sender<State>,
    faults: Mutex<VecDeque<Fault>>,
    /// Requests and replies that were held or delayed.
    kept: AtomicUsize,
    /// Whether nothing goes wrong, for all who only want to know that.
    healthy: AtomicBool,
}

impl Link {
    pub(crate) fn new() -> Self {
        let state = State {
            connected: true,
            held: false,
            abandoned: 0,
            replies: true,
            delayed: false,
            wake_ups: true,
        };
        let (faults, kept, healthy) = (Mutex::default(), AtomicUsize::new(0), AtomicBool::new(true));
        Self { state: watch::Sender::new(state), faults, kept, healthy }
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
            let healthy = state.passes() && state.answers() && state.wake_ups && faults.is_empty();
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

    /// Whether everything passed before.
    pub(crate) fn hold(&self) -> bool {
        let before = *self.state.borrow();
        self.change(|state, _| (state.held, state.delayed) = (true, false));
        before.passes() && before.answers()
    }

    pub(crate) fn abandon(&self) {
        self.change(|state, _| (state.held, state.abandoned) = (false, state.abandoned + 1));
    }

    pub(crate) fn delay(&self) {
        self.change(|state, _| state.delayed = true);
    }

    pub(crate) fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    pub(crate) fn mute(&self) {
        self.change(|state, _| state.replies = false);
    }

    pub(crate) fn heal(&self) {
        self.change(|state, _| {
            *state = State { connected: true, held: false, replies: true, delayed: false, ..*state };
        });
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
        let begun = *self.state.borrow();
        if begun.held {
            self.kept.fetch_add(1, Ordering::Relaxed);
        }
        self.wait_for(|state| state.passes() || state.abandoned != begun.abandoned).await;
        if self.state.borrow().abandoned != begun.abandoned {
            return Err(connection_lost());
        }
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
        if self.state.borrow().delayed {
            self.kept.fetch_add(1, Ordering::Relaxed);
            self.wait_for(|state| !state.delayed).await;
        }
        reply
    }

    /// Until wake-ups pass.
    pub(crate) async fn wake_up(&self) {
        self.wait_for(|state| state.connected && state.answers() && state.wake_ups).await;
    }

    /// Until requests pass.
    pub(crate) async fn connected(&self) {
        self.wait_for(|state| state.passes() && state.answers()).await;
    }

    async fn wait_for(&self, condition: impl Fn(&State) -> bool + Send + Sync) {
        // The sender is ours and lives: this cannot fail.
        let _ = self.state.subscribe().wait_for(|state| condition(state)).await;
    }
}

fn connection_lost() -> Error {
    Error::new(ErrorKind::Unreachable, "the connection to the memory was lost: a hook of MemoryClient cut it")
}

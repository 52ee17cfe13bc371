//! The signals that the command reacts to.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{BoxStream, SelectAll, poll_fn};
use futures::{FutureExt, StreamExt};
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};

/// What people and supervisors send to end a program, to make it reload, or to make it talk.
const HANDLED: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// Whether this is a signal that is handled and asks to end, as it does where nobody gave it another meaning on purpose.
pub(crate) fn asks_to_end(signal: Signal) -> bool {
    HANDLED.contains(&signal) && ![Signal::USR1, Signal::USR2].contains(&signal)
}

/// Signals to this process. From its making on they don't end the process any more.
pub(crate) struct Signals {
    received: SelectAll<BoxStream<'static, Signal>>,
    /// A signal that nobody else sends.
    mark: tokio::signal::unix::Signal,
}

/// Nobody handles it, and then it does nothing.
const MARK: Signal = Signal::URG;

impl Signals {
    /// Handles all signals but those that this process was started to ignore: under `nohup` a hangup must not
    /// reach the child either.
    pub(crate) fn new() -> io::Result<Self> {
        let handled = HANDLED.into_iter().filter(|signal| !was_ignored(*signal));
        let received = handled.map(stream).collect::<io::Result<_>>()?;
        Ok(Self { received, mark: signal(SignalKind::from_raw(MARK.as_raw()))? })
    }

    /// All that have been sent to this process until now, even if it has not been told of them yet; but one may be missing
    /// that another thread has just taken.
    pub(crate) async fn sent(&mut self) -> io::Result<Vec<Signal>> {
        // The system delivers them in the order of their numbers, so that this comes after all others.
        kill_process(getpid(), MARK)?;
        self.mark.recv().await;
        Ok(std::iter::from_fn(|| self.received.next().now_or_never().flatten()).collect())
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        match self.received.next().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// The next signal that asks to end.
    pub(crate) async fn ending(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if asks_to_end(signal) {
                return signal;
            }
        }
    }
}

fn stream(number: Signal) -> io::Result<BoxStream<'static, Signal>> {
    let mut signals = signal(SignalKind::from_raw(number.as_raw()))?;
    Ok(poll_fn(move |context| signals.poll_recv(context)).map(move |()| number).boxed())
}

/// A bit for each signal that this process was started to ignore; none where the system does not tell.
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// Runs before `main`, as Rust lets every process ignore SIGPIPE from there on. Nothing here needs what is prepared for `main`.
#[ctor::ctor(unsafe)]
fn before_main() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    IGNORED.store(mask.unwrap_or(0), Ordering::Relaxed);
}

/// Whether this process was started to ignore the signal.
pub(crate) fn was_ignored(signal: Signal) -> bool {
    IGNORED.load(Ordering::Relaxed) >> (signal.as_raw() - 1) & 1 == 1
}

//! What `fairlock run` does while its program runs: it tells the guardian of signals and losses.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use fairlock::LockName;
use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process, set_child_subreaper};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::descendants::Descendants;
use crate::exit::Failure;
use crate::guardian::GUARDIAN;
use crate::held::Held;
use crate::link::{Link, Moment, Order, Report, Start, now, share};
use crate::output;
use crate::signals::{Signals, asks_to_end};

/// How the program ended.
pub(crate) enum Ended {
    /// By itself, or by a signal that was passed on.
    Exited(ExitStatus),
    /// It was ended, because its lock was lost or about to be.
    Revoked,
}

/// How long a lock is sure to be held, and a program that loses it may run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// From SIGTERM to SIGKILL.
    pub(crate) grace: Duration,
    /// How long the server lets the session live after a renewal; `None` if it lasts until it is ended.
    pub(crate) session: Option<Duration>,
}

/// A guardian that waits for the lock of its program.
#[derive(Debug)]
pub(crate) struct Standby {
    process: Child,
    socket: UnixStream,
}

impl Standby {
    pub(crate) fn new(command: &[OsString], name: &LockName, terms: Terms) -> io::Result<Self> {
        // What the guardian leaves if it is killed is adopted, and ended.
        set_child_subreaper(Some(getpid()))?;
        let (socket, theirs) = UnixStream::pair()?;
        let process = Command::new("/proc/self/exe")
            .arg0("fairlock")
            .arg(GUARDIAN)
            .arg(humantime::format_duration(terms.grace).to_string())
            .args(command)
            .env("FAIRLOCK_NAME", name.as_str())
            .stdin(OwnedFd::from(theirs))
            .spawn()?;
        Ok(Self { process, socket })
    }

    /// Whether nobody has killed it meanwhile.
    pub(crate) fn is_ready(&mut self) -> io::Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }
}

/// A program that runs under a lock, behind its guardian.
#[derive(Debug)]
pub(crate) struct Supervised<'g> {
    held: &'g Held,
    terms: Terms,
    guardian: Child,
    link: Link,
    /// Whether a signal was passed on that asks to end.
    asked: bool,
}

impl<'g> Supervised<'g> {
    /// How often in a session the guardian is told that the lock is still held. So it believes at most a thirtieth less
    /// than is true.
    const BEATS: u32 = 30;

    pub(crate) fn start(standby: Standby, held: &'g Held, terms: Terms) -> Result<Self, Failure> {
        let Standby { process: guardian, socket } = standby;
        let (stdin, locks) = (io::stdin(), held.descriptors()?);
        let files = std::iter::once(stdin.as_fd()).chain(locks.iter().map(AsFd::as_fd));
        share(&socket, &files.collect::<Vec<_>>())?;
        let supervised = Self { held, terms, guardian, link: Link::new(socket)?, asked: false };
        supervised.link.send(&Start { token: held.fencing_token(), held: supervised.held_until() });
        Ok(supervised)
    }

    /// Waits for the end of the program, and of all that has to end with it.
    pub(crate) async fn attend(&mut self, signals: &mut Signals) -> io::Result<Ended> {
        let mut beats = self.terms.session.map(|session| {
            let mut beats = interval((session / Self::BEATS).max(Duration::from_millis(1)));
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beats
        });
        let mut lost = false;
        loop {
            tokio::select! {
                report = self.link.next() => match report {
                    // If a signal has asked for it, the guardian ends what is left, and tells once more.
                    Some(Report::Exited { status, asked }) => {
                        let status = ExitStatus::from_raw(status);
                        if asked || !self.asked(signals, status).await? {
                            self.link.send(&Order::Agreed);
                            return Ok(Ended::Exited(status));
                        }
                    }
                    Some(Report::Revoked) => {
                        self.link.send(&Order::Agreed);
                        return Ok(Ended::Revoked);
                    }
                    None => return self.unguarded().await,
                },
                signal = signals.next() => self.pass_on(signal),
                () = beat(&mut beats) => self.tell_until_when(),
                _ = self.held.lost(), if !lost => {
                    lost = true;
                    self.tell_until_when();
                    // Even if somebody has stopped it.
                    let _ = self.guardian_id().map(|pid| kill_process(pid, Signal::CONT));
                }
            }
        }
    }

    /// Whether a signal has asked the program to end.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked
    }

    /// The guardian goes when this does: not before the lock is given back.
    pub(crate) fn into_link(self) -> Link {
        self.link
    }

    fn pass_on(&mut self, signal: Signal) {
        self.asked |= asks_to_end(signal);
        self.link.send(&order(signal));
    }

    /// Whether a signal has asked to end, which the guardian may not know yet.
    async fn asked(&mut self, signals: &mut Signals, status: ExitStatus) -> io::Result<bool> {
        signals.sent().await?.into_iter().for_each(|signal| self.pass_on(signal));
        let ended_by = status.signal().and_then(Signal::from_named_raw);
        if !self.asked && ended_by.is_some_and(asks_to_end) {
            // Whoever sent it may have sent it to both, and another thread be about to tell of it: threads that take signals
            // at the same moment do not keep the order.
            let told = timeout(Duration::from_millis(100), signals.ending()).await;
            told.into_iter().for_each(|signal| self.pass_on(signal));
        }
        Ok(self.asked)
    }

    fn tell_until_when(&self) {
        self.link.send(&Order::Held(self.held_until()));
    }

    /// Where nobody takes a lock away but by hand, the program may still run for the grace after that.
    fn held_until(&self) -> Option<Moment> {
        let remaining = self.held.remaining()?;
        Some(now().saturating_add(if self.terms.session.is_some() { remaining } else { self.terms.grace }))
    }

    fn guardian_id(&self) -> Option<Pid> {
        self.guardian.id().and_then(|id| Pid::from_raw(id.try_into().ok()?))
    }

    /// The guardian ended first: it could not start the program, and has said why, or somebody killed it.
    async fn unguarded(&mut self) -> io::Result<Ended> {
        let status = self.guardian.wait().await?;
        if status.signal().is_some() {
            output::diagnostic("killing the program: its guardian was killed");
        }
        Descendants::default().end("the lock is kept until it ends").await?;
        Ok(Ended::Exited(status))
    }
}

async fn beat(beats: &mut Option<Interval>) {
    match beats {
        Some(beats) => drop(beats.tick().await),
        None => std::future::pending().await,
    }
}

/// Keys such as Ctrl-C signal the whole foreground of the terminal, the program too. It must not get the signal
/// twice: many programs take the second one as the order to drop everything.
fn order(signal: Signal) -> Order {
    let from_keyboard = [Signal::INT, Signal::QUIT].contains(&signal) && in_foreground();
    if from_keyboard { Order::Interrupted } else { Order::Signal(signal.as_raw()) }
}

fn in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal) == Ok(getpgrp()))
}

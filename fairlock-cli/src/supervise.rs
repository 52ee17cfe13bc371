//! What `fairlock run` does while its program runs: it tells the guardian of signals and losses.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};
use tokio::process::{Child, Command};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use crate::again::again;
use crate::descendants::Descendants;
use crate::exit::Failure;
use crate::guardian::GUARDIAN;
use crate::held::Held;
use crate::link::{Link, Moment, Order, Report, Start, now, share};
use crate::output;
use crate::signals::{Signals, asks_to_end};
use crate::witness::Witness;

/// How the program ended.
pub(crate) enum Ended {
    /// By itself, or by a signal that was passed on.
    Exited(ExitStatus),
    /// It was ended, because its lock was lost or about to be.
    Revoked,
}

/// How long a lock is sure to be held, a program that loses it may run, and what it has of the lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// From SIGTERM to SIGKILL.
    pub(crate) grace: Duration,
    /// How long the server lets the session live after a renewal; `None` if it lasts until it is ended.
    pub(crate) session: Option<Duration>,
    /// Whether the program gets no open file that keeps the lock.
    pub(crate) close: bool,
}

/// A guardian that waits for the lock of its program.
#[derive(Debug)]
pub(crate) struct Standby {
    process: Child,
    socket: UnixStream,
}

impl Standby {
    pub(crate) fn new(command: &[OsString], terms: Terms) -> io::Result<Self> {
        // What the guardian leaves if it is killed is adopted, and ended.
        set_child_subreaper(Some(getpid()))?;
        let (socket, theirs) = UnixStream::pair()?;
        let process = Command::from(again("fairlock", GUARDIAN)?)
            .arg(humantime::format_duration(terms.grace).to_string())
            .args(command)
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
    witness: Witness,
    /// Whether a signal was passed on that asks to end.
    asked: bool,
}

impl<'g> Supervised<'g> {
    /// How often in a session the guardian is told that the lock is still held. So it believes at most a thirtieth less
    /// than is true.
    const BEATS: u32 = 30;

    /// The program finds these variables in its environment.
    pub(crate) fn start(
        standby: Standby,
        held: &'g Held,
        variables: Vec<(String, String)>,
        terms: Terms,
    ) -> Result<Self, Failure> {
        let Standby { process: guardian, socket } = standby;
        // Before the program can be stopped by a key: a process that is stopped while it is being made stops its maker where nobody sees it,
        // neither shell nor user (vfork(2)).
        let witness = Witness::new()?;
        let (stdin, locks) = (io::stdin(), held.descriptors()?);
        let files = std::iter::once(stdin.as_fd()).chain(locks.iter().map(AsFd::as_fd));
        share(&socket, &files.collect::<Vec<_>>())?;
        let link = Link::new(socket)?;
        link.send(&Start { variables, held: held_until(held, terms), close: terms.close });
        Ok(Self { held, terms, guardian, link, witness, asked: false })
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
                signal = signals.next() => self.pass_on(signal, signals).await?,
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

    /// Passes on what has come, but not what the program got as well: many take the second one as the order to drop everything.
    async fn pass_on(&mut self, first: Signal, signals: &mut Signals) -> io::Result<()> {
        /// Who ends one and then all, as timeout(1) does, is not done before that.
        const MEANWHILE: Duration = Duration::from_millis(20);
        sleep(MEANWHILE).await;
        let mut came = signals.sent().await?;
        came.retain(|signal| *signal != first);
        came.insert(0, first);
        let shared = self.witness.saw(&came).await?;
        for (signal, shared) in came.into_iter().zip(shared) {
            self.asked |= asks_to_end(signal);
            let number = signal.as_raw();
            self.link.send(&if shared { Order::Shared(number) } else { Order::Signal(number) });
        }
        Ok(())
    }

    /// Whether a signal has asked to end, which the guardian may not know yet.
    async fn asked(&mut self, signals: &mut Signals, status: ExitStatus) -> io::Result<bool> {
        if let Some(first) = signals.sent().await?.into_iter().next() {
            self.pass_on(first, signals).await?;
        }
        let ended_by = status.signal().and_then(Signal::from_named_raw);
        if !self.asked && ended_by.is_some_and(asks_to_end) {
            // Whoever sent it may have sent it to both, and another thread be about to tell of it: threads that take signals
            // at the same moment do not keep the order.
            let told = timeout(Duration::from_millis(100), signals.ending()).await;
            if let Ok(signal) = told {
                self.pass_on(signal, signals).await?;
            }
        }
        Ok(self.asked)
    }

    fn tell_until_when(&self) {
        self.link.send(&Order::Held(held_until(self.held, self.terms)));
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

/// Where nobody takes a lock away but by hand, the program may still run for the grace after that.
fn held_until(held: &Held, terms: Terms) -> Option<Moment> {
    let remaining = held.remaining()?;
    Some(now().saturating_add(if terms.session.is_some() { remaining } else { terms.grace }))
}

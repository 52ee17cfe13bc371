//! The guardian: a process between `fairlock run` and its program. It sees to it that nothing of the program works without
//! the lock, whatever becomes of `fairlock run`.
//!
//! It is there while `fairlock run` waits for the lock, and has the program ready to start. It is the parent of the program,
//! adopts every orphan that the program leaves, and is a dead man's switch: it knows
//! until when the lock is sure to be held, and kills everything when that time passes without news, or when
//! `fairlock run` dies. In a directory it has the locked file open, and so has the program: the kernel keeps the lock until
//! both are gone.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, getpgid, getpgrp, getpid, kill_process, set_child_subreaper, setsid};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::child::Program;
use crate::descendants::{Descendants, reap};
use crate::exit::{Failure, OTHER};
use crate::files;
use crate::link::{Link, Moment, Order, Report, Start, now, shared};
use crate::output;
use crate::signals::{Signals, asks_to_end};

/// Tells this program, as its first argument, to be a guardian. The grace and the command follow.
pub(crate) const GUARDIAN: &str = "__guardian";

/// What a guardian opens from the time on at which the lock is had.
const FILES: usize = 6;

/// Where this process was started as a guardian: what came of it.
pub(crate) fn serve() -> Option<Result<ExitCode, Failure>> {
    let mut arguments = std::env::args_os().skip(1);
    arguments.next().filter(|first| first == GUARDIAN)?;
    let grace = humantime::parse_duration(arguments.next()?.to_str()?).ok()?;
    // On one thread, the main one: with that the program would die.
    let runtime = Builder::new_current_thread().enable_all().build();
    Some(
        runtime
            .map_err(Failure::from)
            .and_then(|runtime| runtime.block_on(guard(grace, arguments.collect()))),
    )
}

async fn guard(grace: Duration, command: Vec<OsString>) -> Result<ExitCode, Failure> {
    // What is sent to everybody, to end them, does not end this process: that comes last.
    let _handled = Signals::new()?;
    set_child_subreaper(Some(getpid())).map_err(io::Error::from)?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut program = Program::new(&command)?;
    // Whoever lacks them ends while the lock is waited for, and another one is started when it is had.
    files::expect(FILES)
        .map_err(|error| Failure::from(error).during("no process can be ready for the program yet"))?;
    let mut files = shared(&socket)?;
    if files.is_empty() {
        // The lock was not had.
        return Ok(ExitCode::SUCCESS);
    }
    let mut link = Link::new(socket)?;
    let Some(order) = link.next::<Start>().await else {
        return Err(Failure::new(OTHER, "fairlock died before its program started"));
    };
    if !program.is_ready()? {
        program = Program::new(&command)?;
    }
    let group = getpgrp();
    let program = start(program, &order, &files)?;
    let locks = files.split_off(1);
    drop(files);
    let mut guardian = Guardian::new(program, group, grace, order.held, !locks.is_empty());
    loop {
        let Some(report) = guardian.attend(&mut link).await? else {
            return Err(Failure::new(OTHER, "fairlock died before its program ended"));
        };
        link.send(&report);
        match link.next().await {
            Some(Order::Agreed) => break given_back(&mut link, locks).await,
            // A signal to both, the program and fairlock, may have ended the program before it was heard of here.
            Some(order) => guardian.execute(order),
            None if guardian.exited() => break given_back(&mut link, locks).await,
            // What killed both, the program and fairlock, was no end of the program's own.
            None => {
                output::diagnostic("killing what the program started: fairlock died");
                break guardian.descendants.end(guardian.otherwise()).await?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns when fairlock has given the lock back, or has died before it could.
async fn given_back(link: &mut Link, locks: Vec<OwnedFd>) {
    while link.next::<Order>().await.is_some() {}
    // What the program left to run may have the lock open, but has no business with it any more.
    for lock in locks {
        let _ = flock(lock, FlockOperation::Unlock);
    }
}

/// Starts the program with its input, which comes first; unless it is to have none, it inherits the locked files too.
fn start(program: Program, start: &Start, files: &[OwnedFd]) -> io::Result<Pid> {
    // The program stays in the process group that the shell made, so that the keys of the terminal work. The guardian
    // leaves the group and the session: what is sent to the group, to stop or to kill it, must not reach the one who
    // would have to act on that.
    setsid()?;
    let inherited = if start.close { 1 } else { files.len() };
    program.start(start, &files.iter().take(inherited).map(AsFd::as_fd).collect::<Vec<_>>())
}

#[derive(Debug)]
struct Guardian {
    program: Pid,
    /// The process group in which the program was started.
    group: Pid,
    /// Whether it has left that, and was asked to end all the same.
    left: bool,
    /// Whether it has the lock open, which so is kept until this process ends.
    keeps_lock: bool,
    grace: Duration,
    /// Until when the lock is sure to be held; `None`: until it is given back.
    held: Option<Moment>,
    /// How the program ended, if it has.
    status: Option<ExitStatus>,
    /// Whether a signal asked it to end.
    asked: bool,
    /// When SIGTERM was sent to everything.
    told: Option<Moment>,
    /// When everything is killed for want of the lock. Once that is decided, nothing puts it off.
    revoked: Option<Moment>,
    descendants: Descendants,
}

const KEPT: &str = "the lock is kept until it ends";
const NOT_KEPT: &str = "it goes on without the lock";

impl Guardian {
    fn new(program: Pid, group: Pid, grace: Duration, held: Option<Moment>, keeps_lock: bool) -> Self {
        let (status, asked, told, revoked) = (None, false, None, None);
        let (descendants, left) = (Descendants::default(), false);
        Self { program, group, left, keeps_lock, grace, held, status, asked, told, revoked, descendants }
    }

    /// Returns when the program has ended, and all that has to end with it; `None` if fairlock died meanwhile.
    async fn attend(&mut self, link: &mut Link) -> io::Result<Option<Report>> {
        let mut children = signal(SignalKind::child())?;
        loop {
            let others = self.reap()?;
            if let Some(report) = self.over(others) {
                return Ok(Some(report));
            }
            self.tell_if_due();
            if self.kill_at().is_some_and(|moment| moment <= now()) {
                output::diagnostic("killing the program: it still runs");
                let otherwise = if self.revoked.is_some() { NOT_KEPT } else { KEPT };
                self.descendants.end(otherwise).await?;
                return Ok(self.over(false));
            }
            tokio::select! {
                order = link.next() => match order {
                    Some(order) => self.execute(order),
                    None => break,
                },
                _ = children.recv() => {}
                () = tokio::time::sleep(self.pause()) => {}
            }
        }
        output::diagnostic("killing the program: fairlock died");
        self.descendants.end(self.otherwise()).await?;
        Ok(None)
    }

    /// Whether the program ended by itself.
    fn exited(&self) -> bool {
        self.status.is_some_and(|status| status.code().is_some())
    }

    /// What follows if somebody cannot be killed once fairlock is dead.
    fn otherwise(&self) -> &'static str {
        if self.keeps_lock { KEPT } else { NOT_KEPT }
    }

    /// Takes note of what ended; whether anything is left.
    fn reap(&mut self) -> io::Result<bool> {
        reap(|pid, status| {
            // Once the program has ended, its number may be that of another process.
            if pid == self.program && self.status.is_none() {
                self.status = Some(ExitStatus::from_raw(status.as_raw()));
            }
        })
    }

    /// How it all ended, if it has. What the program leaves behind at an end of its own may stay.
    fn over(&self, others: bool) -> Option<Report> {
        let left_alone = self.status.is_some() && !self.asked && self.revoked.is_none();
        let status = self.status.unwrap_or_else(|| ExitStatus::from_raw(Signal::KILL.as_raw()));
        let report = match self.revoked {
            Some(_) => Report::Revoked,
            None => Report::Exited { status: status.into_raw(), asked: self.asked },
        };
        (left_alone || !others).then_some(report)
    }

    fn execute(&mut self, order: Order) {
        match order {
            Order::Held(held) => {
                self.held = held;
                self.revoked = self.revoked.map(|moment| held.map_or(moment, |held| held.min(moment)));
            }
            // At the end of the program only.
            Order::Agreed => {}
            Order::Shared(number) => self.shared(Signal::from_named_raw(number)),
            Order::Signal(number) => match Signal::from_named_raw(number) {
                Some(Signal::TERM) => {
                    self.asked = true;
                    self.told.get_or_insert_with(now);
                    self.descendants.signal(Signal::TERM, KEPT);
                }
                Some(signal) if asks_to_end(signal) => {
                    self.asked = true;
                    self.descendants.signal(signal, KEPT);
                }
                // Others mean what the program makes of them, and end processes that know nothing of them.
                Some(signal) if self.status.is_none() => drop(kill_process(self.program, signal)),
                _ => {}
            },
        }
    }

    /// What the program got as well is not sent once more, unless it has left the group. If it then goes on, it ends at the second time.
    fn shared(&mut self, signal: Option<Signal>) {
        let ends = signal.is_some_and(asks_to_end);
        self.asked |= ends;
        if self.status.is_some() || getpgid(Some(self.program)) == Ok(self.group) {
            return;
        }
        if ends && std::mem::replace(&mut self.left, true) {
            self.execute(Order::Signal(Signal::TERM.as_raw()));
        } else if let Some(signal) = signal {
            let _ = kill_process(self.program, signal);
        }
    }

    /// Sends SIGTERM to everything, where the time has come for that.
    fn tell_if_due(&mut self) {
        let due = self.held.filter(|held| self.revoked.is_none() && held.saturating_sub(self.grace) <= now());
        if let Some(held) = due {
            self.revoked = Some(held);
            let rest = Duration::from_millis(held.saturating_sub(now()).as_millis() as u64);
            let rest = humantime::format_duration(rest);
            output::diagnostic(format_args!("ending the program because of its lock, by SIGKILL in {rest}"));
        }
        let left_over = self.asked && self.status.is_some();
        if self.told.is_none() && (left_over || self.revoked.is_some()) {
            self.told = Some(now());
            self.descendants.signal(Signal::TERM, if left_over { KEPT } else { NOT_KEPT });
        }
    }

    /// When everything that still runs is killed. A program that a signal asked to end may take its time; what it
    /// leaves behind then may not.
    fn kill_at(&self) -> Option<Moment> {
        let told = self.told.filter(|_| self.asked && self.status.is_some());
        let left_over = told.map(|told| told.saturating_add(self.grace));
        self.revoked.into_iter().chain(left_over).min()
    }

    /// For how long there is nothing to do. A timer stands still while the machine sleeps, so that one that is needed is not trusted
    /// for long.
    fn pause(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(1);
        let tell = self.held.filter(|_| self.revoked.is_none()).map(|held| held.saturating_sub(self.grace));
        let next = self.kill_at().into_iter().chain(tell).min();
        next.map_or(Duration::MAX, |moment| moment.saturating_sub(now()).min(LONGEST))
    }
}

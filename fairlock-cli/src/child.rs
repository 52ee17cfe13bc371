//! The program that runs under the lock.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::ExitStatus;
use std::time::Duration;

use fairlock::{LockGuard, Loss};
use rustix::process::{Pid, Signal, getpgrp, getpid, getppid, kill_process, set_parent_process_death_signal};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};

use crate::exit::{Failure, OTHER};
use crate::output;
use crate::signals::Signals;

/// How the child ended.
pub(crate) enum Ended {
    /// By itself, or by a signal that was passed on.
    Exited(ExitStatus),
    /// We ended it because the lock was lost.
    LockLost(Loss),
}

/// Tells this program, as its first argument, to become another one.
const BECOME: &str = "__child";

/// Starts the program. It dies with this process, at the latest with the thread that calls this: call it from
/// the main thread.
///
/// The system offers this to a process for itself only, so that the way to the program leads through
/// [`become_command`].
pub(crate) fn spawn(command: &[OsString], guard: &LockGuard) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg0("fairlock")
        .arg(BECOME)
        .arg(getpid().to_string())
        .args(command)
        .env("FAIRLOCK_NAME", guard.name().as_str())
        .env("FAIRLOCK_TOKEN", guard.fencing_token().to_string())
        .kill_on_drop(true)
        .spawn()
}

/// Where this process was started by [`spawn`]: turns it into the program, and returns only if that is not possible.
pub(crate) fn become_command() -> Option<Failure> {
    let mut arguments = std::env::args_os().skip(1);
    arguments.next().filter(|first| first == BECOME)?;
    let parent = arguments.next()?.to_str()?.parse().ok()?;
    Some(replace(parent, &arguments.next()?, arguments))
}

fn replace(parent: i32, program: &OsStr, arguments: impl Iterator<Item = OsString>) -> Failure {
    // When fairlock dies, nobody renews the lock, and soon somebody else holds it. SIGTERM could be handled or
    // ignored meanwhile: only SIGKILL is sure to leave nobody working without the lock.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return Failure::from(io::Error::from(error)).during("cannot tie the program to its lock");
    }
    // The parent may have died before the line above: then the signal never comes.
    if getppid() != Pid::from_raw(parent) {
        return Failure::new(OTHER, "fairlock died before its program started");
    }
    not_started(program, std::process::Command::new(program).args(arguments).exec())
}

/// A program that does not exist or cannot be executed, with the codes of a shell.
fn not_started(program: &OsStr, error: io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Failure::new(code, format!("{}: {error}", program.display()))
}

/// Waits for the end of the child, passes signals on to it, and ends it when the lock is lost.
pub(crate) async fn supervise(
    child: &mut Child,
    guard: &LockGuard,
    signals: &mut Signals,
    grace: Duration,
) -> io::Result<Ended> {
    let loss = tokio::select! {
        status = attend(child, signals) => return status.map(Ended::Exited),
        loss = guard.lost() => loss,
    };
    output::diagnostic(format_args!("ending the program: {loss}"));
    send(child, Signal::TERM);
    if tokio::time::timeout(grace, attend(child, signals)).await.is_err() {
        output::diagnostic(format_args!("killing the program: it still runs after {grace:?}"));
        child.kill().await?;
    }
    Ok(Ended::LockLost(loss))
}

async fn attend(child: &mut Child, signals: &mut Signals) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return status,
            signal = signals.next() => pass_on(child, signal),
        }
    }
}

/// Keys such as Ctrl-C signal the whole foreground of the terminal, the child too. It must not get the signal
/// twice: many programs take the second one as the order to drop everything.
fn pass_on(child: &Child, signal: Signal) {
    let from_keyboard = [Signal::INT, Signal::QUIT].contains(&signal);
    if !(from_keyboard && in_foreground()) {
        send(child, signal);
    }
}

fn in_foreground() -> bool {
    File::open("/dev/tty").is_ok_and(|terminal| tcgetpgrp(terminal) == Ok(getpgrp()))
}

fn send(child: &Child, signal: Signal) {
    // There is no id once the child has been waited for, and until then nobody else can have it.
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)) {
        // It may have ended this moment.
        let _ = kill_process(pid, signal);
    }
}

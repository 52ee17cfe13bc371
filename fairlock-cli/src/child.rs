//! The program that runs under the lock, as a process that dies with its guardian.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use fairlock::FencingToken;
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

use crate::descendants::leads_session;
use crate::exit::{Failure, OTHER};

/// Tells this program, as its first argument, to become another one.
const BECOME: &str = "__child";

/// Starts the program. It dies with this process, at the latest with the thread that calls this: call it from
/// the main thread.
///
/// The system offers this to a process for itself only, so that the way to the program leads through
/// [`become_command`].
pub(crate) fn spawn(command: &[OsString], token: FencingToken, stdin: OwnedFd) -> io::Result<Pid> {
    let mut child = Command::new("/proc/self/exe");
    child.arg0("fairlock").arg(BECOME).arg(getpid().to_string()).args(command);
    child.env("FAIRLOCK_TOKEN", token.to_string()).stdin(stdin);
    Ok(Pid::from_child(&child.spawn()?))
}

/// Where this process was started by [`spawn`]: turns it into the program, and returns only if that is not possible.
pub(crate) fn become_command() -> Option<Failure> {
    let mut arguments = std::env::args_os().skip(1);
    arguments.next().filter(|first| first == BECOME)?;
    let parent = arguments.next()?.to_str()?.parse().ok()?;
    Some(replace(parent, &arguments.next()?, arguments))
}

fn replace(parent: i32, program: &OsStr, arguments: impl Iterator<Item = OsString>) -> Failure {
    // Without its guardian nobody would end the program when the lock is lost. SIGTERM could be handled or ignored
    // meanwhile: only SIGKILL is sure to leave nobody working without the lock.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return Failure::from(io::Error::from(error)).during("cannot tie the program to its lock");
    }
    let Some(parent) = Pid::from_raw(parent) else { return orphaned() };
    // Until the guardian leads a session of its own, what is sent to our process group ends it as well.
    while getppid() == Some(parent) && !leads_session(parent) {
        thread::sleep(Duration::from_micros(100));
    }
    // The parent may have died before the signal was asked for: then it never comes.
    if getppid() != Some(parent) {
        return orphaned();
    }
    not_started(program, Command::new(program).args(arguments).exec())
}

fn orphaned() -> Failure {
    Failure::new(OTHER, "fairlock died before its program started")
}

/// A program that does not exist or cannot be executed, with the codes of a shell.
fn not_started(program: &OsStr, error: io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Failure::new(code, format!("{}: {error}", program.display()))
}

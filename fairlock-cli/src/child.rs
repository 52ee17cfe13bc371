//! The program that runs under the lock, as a process that dies with its guardian.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, WaitOptions, getpid, getppid, set_parent_process_death_signal, waitpid};
use rustix::stdio::dup2_stdin;

use crate::again::again;
use crate::broken_pipe;
use crate::exit::{Failure, OTHER};
use crate::link::{Start, send, share, shared};

/// Tells this program, as its first argument, to become another one.
const BECOME: &str = "__child";

/// A process that is going to be the program. It dies with this process, at the latest with the thread that made it: make it
/// on the main thread.
///
/// The system offers this to a process for itself only, so that the way to the program leads through
/// [`become_command`].
#[derive(Debug)]
pub(crate) struct Program {
    id: Pid,
    socket: UnixStream,
}

impl Program {
    pub(crate) fn new(command: &[OsString]) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let mut child = again("fairlock", BECOME)?;
        child.arg(getpid().to_string()).args(command);
        let child = child.stdin(OwnedFd::from(theirs)).spawn()?;
        Ok(Self { id: Pid::from_child(&child), socket })
    }

    /// Whether it waits to be started: a signal may have ended it.
    pub(crate) fn is_ready(&self) -> io::Result<bool> {
        Ok(waitpid(Some(self.id), WaitOptions::NOHANG)?.is_none())
    }

    /// Starts it, with this input, and open files that it inherits.
    pub(crate) fn start(self, start: &Start, files: &[BorrowedFd<'_>]) -> io::Result<Pid> {
        share(&self.socket, files)?;
        send(&self.socket, start);
        Ok(self.id)
    }
}

/// Where this process was made by [`Program::new`]: turns it into the program, and returns only if that is not possible, or
/// not wanted.
pub(crate) fn become_command() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    arguments.next().filter(|first| first == BECOME)?;
    let parent = arguments.next()?.to_str()?.parse().ok()?;
    let program = arguments.next()?;
    Some(match replace(parent, &program, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    })
}

fn replace(parent: i32, program: &OsStr, arguments: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    // Without its guardian nobody would end the program when the lock is lost. SIGTERM could be handled or ignored
    // meanwhile: only SIGKILL is sure to leave nobody working without the lock.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|errno| {
        Failure::from(io::Error::from(errno)).during("cannot tie the program to its lock")
    })?;
    // The parent may have died before the signal was asked for: then it never comes.
    let orphaned = getppid() != Pid::from_raw(parent);
    let started = started();
    if orphaned && !matches!(started, Ok(None)) {
        return Err(Failure::new(OTHER, "fairlock died before its program started"));
    }
    let Some(variables) = started? else { return Ok(()) };
    Err(not_started(program, broken_pipe::exec(program, arguments, variables)))
}

/// What the environment has to tell of the lock, when that is had, and the open files are those of the program; `None` if it never is.
fn started() -> io::Result<Option<Vec<(String, String)>>> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut files = shared(&socket)?.into_iter();
    let Some(stdin) = files.next() else { return Ok(None) };
    let mut line = String::new();
    BufReader::new(socket).read_line(&mut line)?;
    let Start { variables, .. } = serde_json::from_str(&line)?;
    dup2_stdin(stdin)?;
    for inherited in files {
        fcntl_setfd(&inherited, FdFlags::empty())?;
        // Until the program is there.
        std::mem::forget(inherited);
    }
    Ok(Some(variables))
}

/// A program that does not exist or cannot be executed, with the codes of a shell.
fn not_started(program: &OsStr, error: io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    Failure::new(code, format!("{}: {error}", program.display()))
}

//! How a command ends: its exit code, and what it says about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use fairlock::ErrorKind;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, getpid, setrlimit};
use signal_hook::low_level::emulate_default_handler;

use crate::output::{self, NobodyReads};
use crate::signals::asks_to_end;

/// A promise was broken.
pub(crate) const VIOLATED: u8 = 1;
/// The lock is held, of which it was asked whether it is free.
pub(crate) const HELD: u8 = 1;
/// There is nothing to remove.
pub(crate) const NOT_THERE: u8 = 1;
/// The command line is wrong. This and the following are those of `sysexits.h` where that has a fitting one.
pub(crate) const USAGE: u8 = 64;
/// The service cannot be reached.
pub(crate) const UNREACHABLE: u8 = 69;
/// Something else went wrong.
pub(crate) const OTHER: u8 = 70;
/// The lock was not had in time.
pub(crate) const NOT_IN_TIME: u8 = 75;
/// The lock, or the place in its queue, was lost.
pub(crate) const LOST: u8 = 76;
/// The server refuses.
pub(crate) const PERMISSION: u8 = 77;
/// The URL or the configuration is wrong.
pub(crate) const CONFIG: u8 = 78;

/// Why a command ends without success.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    transient: bool,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), transient: false }
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Whether it is for want of something of the system that others may give back: open files, processes, memory.
    pub(crate) fn is_transient(&self) -> bool {
        self.transient
    }

    /// With what was being done in front.
    pub(crate) fn during(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// Says it, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            output::diagnostic(&self.message);
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<fairlock::Error> for Failure {
    fn from(error: fairlock::Error) -> Self {
        // What a server says that can be repeated is not of this system.
        let transient = error.is_retryable() && error.kind() == ErrorKind::Backend;
        Self { transient, ..Self::new(code(error.kind()), chain(&error)) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.get_ref().is_some_and(|cause| cause.is::<NobodyReads>()) {
            return Self::new(128 + 13, "");
        }
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        let transient = matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOMEM));
        Self { transient, ..Self::new(OTHER, chain(&error)) }
    }
}

fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidInput | ErrorKind::LimitMismatch => USAGE,
        ErrorKind::InvalidConfig => CONFIG,
        ErrorKind::Unreachable => UNREACHABLE,
        ErrorKind::PermissionDenied => PERMISSION,
        ErrorKind::SessionLost | ErrorKind::EntryRemoved => LOST,
        _ => OTHER,
    }
}

/// The error and its causes. Some libraries say in each what its cause says.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string);
    causes.fold(error.to_string(), |chain, cause| match chain.ends_with(&cause) {
        true => chain,
        false => format!("{chain}: {cause}"),
    })
}

/// The end of a command line that was not understood, or that asked for help.
pub(crate) fn usage(error: &clap::Error) -> Result<ExitCode, Failure> {
    error.print().map_err(output::printing)?;
    Ok(if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS })
}

/// How this process ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exit {
    Code(u8),
    /// By this signal, as whoever waits for this process would see it of the program.
    Signal(Signal),
}

impl Exit {
    /// As a child ended: with its code, or by the signal that asked it to end. For other signals with the code that a shell has for them.
    pub(crate) fn of_child(status: ExitStatus) -> Self {
        match status.signal().and_then(Signal::from_named_raw).filter(|signal| asks_to_end(*signal)) {
            Some(signal) => Self::Signal(signal),
            None => Self::Code(code_of(status)),
        }
    }

    /// As a shell has it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => code_of(ExitStatus::from_raw(signal.as_raw())),
        }
    }

    /// Ends this process, if a signal has to end it. A shell ends its loop only if Ctrl-C has ended what it waited for.
    pub(crate) fn end(self) -> ExitCode {
        match self {
            Exit::Code(code) => ExitCode::from(code),
            Exit::Signal(signal) => {
                // What the system would write down of this process is of no use.
                let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
                // The first process of a container is not ended by a signal of its own.
                if getpid() != Pid::INIT {
                    let _ = emulate_default_handler(signal.as_raw());
                }
                ExitCode::from(self.code())
            }
        }
    }
}

/// The exit code of a child, as a shell has it.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use fairlock::{Error, ErrorKind};

    use super::Failure;

    #[test]
    fn kinds_of_errors_have_their_codes() {
        let codes = [
            (ErrorKind::InvalidInput, 64),
            (ErrorKind::LimitMismatch, 64),
            (ErrorKind::Unreachable, 69),
            (ErrorKind::Closed, 70),
            (ErrorKind::Backend, 70),
            (ErrorKind::SessionLost, 76),
            (ErrorKind::EntryRemoved, 76),
            (ErrorKind::PermissionDenied, 77),
            (ErrorKind::InvalidConfig, 78),
        ];
        for (kind, code) in codes {
            assert_eq!(Failure::from(Error::new(kind, "x")).code, code, "{kind:?}");
        }
    }

    #[test]
    fn the_message_names_all_causes() {
        let cause = Error::new(ErrorKind::Backend, "connection refused").with_source("port 1");
        let error = Error::new(ErrorKind::Unreachable, "no server").with_source(cause);
        assert_eq!(Failure::from(error).message, "no server: connection refused: port 1");
        let error = Error::new(ErrorKind::Unreachable, "no server: port 1").with_source("port 1");
        assert_eq!(Failure::from(error).message, "no server: port 1");
    }
}

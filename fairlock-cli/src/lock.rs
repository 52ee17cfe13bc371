//! `fairlock lock`: a lock for a shell, held by a process in the background.

use std::io::{self, BufRead, BufReader, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{ExitCode, Stdio};

use rustix::process::Pid;

use crate::again::again;
use crate::arguments::LockOptions;
use crate::exit::{Failure, OTHER, USAGE};
use crate::holder::{Answer, HOLDER, Request};
use crate::link::{send, share};
use crate::{open_file, output, shell};

pub(crate) fn lock(options: &LockOptions) -> Result<ExitCode, Failure> {
    if io::stdout().is_terminal() {
        let message = "what this prints is for a shell to execute: eval \"$(fairlock lock NAME)\"";
        return Err(Failure::new(USAGE, message));
    }
    let failure = match hold(options) {
        Ok(variables) => return Ok(variables),
        Err(failure) => failure,
    };
    output::line(after(&failure, options))?;
    Err(failure)
}

/// Starts the holder, and returns when it has the lock and the shell has been told what follows from that.
fn hold(options: &LockOptions) -> Result<ExitCode, Failure> {
    let file = options.fd.map(open_file::take).transpose()?;
    let (socket, theirs) = UnixStream::pair()?;
    let mut command = again("fairlock", HOLDER)?;
    command.args(std::env::args_os().skip(1));
    // Of the shell it keeps nothing but stderr, and that only while it waits.
    let mut holder = command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).current_dir("/").spawn()?;
    // Now the holder alone has the other end.
    drop(command);
    share(&socket, &file.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
    drop(file);
    let shell = options.pid.or_else(|| shell::shell().map(Pid::as_raw_pid));
    send(&socket, &Request { shell: shell.filter(|_| options.is_for_a_shell()) });
    let mut line = String::new();
    BufReader::new(&socket).read_line(&mut line)?;
    match serde_json::from_str(&line) {
        Ok(Answer::Held(variables)) => {
            output::line(exports(&variables))?;
            // Until it hears this it would give the lock back.
            send(&socket, &());
            Ok(ExitCode::SUCCESS)
        }
        Ok(Answer::Failed { code, message }) => Err(Failure::new(code, message)),
        Err(_) => {
            let status = holder.wait()?;
            Err(Failure::new(OTHER, format!("who was to hold the lock has ended: {status}")))
        }
    }
}

impl LockOptions {
    /// Whether the lock ends with a process.
    fn is_for_a_shell(&self) -> bool {
        self.fd.is_none() && (self.limit.is_none() || self.pid.is_some())
    }
}

/// The variables, as a shell has to be told.
fn exports(variables: &[(String, String)]) -> String {
    let quoted = variables.iter().map(|(name, value)| format!("{name}='{}'", value.replace('\'', "'\\''")));
    format!("export {}", quoted.collect::<Vec<_>>().join(" "))
}

/// What a shell does that has not got its lock: a script ends, as it must not go on; a person's shell goes on with that status, and so does who
/// limits the wait and has to look at the status.
fn after(failure: &Failure, options: &LockOptions) -> String {
    let code = failure.code();
    match failure.code() == options.wanted.not_in_time().code() {
        true => format!("(exit {code})"),
        false => format!("case $- in *i*) (exit {code}) ;; *) exit {code} ;; esac"),
    }
}

#[cfg(test)]
mod tests {
    use super::exports;

    #[test]
    fn values_are_data() {
        let variables = [("A".to_owned(), "it's $HOME `id`".to_owned()), ("B".to_owned(), String::new())];
        assert_eq!(exports(&variables), "export A='it'\\''s $HOME `id`' B=''");
    }
}

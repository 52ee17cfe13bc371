//! Whether this process was started to ignore SIGPIPE, as under `trap '' PIPE`: then the program is too.
//!
//! Processes that std starts end by it again, so those of fairlock's own are told.

use std::convert::Infallible;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;

use crate::signals::was_ignored;

/// In the environment of the processes of fairlock's own, which std has started.
const VARIABLE: &str = "FAIRLOCK_IGNORES_BROKEN_PIPES";

fn is_ignored() -> bool {
    was_ignored(Signal::PIPE) || env::var_os(VARIABLE).is_some()
}

/// Lets a process of fairlock's own know.
pub(crate) fn tell(command: &mut Command) {
    if is_ignored() {
        command.env(VARIABLE, "1");
    }
}

/// Turns this process into the program; why that is not possible.
pub(crate) fn exec(
    program: &OsStr,
    arguments: impl Iterator<Item = OsString>,
    variables: Vec<(String, String)>,
) -> io::Error {
    if !is_ignored() {
        return Command::new(program).args(arguments).envs(variables).exec();
    }
    let Err(error) = exec_as_it_is(program, arguments, variables);
    error
}

/// Without giving the signal its meaning back.
fn exec_as_it_is(
    program: &OsStr,
    arguments: impl Iterator<Item = OsString>,
    variables: Vec<(String, String)>,
) -> io::Result<Infallible> {
    let told = |(name, _): &(OsString, OsString)| {
        name != VARIABLE && variables.iter().all(|(new, _)| *name != **new)
    };
    let kept: Vec<(OsString, OsString)> = env::vars_os().filter(told).collect();
    let new = variables.iter().map(|(name, value)| (name.into(), value.into()));
    let environment = kept
        .into_iter()
        .chain(new)
        .map(|(name, value): (OsString, OsString)| [name, value].join(OsStr::new("=")));
    let arguments = std::iter::once(program.to_owned()).chain(arguments);
    let (arguments, environment) = (texts(arguments)?, texts(environment)?);
    Ok(nix::unistd::execvpe(&arguments[0], &arguments, &environment)?)
}

fn texts(words: impl Iterator<Item = OsString>) -> io::Result<Vec<CString>> {
    words.map(|word| Ok(CString::new(word.into_vec())?)).collect()
}

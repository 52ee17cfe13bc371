//! `fairlock run --background` and `fairlock join`: programs that run under their locks while the shell goes on.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use clap::Parser;
use futures::future::join_all;
use rustix::process::{Pid, getpid};
use rustix::stdio::dup2_stdin;
use serde::{Deserialize, Serialize};

use crate::again::again;
use crate::arguments::{Arguments, Command, JoinOptions, RunOptions};
use crate::contact::{Contact, call, listed};
use crate::exit::{Exit, Failure, OTHER};
use crate::link::{Link, send};
use crate::run::run;
use crate::shell::{self, Watched};

/// Tells this program, as its first argument, to run in the background. The command line of `fairlock run` follows.
const BACKGROUND: &str = "__background";

/// What those who run in the background say to whoever waits for them.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// The name of the lock.
    Runs(String),
    /// The exit code.
    Ended(u8),
}

/// Starts it, and returns when its program runs. If that never does, it ends as it does.
pub(crate) fn start() -> Result<ExitCode, Failure> {
    let (socket, theirs) = UnixStream::pair()?;
    let mut process = again("fairlock", BACKGROUND)?;
    process.args(std::env::args_os().skip(1)).stdin(OwnedFd::from(theirs));
    let mut started = process.spawn()?;
    // Now that alone has the other end, until the program runs.
    drop(process);
    send(&socket, &shell::shell().map(Pid::as_raw_pid));
    Ok(match io::read_to_string(&socket)?.is_empty() {
        true => Exit::of_child(started.wait()?).end(),
        false => ExitCode::SUCCESS,
    })
}

/// Where this process was started to run in the background: how it ended.
pub(crate) fn serve() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    arguments.nth(1).filter(|first| first == BACKGROUND)?;
    let parsed = Arguments::try_parse_from(std::iter::once("fairlock".into()).chain(arguments)).ok()?;
    let Command::Run(options) = &parsed.command else { return None };
    let ended = parsed.url().and_then(|url| crate::on_runtime(in_background(url.as_deref(), options)));
    Some(ended.unwrap_or_else(|failure| failure.report()))
}

async fn in_background(url: Option<&str>, options: &RunOptions) -> Result<ExitCode, Failure> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // The input is what the shell reads on.
    dup2_stdin(File::open("/dev/null")?).map_err(io::Error::from)?;
    let mut line = String::new();
    BufReader::new(&socket).read_line(&mut line)?;
    let shell: Option<i32> = serde_json::from_str(&line).map_err(io::Error::from)?;
    let shell = shell.and_then(Pid::from_raw);
    let mut joiners = Joiners::new(shell, &options.wanted.name)?;
    let mut ran = false;
    let started = || {
        send(&socket, &());
        drop(socket);
        ran = true;
    };
    let ended = tokio::select! {
        ended = run(url, options, started) => ended,
        failed = joiners.gather() => Err(failed.into()),
    };
    let exit = ended.unwrap_or_else(|failure| {
        let _ = failure.report();
        Exit::Code(failure.code())
    });
    if ran {
        joiners.tell(exit.code(), shell).await?;
    }
    Ok(ExitCode::from(exit.code()))
}

/// What all names begin with by which those in the background are called that this shell has started.
fn names_of(shell: Option<Pid>) -> String {
    let started = shell.and_then(shell::started).unwrap_or_default();
    format!("fairlock-run-{}-{started}-", shell.map_or(0, Pid::as_raw_pid))
}

/// Those who wait for the end.
struct Joiners {
    contact: Contact,
    lock: String,
    links: Vec<Link>,
}

impl Joiners {
    fn new(shell: Option<Pid>, lock: &str) -> io::Result<Self> {
        let contact = Contact::new(&format!("{}{}", names_of(shell), fairlock::EntryId::random()))?;
        Ok(Self { contact, lock: lock.to_owned(), links: Vec::new() })
    }

    async fn next(&mut self) -> io::Result<()> {
        let link = self.contact.next().await?;
        link.send(&Told::Runs(self.lock.clone()));
        self.links.push(link);
        Ok(())
    }

    /// Lets them come.
    async fn gather(&mut self) -> io::Error {
        loop {
            if let Err(error) = self.next().await {
                return error;
            }
        }
    }

    /// Tells them the exit code. What went wrong waits for somebody who wants to know it, as long as there is a shell.
    async fn tell(&mut self, code: u8, shell: Option<Pid>) -> io::Result<()> {
        let shell = shell.map_or(Ok(None), Watched::new)?;
        while let (true, Some(shell)) = (code != 0 && self.links.is_empty(), &shell) {
            tokio::select! {
                come = self.next() => come?,
                ended = shell.ended() => return ended,
            }
        }
        self.links.iter().for_each(|link| link.send(&Told::Ended(code)));
        Ok(())
    }
}

/// Waits for all that this shell has started in the background.
pub(crate) async fn join(options: &JoinOptions) -> Result<ExitCode, Failure> {
    // A shell that has nothing else to do becomes what it executes last.
    let prefixes = [names_of(shell::shell()), names_of(Some(getpid()))];
    let mut failed = 0;
    loop {
        let names = prefixes.iter().map(|prefix| listed(prefix)).collect::<io::Result<Vec<_>>>()?.concat();
        let ends = join_all(names.iter().map(|name| ended(name, options.name.as_deref()))).await;
        let mut codes = Vec::new();
        for end in ends {
            codes.extend(end?);
        }
        if codes.is_empty() {
            return Ok(ExitCode::from(failed));
        }
        failed = codes.into_iter().find(|code| *code != 0).filter(|_| failed == 0).unwrap_or(failed);
    }
}

/// How it ended, if it is one of those that are meant.
async fn ended(name: &str, lock: Option<&str>) -> Result<Option<u8>, Failure> {
    let Some(mut link) = call(name)? else { return Ok(None) };
    match link.next().await {
        Some(Told::Runs(runs)) if lock.is_none_or(|lock| runs == lock) => {}
        _ => return Ok(None),
    }
    match link.next().await {
        Some(Told::Ended(code)) => Ok(Some(code)),
        _ => Err(Failure::new(OTHER, "fairlock died before its program ended")),
    }
}

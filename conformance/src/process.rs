//! Other processes that hold locks: the running program, started again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::str::FromStr;

use lockcore::{Config, DistributedLockExt, FencingToken, Registry};
use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;

/// Starts processes that hold a lock.
#[derive(Debug, Clone)]
pub struct Holder {
    url: String,
}

/// Tells the started program that it is a holder; its value is the name of the lock.
const NAME: &str = "FAIRLOCK_CONFORMANCE_HOLD";

impl Holder {
    /// Holders of locks that live at this URL. The program must call [`serve_as_holder`] first of all, or run the
    /// suite with [`main`](crate::main).
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }

    /// Starts a process that holds the exclusive lock of this name until it is killed.
    pub(crate) fn start(&self, name: &str) -> Result<HolderProcess, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(NAME, name).env(Config::ENV, &self.url).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or_else(|| Failure::new("the holder has no output"))?;
        let mut process =
            HolderProcess { child, output: BufReader::new(output), token: FencingToken::new(0) };
        process.token = FencingToken::new(process.answer()?);
        Ok(process)
    }
}

/// In a process that was started to hold a lock: holds it until nobody asks any more. In any other: `None`, at
/// once.
pub fn serve_as_holder(registry: &Registry) -> Option<ExitCode> {
    let name = std::env::var(NAME).ok()?;
    Some(match hold(registry, &name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    })
}

/// Prints the token, and answers each line of the input with whether the guard is valid at that moment.
fn hold(registry: &Registry, name: &str) -> Result<(), Failure> {
    // Its worker goes on renewing while this thread reads.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (_locks, guard) = runtime.block_on(async {
        let locks = registry.connect(&Config::from_env()?).await?;
        let guard = locks.exclusive(name)?.acquire().await?;
        Ok::<_, lockcore::Error>((locks, guard))
    })?;
    println!("{}", guard.fencing_token());
    for line in std::io::stdin().lines() {
        line?;
        println!("{}", guard.is_valid());
    }
    Ok(())
}

/// A process that holds a lock; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct HolderProcess {
    child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) token: FencingToken,
}

impl HolderProcess {
    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }

    /// SIGSTOP.
    pub(crate) fn stop(&self) -> std::io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::STOP)?)
    }

    /// SIGCONT, with a question that waits for it: what it believes of its guard first of all.
    pub(crate) fn resume_and_ask(&mut self) -> Result<bool, Failure> {
        let input = self.child.stdin.as_mut().ok_or_else(|| Failure::new("the holder has no input"))?;
        writeln!(input, "valid?")?;
        kill_process(Pid::from_child(&self.child), Signal::CONT)?;
        self.answer()
    }

    fn answer<T: FromStr>(&mut self) -> Result<T, Failure> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        line.trim().parse().map_err(|_| Failure::new(format!("the holder said {line:?}")))
    }
}

impl Drop for HolderProcess {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.kill();
    }
}

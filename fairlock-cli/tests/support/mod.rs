//! The command, started on a place of its own.

#![allow(dead_code, reason = "not every test needs everything")]

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use conformance::server::{Redis, ZooKeeper};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Far more than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// A program that holds the lock for as long as its input is open.
pub(crate) const UNTIL_INPUT_ENDS: &[&str] = &["sh", "-c", "echo $FAIRLOCK_NAME $FAIRLOCK_TOKEN; exec cat"];

/// Goes on for a minute, which is far more than it takes, and lets traps run.
pub(crate) const LINGER: &str = "i=0; while [ $i -lt 6000 ]; do i=$((i+1)); sleep 0.01; done";

/// Where the locks of a test live.
pub(crate) struct Place<K> {
    pub(crate) kept: K,
    pub(crate) url: String,
}

impl Place<TempDir> {
    /// A directory that is not there yet.
    pub(crate) fn directory() -> Self {
        let kept = tempfile::tempdir().unwrap();
        let url = format!("file://{}", kept.path().join("locks-of-test").display());
        Self { kept, url }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.kept.path().join("locks-of-test")
    }
}

impl Place<ZooKeeper> {
    /// A node of its own on this server, whose sessions expire soon.
    pub(crate) fn on(kept: ZooKeeper) -> Self {
        let root = fairlock::EntryId::random();
        let url = format!("zookeeper://{}/{root}?session_timeout=2s", kept.address());
        Self { kept, url }
    }
}

impl Place<Redis> {
    /// Keys of its own on this server, whose sessions expire soon.
    pub(crate) fn with(kept: Redis) -> Self {
        let prefix = fairlock::EntryId::random();
        let url = format!("redis://{}/0?prefix={prefix}&session_timeout=3s", kept.address());
        Self { kept, url }
    }
}

impl<K: Sync> Place<K> {
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairlock"));
        command.args(arguments).env("FAIRLOCK_URL", &self.url).env_remove("RUST_LOG").kill_on_drop(true);
        // In the foreground of a terminal it would take interrupts to come from the keyboard.
        command.process_group(0);
        command
    }

    pub(crate) async fn output(&self, arguments: &[&str]) -> Output {
        in_time("the command ends", self.command(arguments).output()).await.unwrap()
    }

    pub(crate) async fn code(&self, arguments: &[&str]) -> Option<i32> {
        code(self.output(arguments).await.status)
    }

    pub(crate) async fn stdout(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn run(&self, options: &[&str], name: &str, program: &[&str]) -> Running {
        Running::start(self.command(&[&["run"], options, &[name, "--"], program].concat()))
    }

    /// A `run` that has the lock, and its token.
    pub(crate) async fn holding(&self, label: &str, name: &str) -> (Running, u64) {
        let mut holder = self.run(&["--label", label], name, UNTIL_INPUT_ENDS);
        let token = holder.token(name).await;
        (holder, token)
    }

    /// Labels with whether they hold.
    pub(crate) async fn queue(&self, name: &str) -> Vec<(String, bool)> {
        let queue: Vec<Value> = serde_json::from_str(&self.stdout(&["queue", "--json", name]).await).unwrap();
        let entry =
            |entry: &Value| (entry["label"].as_str().unwrap().to_owned(), entry["holds"].as_bool().unwrap());
        queue.iter().map(entry).collect()
    }

    pub(crate) async fn until_queue(&self, name: &str, wanted: &[(&str, bool)]) {
        let wanted: Vec<_> = wanted.iter().map(|(label, holds)| ((*label).to_owned(), *holds)).collect();
        in_time(&format!("{wanted:?}"), async { while self.queue(name).await != wanted {} }).await;
    }
}

/// As a shell has it: 128 + n for a process that signal n ended.
pub(crate) fn code(status: ExitStatus) -> Option<i32> {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal))
}

/// Whether a process is there and no corpse: what is killed may stay as one for a while.
pub(crate) fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub(crate) async fn until_dead(pid: i32) {
    let dead = async {
        while runs(pid) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    in_time(&format!("the end of process {pid}"), dead).await;
}

pub(crate) fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// A command that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    group: Pid,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let group = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
        Self { child, stdin, group, lines }
    }

    /// The next line that it prints; `None` when everybody who could print is gone.
    pub(crate) async fn line(&mut self) -> Option<String> {
        in_time("a line or the end of the output", self.lines.next_line()).await.unwrap()
    }

    pub(crate) async fn expect(&mut self, line: &str) {
        assert_eq!(self.line().await.as_deref(), Some(line));
    }

    /// The next line that contains this.
    pub(crate) async fn until_line(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.line().await {
                Some(line) if line.contains(text) => return line,
                Some(line) => seen.push(line),
                None => panic!("{text:?} was never printed, but {seen:?}"),
            }
        }
    }

    /// Everything up to this, which may be in a line that has no end yet.
    pub(crate) async fn until_text(&mut self, text: &str) -> String {
        let mut seen = String::new();
        let read = async {
            while !seen.contains(text) {
                let reader = self.lines.get_mut();
                let bytes = reader.fill_buf().await.unwrap();
                assert!(!bytes.is_empty(), "{text:?} was never printed, but {seen:?}");
                let before = seen.len();
                seen += std::str::from_utf8(bytes).unwrap();
                // What follows is read as lines.
                seen.truncate(seen.find(text).map_or(seen.len(), |at| at + text.len()));
                reader.consume(seen.len() - before);
            }
        };
        in_time(text, read).await;
        seen
    }

    /// The next line, which is a process id.
    pub(crate) async fn pid(&mut self) -> i32 {
        self.line().await.expect("the program runs").trim().parse().unwrap()
    }

    pub(crate) async fn token(&mut self, name: &str) -> u64 {
        let line = self.line().await.expect("the program runs");
        line.strip_prefix(name).unwrap_or_else(|| panic!("{line:?}")).trim().parse().unwrap()
    }

    /// Its number, which is that of its process group as well if it was started by a [`Place`].
    pub(crate) fn id(&self) -> Pid {
        Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap()
    }

    /// The process group of one that has ended, too.
    pub(crate) fn group(&self) -> Pid {
        self.group
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    pub(crate) async fn type_in(&mut self, text: &[u8]) {
        tokio::io::AsyncWriteExt::write_all(self.stdin.as_mut().unwrap(), text).await.unwrap();
    }

    pub(crate) async fn code(&mut self) -> Option<i32> {
        code(in_time("the command ends", self.child.wait()).await.unwrap())
    }

    pub(crate) async fn finish(mut self) {
        self.stdin = None;
        assert_eq!(self.code().await, Some(0));
    }
}

//! The command on a real ZooKeeper: what several processes see of one another.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::{Output, Stdio};
use std::time::Duration;

use conformance::server::ZooKeeper;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Far more than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// A program that holds the lock for as long as its input is open.
const UNTIL_INPUT_ENDS: &[&str] = &["sh", "-c", "echo $FAIRLOCK_NAME $FAIRLOCK_TOKEN; exec cat"];

/// Goes on for a minute, which is far more than it takes, and lets traps run.
const LINGER: &str = "i=0; while [ $i -lt 6000 ]; do i=$((i+1)); sleep 0.01; done";

struct Place {
    server: ZooKeeper,
    url: String,
}

impl Place {
    /// A directory of its own on a server, whose sessions expire soon.
    async fn new() -> Self {
        Self::on(ZooKeeper::given_or_start().await.unwrap())
    }

    fn on(server: ZooKeeper) -> Self {
        let root = fairlock::EntryId::random();
        let url = format!("zookeeper://{}/{root}?session_timeout=2s", server.address());
        Self { server, url }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairlock"));
        command.args(arguments).env("FAIRLOCK_URL", &self.url).env_remove("RUST_LOG").kill_on_drop(true);
        // In the foreground of a terminal it would take interrupts to come from the keyboard.
        command.process_group(0);
        command
    }

    async fn output(&self, arguments: &[&str]) -> Output {
        in_time("the command ends", self.command(arguments).output()).await.unwrap()
    }

    async fn code(&self, arguments: &[&str]) -> Option<i32> {
        self.output(arguments).await.status.code()
    }

    async fn stdout(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn run(&self, options: &[&str], name: &str, program: &[&str]) -> Running {
        let mut command = self.command(&[&["run"], options, &[name, "--"], program].concat());
        Running::new(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// A `run` that has the lock, and its token.
    async fn holding(&self, label: &str, name: &str) -> (Running, u64) {
        let mut holder = self.run(&["--label", label], name, UNTIL_INPUT_ENDS);
        let token = holder.token(name).await;
        (holder, token)
    }

    /// Labels with whether they hold.
    async fn queue(&self, name: &str) -> Vec<(String, bool)> {
        let queue: Vec<Value> = serde_json::from_str(&self.stdout(&["queue", "--json", name]).await).unwrap();
        let entry =
            |entry: &Value| (entry["label"].as_str().unwrap().to_owned(), entry["holds"].as_bool().unwrap());
        queue.iter().map(entry).collect()
    }

    async fn until_queue(&self, name: &str, wanted: &[(&str, bool)]) {
        let wanted: Vec<_> = wanted.iter().map(|(label, holds)| ((*label).to_owned(), *holds)).collect();
        in_time(&format!("{wanted:?}"), async { while self.queue(name).await != wanted {} }).await;
    }
}

struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn new(mut child: Child) -> Self {
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stdin, lines }
    }

    /// The next line that it prints; `None` when everybody who could print is gone.
    async fn line(&mut self) -> Option<String> {
        in_time("a line or the end of the output", self.lines.next_line()).await.unwrap()
    }

    async fn expect(&mut self, line: &str) {
        assert_eq!(self.line().await.as_deref(), Some(line));
    }

    async fn token(&mut self, name: &str) -> u64 {
        let line = self.line().await.expect("the program runs");
        line.strip_prefix(name).unwrap_or_else(|| panic!("{line:?}")).trim().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().unwrap().try_into().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    async fn code(&mut self) -> Option<i32> {
        in_time("the command ends", self.child.wait()).await.unwrap().code()
    }

    async fn finish(mut self) {
        self.stdin = None;
        assert_eq!(self.code().await, Some(0));
    }
}

#[tokio::test]
async fn one_after_the_other_with_rising_tokens() {
    let place = Place::new().await;
    let (one, first) = place.holding("one", "a/b").await;
    let mut two = place.run(&["--label", "two"], "a/b", UNTIL_INPUT_ENDS);
    place.until_queue("a/b", &[("one", true), ("two", false)]).await;

    let table = place.stdout(&["queue", "a/b"]).await;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["POSITION", "STATE", "KIND", "TOKEN", "SINCE", "LABEL"]);
    assert_eq!(rows[1][..4], ["0", "holds", "exclusive", &first.to_string()]);
    assert_eq!(rows[2][..3], ["1", "waits", "exclusive"]);
    assert_eq!((rows[1].last(), rows[2].last(), rows.len()), (Some(&"one"), Some(&"two"), 3));

    one.finish().await;
    assert!(two.token("a/b").await > first);
    place.until_queue("a/b", &[("two", true)]).await;
    two.finish().await;
    assert_eq!(place.queue("a/b").await, []);
}

#[tokio::test]
async fn the_exit_code_is_the_program_s() {
    let place = Place::new().await;
    let directory = tempfile::tempdir().unwrap();
    let programs: [(&[&str], i32); 5] = [
        (&["true"], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "kill -KILL $$"], 128 + 9),
        (&["/nonexistent/program"], 127),
        (&[directory.path().to_str().unwrap()], 126),
    ];
    for (program, code) in programs {
        assert_eq!(place.code(&[&["run", "x", "--"], program].concat()).await, Some(code), "{program:?}");
    }
    assert_eq!(place.queue("x").await, []);
}

#[tokio::test]
async fn a_killed_command_takes_its_program_with_it_and_lets_the_next_in() {
    let place = Place::new().await;
    let (mut one, first) = place.holding("one", "x").await;
    let mut two = place.run(&["--label", "two"], "x", UNTIL_INPUT_ENDS);
    place.until_queue("x", &[("one", true), ("two", false)]).await;

    one.signal(Signal::KILL);
    // Its input is still open, and so is the output while the program lives.
    assert_eq!(one.line().await, None);
    assert!(two.token("x").await > first);
    two.finish().await;
}

#[tokio::test]
async fn signals_are_passed_on() {
    let place = Place::new().await;
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2] {
        let number = signal.as_raw();
        let program = format!("trap 'echo caught; exit 3' {number}; echo ready; {LINGER}");
        let mut run = place.run(&[], "x", &["sh", "-c", &program]);
        run.expect("ready").await;
        run.signal(signal);
        run.expect("caught").await;
        assert_eq!(run.code().await, Some(3));
    }
}

#[tokio::test]
async fn ctrl_c_reaches_the_program_once() {
    let place = Place::new().await;
    let count = "n=0; trap 'n=$((n+1)); echo caught' INT; trap 'echo $n times; exit' TERM; echo $PPID";
    let program = format!("{count}; {LINGER}");
    // `script` gives it a terminal.
    let run = format!("exec {} run x -- sh -c \"$PROGRAM\"", env!("CARGO_BIN_EXE_fairlock"));
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &run, "/dev/null"]);
    command.env("FAIRLOCK_URL", &place.url).env("PROGRAM", program).env("SHELL", "/bin/sh");
    let terminal = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut terminal = Running::new(terminal);
    let fairlock: i32 = terminal.line().await.unwrap().trim().parse().unwrap();

    let key = b"\x03";
    tokio::io::AsyncWriteExt::write_all(terminal.stdin.as_mut().unwrap(), key).await.unwrap();
    assert!(terminal.line().await.unwrap().ends_with("caught"));
    // A second interrupt would have been passed on before this.
    kill_process(Pid::from_raw(fairlock).unwrap(), Signal::TERM).unwrap();
    assert_eq!(terminal.line().await.unwrap().trim(), "1 times");
}

#[tokio::test]
async fn signals_that_are_ignored_stay_ignored() {
    let place = Place::new().await;
    let run = format!("trap '' HUP; exec {} run x -- \"$@\"", env!("CARGO_BIN_EXE_fairlock"));
    let program = "echo ready; read line; echo alive; cat";
    let mut command = Command::new("sh");
    command.args(["-c", &run, "sh", "sh", "-c", program]).env("FAIRLOCK_URL", &place.url);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut run = Running::new(child);
    run.expect("ready").await;
    run.signal(Signal::HUP);
    tokio::io::AsyncWriteExt::write_all(run.stdin.as_mut().unwrap(), b"\n").await.unwrap();
    run.expect("alive").await;
    run.finish().await;
}

#[tokio::test]
async fn a_lock_that_is_not_had_in_time() {
    let place = Place::new().await;
    let (one, _) = place.holding("one", "x").await;
    for options in [&["--try"][..], &["--wait", "50ms"]] {
        let output = place.output(&[&["run"], options, &["x", "--", "echo", "ran"]].concat()).await;
        assert_eq!(output.status.code(), Some(75), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert_eq!(place.queue("x").await, [("one".to_owned(), true)]);
    }
    one.finish().await;
}

#[tokio::test]
async fn a_waiter_that_is_told_to_end_leaves_the_queue() {
    let place = Place::new().await;
    let (one, _) = place.holding("one", "x").await;
    for signal in [Signal::TERM, Signal::INT] {
        let mut two = place.run(&["--label", "two"], "x", UNTIL_INPUT_ENDS);
        place.until_queue("x", &[("one", true), ("two", false)]).await;
        two.signal(signal);
        assert_eq!(two.code().await, Some(128 + signal.as_raw()));
        assert_eq!(two.line().await, None, "the program must not run");
        assert_eq!(place.queue("x").await, [("one".to_owned(), true)]);
    }
    one.finish().await;
}

/// Runs a program until the server falls silent, and says what it printed afterwards.
async fn lose(place: &Place, program: &str) -> (Option<i32>, String, String) {
    let mut command = place.command(&["run", "--grace", "100ms", "x", "--", "sh", "-c", program]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let mut run = Running::new(child);
    run.expect("ready").await;
    place.server.pause().unwrap();
    let last = run.line().await.unwrap_or_default();
    let code = run.code().await;
    place.server.resume().unwrap();
    let mut said = String::new();
    in_time("the end of the diagnostics", stderr.read_to_string(&mut said)).await.unwrap();
    (code, last, said)
}

#[tokio::test]
async fn a_program_whose_lock_is_lost_is_told_then_killed() {
    let place = Place::on(ZooKeeper::start().await.unwrap());
    let obedient = format!("trap 'echo told; exit 0' TERM; echo ready; {LINGER}");
    let (code, last, said) = lose(&place, &obedient).await;
    assert_eq!((code, &*last), (Some(76), "told"), "{said}");
    assert!(said.contains("fairlock: lost \"x\""), "{said}");

    let deaf = format!("trap '' TERM; echo ready; {LINGER}");
    let (code, last, said) = lose(&place, &deaf).await;
    assert_eq!((code, &*last), (Some(76), ""), "{said}");
    assert!(said.contains("killing the program"), "{said}");
}

#[tokio::test]
async fn shared_locks_and_semaphores() {
    let place = Place::new().await;
    let run = |options: &[&str]| place.run(options, "x", UNTIL_INPUT_ENDS);
    let (mut one, mut two) = (run(&["--shared"]), run(&["--shared"]));
    one.token("x").await;
    two.token("x").await;
    assert_eq!(place.code(&["run", "--try", "x", "--", "true"]).await, Some(75));

    // The name is in use, but semaphores have queues of their own.
    let mut three = run(&["--semaphore", "3", "--permits", "2", "--label", "three"]);
    let token = three.token("x").await;
    let try_permits = |permits| ["run", "--try", "--semaphore", "3", "--permits", permits, "x", "--", "true"];
    assert_eq!(place.code(&try_permits("2")).await, Some(75));
    assert_eq!(place.code(&try_permits("1")).await, Some(0));
    assert_eq!(place.code(&["run", "--semaphore", "4", "x", "--", "true"]).await, Some(64));

    let queue = place.stdout(&["queue", "--semaphore", "--json", "x"]).await;
    let mut queue: Value = serde_json::from_str(&queue).unwrap();
    let entry = queue[0].as_object_mut().unwrap();
    assert!(entry.remove("id").unwrap().is_string());
    let since = entry.remove("since").unwrap();
    assert!(humantime::parse_rfc3339(since.as_str().unwrap()).is_ok(), "{since}");
    let expected = json!([{
        "position": 0, "holds": true, "kind": "semaphore", "permits": 2, "limit": 3,
        "token": token, "label": "three",
    }]);
    assert_eq!(queue, expected);
    for run in [one, two, three] {
        run.finish().await;
    }
}

#[tokio::test]
async fn cleanup_spares_what_is_used() {
    let place = Place::new().await;
    let (one, _) = place.holding("one", "used/1").await;
    assert_eq!(place.code(&["run", "unused", "--", "true"]).await, Some(0));
    place.stdout(&["cleanup"]).await;
    let expected = json!([{ "family": "lock", "name": "used/1" }]);
    let list = place.stdout(&["list", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&list).unwrap(), expected);
    assert_eq!(place.stdout(&["list"]).await, "FAMILY  NAME\nlock    used/1\n");
    assert_eq!(place.queue("used/1").await, [("one".to_owned(), true)]);
    one.finish().await;
}

#[tokio::test]
async fn demo_with_a_session_for_each_executor() {
    let place = Place::new().await;
    let shown = place.stdout(&["demo", "--executors", "3", "--tasks", "4", "--hold", "1ms"]).await;
    assert_eq!(shown.lines().filter(|line| line.starts_with("grant ")).count(), 12, "{shown}");
    assert!(shown.ends_with("never two at once, and in the order of the queue\n"), "{shown}");
}

#[tokio::test]
async fn conformance_starts_other_processes_that_hold_locks() {
    let place = Place::new().await;
    let shown = place.stdout(&["conformance", "--filter", "processes/a_killed_holder_makes_room"]).await;
    assert!(shown.starts_with("passed   processes/a_killed_holder_makes_room\n"), "{shown}");
}

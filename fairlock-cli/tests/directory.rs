//! The command on a local directory: what several processes see of one another.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use support::{LINGER, Place, Running, UNTIL_INPUT_ENDS, in_time};

fn place() -> Place<TempDir> {
    Place::directory()
}

#[tokio::test]
async fn one_after_the_other_with_rising_tokens() {
    let place = place();
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
async fn two_hundred_processes_in_the_order_in_which_they_came() {
    let place = place();
    let order = place.kept.path().join("order");
    let (holder, _) = place.holding("first", "x").await;
    let mut waiting = Vec::new();
    for number in 0..200 {
        let program = format!("echo {number} $FAIRLOCK_TOKEN >> {}", order.display());
        waiting.push(place.run(&[], "x", &["sh", "-c", &program]));
        let come = async { while place.queue("x").await.len() != number + 2 {} };
        in_time("it stands in the queue", come).await;
    }
    holder.finish().await;
    for run in waiting {
        run.finish().await;
    }
    let order = fs::read_to_string(order).unwrap();
    let (came, tokens): (Vec<usize>, Vec<u64>) = order
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(number, token)| (number.parse::<usize>().unwrap(), token.parse::<u64>().unwrap()))
        .unzip();
    assert_eq!(came, (0..200).collect::<Vec<_>>());
    assert!(tokens.is_sorted_by(|earlier, later| earlier < later), "{tokens:?}");
}

#[tokio::test]
async fn the_exit_code_is_the_program_s() {
    let place = place();
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
async fn a_shell_runs_a_line() {
    let place = place();
    assert_eq!(place.stdout(&["run", "x", "-c", "echo a | tr a b; echo $FAIRLOCK_NAME"]).await, "b\nx\n");
    assert_eq!(place.code(&["run", "-c", "exit 7", "x"]).await, Some(7));
    let mut other = place.command(&["run", "x", "-c", "a line"]);
    let output = in_time("the command ends", other.env("SHELL", "echo").output()).await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "-c a line\n");
    let mut none = place.command(&["run", "x", "-c", "echo $0"]);
    let output = in_time("the command ends", none.env_remove("SHELL").output()).await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "/bin/sh\n");
}

#[tokio::test]
async fn a_killed_program_frees_the_lock() {
    let place = place();
    let mut one = place.run(&["--label", "one"], "x", &["sh", "-c", "echo $$; exec cat"]);
    let program: i32 = one.line().await.unwrap().parse().unwrap();
    let mut two = place.run(&["--label", "two"], "x", UNTIL_INPUT_ENDS);
    place.until_queue("x", &[("one", true), ("two", false)]).await;
    kill_process(Pid::from_raw(program).unwrap(), Signal::KILL).unwrap();
    assert_eq!(one.code().await, Some(128 + 9));
    two.token("x").await;
    two.finish().await;
}

#[tokio::test]
async fn a_killed_waiter_leaves_the_queue() {
    let place = place();
    let (one, _) = place.holding("one", "x").await;
    let two = place.run(&["--label", "two"], "x", UNTIL_INPUT_ENDS);
    place.until_queue("x", &[("one", true), ("two", false)]).await;
    let mut three = place.run(&["--label", "three"], "x", UNTIL_INPUT_ENDS);
    place.until_queue("x", &[("one", true), ("two", false), ("three", false)]).await;
    two.signal(Signal::KILL);
    place.until_queue("x", &[("one", true), ("three", false)]).await;
    one.finish().await;
    three.token("x").await;
    three.finish().await;
}

#[tokio::test]
async fn a_stopped_command_holds_on() {
    let place = place();
    let (one, _) = place.holding("one", "x").await;
    one.signal(Signal::STOP);
    assert_eq!(place.code(&["run", "--wait", "3s", "x", "--", "true"]).await, Some(75));
    assert_eq!(place.queue("x").await, [("one".to_owned(), true)]);
    one.signal(Signal::CONT);
    one.finish().await;
}

#[tokio::test]
async fn signals_are_passed_on() {
    let place = place();
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
async fn signals_that_are_ignored_stay_ignored() {
    let place = place();
    let run = format!("trap '' HUP; exec {} run x -- \"$@\"", env!("CARGO_BIN_EXE_fairlock"));
    let program = "echo ready; read line; echo alive; cat";
    let mut command = Command::new("sh");
    command.args(["-c", &run, "sh", "sh", "-c", program]).env("FAIRLOCK_URL", &place.url).kill_on_drop(true);
    let mut run = Running::start(command);
    run.expect("ready").await;
    run.signal(Signal::HUP);
    run.type_in(b"\n").await;
    run.expect("alive").await;
    run.finish().await;
}

#[tokio::test]
async fn a_lock_that_is_not_had_in_time() {
    let place = place();
    let (one, _) = place.holding("one", "x").await;
    for (options, code) in [
        (&["--try"][..], 75),
        (&["--wait", "50ms"], 75),
        (&["--try", "--conflict-exit-code", "3"], 3),
        (&["-E", "0", "--wait", "1ms"], 0),
    ] {
        let output = place.output(&[&["run"], options, &["x", "--", "echo", "ran"]].concat()).await;
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert_eq!(place.queue("x").await, [("one".to_owned(), true)]);
    }
    one.finish().await;
}

#[tokio::test]
async fn a_waiter_that_is_told_to_end_leaves_the_queue() {
    let place = place();
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

#[tokio::test]
async fn verbose_says_what_it_waits_for() {
    let place = place();
    let (one, first) = place.holding("one", "x").await;
    let mut command = place.command(&["run", "--verbose", "x", "--", "true"]);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut two = command.spawn().unwrap();
    let mut lines = BufReader::new(two.stderr.take().unwrap()).lines();
    let mut line = async || in_time("a line", lines.next_line()).await.unwrap().unwrap();
    assert_eq!(line().await, format!("fairlock: the locks live at {}", place.url));
    let waiting = line().await;
    assert!(waiting.starts_with("fairlock: waiting for \"x\": 1 ahead, held by one for "), "{waiting}");
    one.finish().await;
    let got = line().await;
    assert!(got.starts_with("fairlock: got \"x\" after ") && !got.contains(&first.to_string()), "{got}");
    assert!(in_time("the command ends", two.wait()).await.unwrap().success());
}

#[tokio::test]
async fn a_loss_that_only_the_release_finds_is_told() {
    let place = place();
    let entries = place.path().join("locks/x");
    // Sooner after the grant than anybody looks.
    let output = place.output(&["run", "x", "-c", &format!("rm {}/ex-*", entries.display())]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(76), "{said}");
    assert!(said.contains("fairlock: lost \"x\": the entry was removed from the queue"), "{said}");
}

#[tokio::test]
async fn the_directory_removed_underneath_ends_the_program() {
    let place = place();
    let program = format!("trap 'echo told; exit 0' TERM; echo ready; {LINGER}");
    let mut command = place.command(&["run", "x", "--", "sh", "-c", &program]);
    command.stderr(Stdio::piped());
    let mut holder = Running::start(command);
    let mut stderr = holder.child.stderr.take().unwrap();
    holder.expect("ready").await;
    let mut waiter = place.run(&["--label", "two"], "x", UNTIL_INPUT_ENDS);
    in_time("two in the queue", async { while place.queue("x").await.len() != 2 {} }).await;

    fs::remove_dir_all(place.path()).unwrap();
    holder.expect("told").await;
    assert_eq!((holder.code().await, waiter.code().await), (Some(76), Some(76)));
    let mut said = String::new();
    in_time("the end of the diagnostics", stderr.read_to_string(&mut said)).await.unwrap();
    assert!(said.contains("fairlock: lost \"x\": the entry was removed from the queue"), "{said}");
    assert_eq!(place.code(&["run", "--try", "x", "--", "true"]).await, Some(0));
}

#[tokio::test]
async fn shared_locks_and_semaphores() {
    let place = place();
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
    assert!(entry.remove("host").unwrap().is_string());
    assert_eq!(entry.remove("pid").unwrap(), three.id().as_raw_pid());
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
async fn a_watched_queue_shows_every_change() {
    let place = place();
    let (one, _) = place.holding("one", "x").await;
    let mut watching = Running::start(place.command(&["queue", "--watch", "--json", "x"]));
    let mut labels = async || {
        let queue: Value = serde_json::from_str(&watching.line().await.unwrap()).unwrap();
        let label = |entry: &Value| entry["label"].as_str().unwrap().to_owned();
        queue.as_array().unwrap().iter().map(label).collect::<Vec<_>>()
    };
    assert_eq!(labels().await, ["one"]);
    let two = place.run(&["--label", "two"], "x", UNTIL_INPUT_ENDS);
    assert_eq!(labels().await, ["one", "two"]);
    one.finish().await;
    assert_eq!(labels().await, ["two"]);
    two.finish().await;
    assert_eq!(labels().await, [""; 0]);
    watching.signal(Signal::INT);
    in_time("the command ends", watching.child.wait()).await.unwrap();
}

#[tokio::test]
async fn cleanup_spares_what_is_used() {
    let place = place();
    let (one, _) = place.holding("one", "used/1").await;
    // As a command leaves it that was killed.
    fs::create_dir(place.path().join("locks/unused")).unwrap();
    assert_eq!(place.stdout(&["cleanup"]).await, "unused locks removed: 1\n");
    let expected = json!([{ "family": "lock", "name": "used/1" }]);
    let list = place.stdout(&["list", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&list).unwrap(), expected);
    assert_eq!(place.stdout(&["list"]).await, "FAMILY  NAME\nlock    used/1\n");
    assert_eq!(place.queue("used/1").await, [("one".to_owned(), true)]);
    one.finish().await;
}

#[tokio::test]
async fn conformance_on_a_directory() {
    let place = place();
    let shown = place.stdout(&["conformance", "--filter", "processes/"]).await;
    assert!(shown.starts_with("passed   processes/a_killed_holder_makes_room\n"), "{shown}");
    let total = shown.lines().last().unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!((total[0], total[2]), ("total", "0"), "{shown}");
}

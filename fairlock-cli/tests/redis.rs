//! The program under the lock, on a real Redis: it ends before the server lets the next one in.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::process::Stdio;

use conformance::server::Redis;
use rustix::process::{Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};

use support::{LINGER, Place, Running, UNTIL_INPUT_ENDS, in_time, runs, until_dead};

async fn place() -> Place<Redis> {
    Place::with(Redis::given_or_start().await.unwrap())
}

/// Prints the numbers of two processes that SIGTERM does not end.
fn deaf() -> String {
    format!("trap '' TERM; echo $$; sh -c 'echo $$; {LINGER}' & {LINGER}; wait")
}

#[tokio::test]
async fn a_killed_command_leaves_nothing_running() {
    let place = place().await;
    let mut one = place.run(&["--label", "one"], "x", &["sh", "-c", &deaf()]);
    let (program, grandchild) = (one.pid().await, one.pid().await);
    one.signal(Signal::KILL);
    until_dead(program).await;
    until_dead(grandchild).await;
    assert_eq!(place.queue("x").await, [("one".to_owned(), true)], "long before its session expires");
}

#[tokio::test]
async fn a_command_that_was_stopped_has_nothing_running_when_the_next_holds() {
    let place = place().await;
    let mut one = place.run(&["--label", "one"], "x", &["sh", "-c", &deaf()]);
    let (program, grandchild) = (one.pid().await, one.pid().await);
    let mut two = place.run(&["--label", "two"], "x", UNTIL_INPUT_ENDS);
    place.until_queue("x", &[("one", true), ("two", false)]).await;
    one.signal(Signal::STOP);
    two.token("x").await;
    assert!(!runs(program) && !runs(grandchild), "they go on beside the next holder");
    one.signal(Signal::CONT);
    assert_eq!(one.code().await, Some(76));
    two.finish().await;
}

#[tokio::test]
async fn a_program_is_told_to_end_while_its_lock_is_sure_and_killed_before_it_is_not() {
    let place = Place::with(Redis::start().await.unwrap());
    let program = format!("trap 'echo told' TERM; echo ready; {LINGER}");
    let mut command = place.command(&["run", "x", "--", "sh", "-c", &program]);
    command.env("RUST_LOG", "error").stderr(Stdio::piped());
    let mut run = Running::start(command);
    let mut said = BufReader::new(run.child.stderr.take().unwrap()).lines();
    run.expect("ready").await;
    place.kept.pause().unwrap();
    run.expect("told").await;
    // The shell may have something to say as well.
    let mut said = async |what: &str| loop {
        let line = in_time("a diagnostic", said.next_line()).await.unwrap().unwrap();
        if let Some(rest) = line.strip_prefix(what) {
            return rest.to_owned();
        }
    };
    let rest = said("fairlock: ending the program because of its lock, by SIGKILL in ").await;
    let rest = humantime::parse_duration(&rest).unwrap();
    let longest = std::time::Duration::from_millis(1200);
    assert!(rest <= longest, "two fifths of three seconds at most, not {rest:?}");
    said("fairlock: killing the program: it still runs").await;
    // No answer is needed for that.
    assert_eq!(run.code().await, Some(76));
    place.kept.resume().unwrap();
}

#[tokio::test]
async fn a_program_may_run_for_longer_than_a_session_lasts() {
    let place = place().await;
    assert_eq!(place.stdout(&["run", "x", "-c", "sleep 3.5; echo done"]).await, "done\n");
}

#[tokio::test]
async fn a_group_that_is_stopped_as_a_whole_has_nothing_running_when_the_next_holds() {
    let place = place().await;
    let mut one = place.run(&["--label", "one"], "x", &["sh", "-c", &deaf()]);
    let (program, grandchild) = (one.pid().await, one.pid().await);
    let mut two = place.run(&["--label", "two"], "x", UNTIL_INPUT_ENDS);
    place.until_queue("x", &[("one", true), ("two", false)]).await;
    kill_process_group(one.id(), Signal::STOP).unwrap();
    two.token("x").await;
    until_dead(program).await;
    until_dead(grandchild).await;
    one.signal(Signal::CONT);
    assert_eq!(one.code().await, Some(76));
    two.finish().await;
}

#[tokio::test]
async fn a_grace_that_the_session_does_not_allow_is_wrong_usage() {
    let place = place().await;
    let output = place.output(&["run", "--grace", "1201ms", "x", "--", "echo", "ran"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*output.stdout), (Some(64), &b""[..]), "{said}");
    assert!(said.contains("--grace 1s 201ms is too long: at most 1s 200ms"), "{said}");
    assert_eq!(place.stdout(&["run", "--grace", "1200ms", "x", "--", "echo", "ran"]).await, "ran\n");

    let directory = Place::directory();
    assert_eq!(directory.stdout(&["run", "--grace", "1year", "x", "--", "echo", "ran"]).await, "ran\n");
}

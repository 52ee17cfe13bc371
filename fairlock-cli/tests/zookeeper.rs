//! The command on a real ZooKeeper: what is different when the locks live on a server.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::process::Stdio;

use conformance::server::ZooKeeper;
use rustix::process::Signal;
use tokio::io::AsyncReadExt;

use support::{LINGER, Place, Running, UNTIL_INPUT_ENDS, in_time};

async fn place() -> Place<ZooKeeper> {
    Place::on(ZooKeeper::given_or_start().await.unwrap())
}

#[tokio::test]
async fn a_killed_command_takes_its_program_with_it_and_lets_the_next_in() {
    let place = place().await;
    let (mut one, first) = place.holding("one", "a/b").await;
    let mut two = place.run(&["--label", "two"], "a/b", UNTIL_INPUT_ENDS);
    place.until_queue("a/b", &[("one", true), ("two", false)]).await;

    one.signal(Signal::KILL);
    // Its input is still open, and so is the output while the program lives.
    assert_eq!(one.line().await, None);
    assert!(two.token("a/b").await > first);
    two.finish().await;
    assert_eq!(place.queue("a/b").await, []);
}

/// Runs a program until the server falls silent, and says what it printed afterwards.
async fn lose(place: &Place<ZooKeeper>, program: &str) -> (Option<i32>, String, String) {
    let mut command = place.command(&["run", "--grace", "100ms", "x", "--", "sh", "-c", program]);
    command.stderr(Stdio::piped());
    let mut run = Running::start(command);
    let mut stderr = run.child.stderr.take().unwrap();
    run.expect("ready").await;
    place.kept.pause().unwrap();
    let last = run.line().await.unwrap_or_default();
    let code = run.code().await;
    place.kept.resume().unwrap();
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
    // It would have been told of the end, if it answered.
    assert!(said.contains("fairlock: the session will end by itself"), "{said}");

    let deaf = format!("trap '' TERM; echo ready; {LINGER}");
    let (code, last, said) = lose(&place, &deaf).await;
    assert_eq!((code, &*last), (Some(76), ""), "{said}");
    assert!(said.contains("killing the program"), "{said}");
}

#[tokio::test]
async fn a_command_that_ends_leaves_no_session() {
    let place = Place::on(ZooKeeper::start().await.unwrap());
    assert_eq!(place.code(&["run", "x", "--", "true"]).await, Some(0));
    let metrics = place.kept.four_letter("mntr").await.unwrap();
    assert!(metrics.lines().any(|line| line == "zk_global_sessions\t0"), "{metrics}");
}

#[tokio::test]
async fn demo_with_a_session_for_each_executor() {
    let place = place().await;
    let shown = place.stdout(&["demo", "--executors", "3", "--tasks", "4", "--hold", "1ms"]).await;
    assert_eq!(shown.lines().filter(|line| line.starts_with("grant ")).count(), 12, "{shown}");
    assert!(shown.ends_with("never two at once, and in the order of the queue\n"), "{shown}");
}

#[tokio::test]
async fn conformance_starts_other_processes_that_hold_locks() {
    let place = place().await;
    let shown = place.stdout(&["conformance", "--filter", "processes/a_killed_holder_makes_room"]).await;
    assert!(shown.starts_with("passed   processes/a_killed_holder_makes_room\n"), "{shown}");
}

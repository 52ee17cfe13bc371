//! Programs in the background of a shell, as many at once as there are permits.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use support::{Place, Running, in_time, send};

fn place() -> Place<TempDir> {
    Place::directory()
}

/// A script in which $RUN starts a program in the background, and $JOIN waits for them.
fn script(place: &Place<TempDir>, script: &str) -> Command {
    let mut command = Command::new("bash");
    let fairlock = env!("CARGO_BIN_EXE_fairlock");
    command
        .args(["-c", script])
        .env("RUN", format!("{fairlock} run --background"))
        .env("JOIN", format!("{fairlock} join"));
    command.env("FAIRLOCK_URL", &place.url).env_remove("RUST_LOG").kill_on_drop(true).process_group(0);
    command
}

#[tokio::test]
async fn four_at_a_time() {
    let place = place();
    let log = place.kept.path().join("log");
    // A program runs until the third after it runs too, or the last one.
    let program = "echo + >> $LOG; until (($(grep -cF + $LOG) >= (f < 7 ? f + 3 : 10))); do sleep 0.01; done; echo - >> $LOG";
    let line = format!(
        "export f; for f in {{1..10}}; do $RUN --semaphore 4 x bash -c '{program}'; done; $JOIN; echo $?"
    );
    let output = in_time("it ends", script(&place, &line).env("LOG", &log).output()).await.unwrap();
    assert_eq!(output.stdout, b"0\n", "{output:?}");
    let mut running = 0;
    let counts: Vec<i32> = fs::read_to_string(log)
        .unwrap()
        .lines()
        .map(|line| {
            running += if line == "+" { 1 } else { -1 };
            running
        })
        .collect();
    assert_eq!((counts.len(), counts.iter().max(), running), (20, Some(&4), 0), "{counts:?}");
    assert_eq!(place.queue("x").await, []);
}

#[tokio::test]
async fn it_returns_when_the_program_runs_and_no_sooner() {
    let place = place();
    let (holder, _) = place.holding("one", "x").await;
    let mut run = Running::start(script(
        &place,
        "$RUN x sh -c 'echo runs; read line; echo got $line; sleep 100'; echo returned; read line",
    ));
    in_time("it waits", async { while place.queue("x").await.len() != 2 {} }).await;
    holder.finish().await;
    let mut lines = [run.line().await.unwrap(), run.line().await.unwrap(), run.line().await.unwrap()];
    lines.sort();
    // What is typed is for the shell.
    assert_eq!(lines, ["got", "returned", "runs"]);
    run.type_in(b"\n").await;
    assert_eq!(run.code().await, Some(0));
    assert_eq!(place.queue("x").await.len(), 1);
    rustix::process::kill_process_group(run.group(), Signal::TERM).unwrap();
    in_time("it is free", async { while !place.queue("x").await.is_empty() {} }).await;
}

#[tokio::test]
async fn join_knows_what_failed_also_before_it_came() {
    let place = place();
    for (line, code) in [
        ("$RUN x true; $RUN y sh -c 'exit 7'; sleep 0.5; $JOIN", 7),
        ("$RUN x sh -c 'sleep 0.3; exit 7'; $RUN y true; $JOIN; echo $?; $JOIN", 0),
        ("$RUN x sh -c 'exit 7'; $RUN y sh -c 'sleep 0.2'; $JOIN y", 0),
        ("$RUN x sh -c 'kill -KILL $$'; $JOIN x", 128 + 9),
        ("$RUN x /nonexistent/program; $JOIN", 127),
        ("$JOIN", 0),
    ] {
        let output = in_time("it ends", script(&place, line).output()).await.unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}: {output:?}");
    }
    let (holder, _) = place.holding("one", "x").await;
    let output = in_time("it ends", script(&place, "$RUN --try x true").output()).await.unwrap();
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    holder.finish().await;
}

/// What failed, and was waited for by nobody, ends with the shell.
#[tokio::test]
async fn nothing_is_left_of_a_shell_that_does_not_join() {
    let place = place();
    let mut run = Running::start(script(&place, "$RUN x sh -c 'exit 7'; echo $$; exec cat"));
    let shell = run.pid().await;
    let listed = || fs::read_to_string("/proc/net/unix").unwrap().contains(&format!("fairlock-run-{shell}-"));
    assert!(listed());
    send(shell, Signal::KILL);
    in_time("it is gone", async {
        while listed() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

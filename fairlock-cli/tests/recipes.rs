//! Jobs, elections and several locks, with real processes.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use support::{Place, Running, UNTIL_INPUT_ENDS, in_time, until_dead};

fn place() -> Place<TempDir> {
    Place::directory()
}

#[tokio::test]
async fn a_job_runs_once_in_its_period() {
    let place = place();
    let job = ["run", "--once-per", "1h", "nightly", "--", "echo", "ran"];
    assert_eq!(place.stdout(&job).await, "ran\n");
    for _ in 0..20 {
        let output = place.output(&job).await;
        assert!(output.status.success() && output.stdout.is_empty(), "it ran twice: {output:?}");
        // Cron sends a mail for each word.
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    let told = place.output(&[&["run", "--verbose"], &job[1..]].concat()).await;
    let why = String::from_utf8(told.stderr).unwrap();
    assert!(told.status.success() && why.contains("\"nightly\" is not due"), "{why}");
    assert_eq!(place.queue("nightly").await, []);
}

#[tokio::test]
async fn many_timers_fire_and_one_runs_the_job() {
    let place = place();
    let runs: Vec<Running> =
        (0..10).map(|_| place.run(&["--once-per", "1h"], "nightly", &["echo", "ran"])).collect();
    let mut ran = 0;
    for mut run in runs {
        ran += usize::from(run.line().await.is_some());
        assert_eq!(run.code().await, Some(0));
    }
    assert_eq!(ran, 1);
}

#[tokio::test]
async fn a_job_that_fails_counts_unless_it_should_not() {
    let place = place();
    let job = ["--once-per", "1h", "nightly", "--", "sh", "-c", "exit 7"];
    assert_eq!(place.code(&[&["run"], &job[..]].concat()).await, Some(7));
    assert_eq!(place.code(&[&["run"], &job[..]].concat()).await, Some(0));
    assert_eq!(place.code(&[&["run", "--again-if-failed"], &job[..]].concat()).await, Some(7));
}

#[tokio::test]
async fn a_job_that_is_killed_in_the_middle_counts_unless_it_should_not() {
    let place = place();
    let mut killed = place.run(&["--once-per", "1h"], "nightly", UNTIL_INPUT_ENDS);
    killed.token("nightly").await;
    killed.signal(Signal::KILL);
    killed.code().await;
    place.until_queue("nightly", &[]).await;
    let job = ["--once-per", "1h", "nightly", "--", "echo", "ran"];
    assert_eq!(place.stdout(&[&["run"], &job[..]].concat()).await, "");
    assert_eq!(place.stdout(&[&["run", "--again-if-unfinished"], &job[..]].concat()).await, "ran\n");
}

#[tokio::test]
async fn the_lock_is_held_for_a_while_after_a_short_run() {
    let place = place();
    let began = Instant::now();
    let mut short = place.run(&["--label", "short", "--at-least", "2s"], "x", &["sh", "-c", "echo $$"]);
    until_dead(short.pid().await).await;
    let held = place.queue("x").await == [("short".to_owned(), true)];
    assert!(held || began.elapsed() >= Duration::from_secs(2));
    assert_eq!(short.code().await, Some(0));
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(place.queue("x").await, []);
}

#[tokio::test]
async fn a_signal_ends_the_wait_after_a_short_run() {
    let place = place();
    let mut short = place.run(&["--at-least", "1h"], "x", &["sh", "-c", "echo $$"]);
    until_dead(short.pid().await).await;
    short.signal(Signal::TERM);
    short.code().await;
    place.until_queue("x", &[]).await;
}

#[tokio::test]
async fn several_locks_are_had_together() {
    let place = place();
    let mut both = place.run(&["--label", "both", "--and", "a", "--and", "c"], "b", UNTIL_INPUT_ENDS);
    let token = both.token("b").await;
    for name in ["a", "b", "c"] {
        assert_eq!(place.queue(name).await, [("both".to_owned(), true)], "{name}");
        assert_eq!(place.code(&["run", "--try", name, "--", "true"]).await, Some(75), "{name}");
    }
    let queue: Value = serde_json::from_str(&place.stdout(&["queue", "--json", "b"]).await).unwrap();
    assert_eq!(queue[0]["token"].as_u64(), Some(token), "the token is that of the name that was given first");
    assert_eq!(place.code(&["run", "--try", "--and", "b", "d", "--", "true"]).await, Some(75));
    assert_eq!(place.queue("d").await, [], "one of them was had");
    both.finish().await;
    for name in ["a", "b", "c"] {
        assert_eq!(place.queue(name).await, [], "{name}");
    }
    assert_eq!(place.code(&["run", "--and", "a", "a", "--", "true"]).await, Some(64));
}

#[tokio::test]
async fn crossing_orders_never_deadlock() {
    let place = place();
    let runs = (0..20).map(|number| {
        let (first, second) = if number % 2 == 0 { ("a", "b") } else { ("b", "a") };
        place.run(&["--and", second], first, &["sleep", "0.01"])
    });
    for run in runs.collect::<Vec<_>>() {
        run.finish().await;
    }
}

/// Whatever was its lock's file is unlocked when it is gone, all of them.
#[tokio::test]
async fn the_locks_of_a_killed_run_are_free_when_its_program_is_gone() {
    let place = place();
    let mut killed = place.run(&["--and", "a"], "b", UNTIL_INPUT_ENDS);
    killed.token("b").await;
    killed.signal(Signal::KILL);
    for name in ["a", "b"] {
        place.until_queue(name, &[]).await;
    }
    assert_eq!(killed.line().await, None, "the program goes on");
}

#[tokio::test]
async fn leaders_are_elected_and_shown() {
    let place = place();
    assert_eq!(place.code(&["run", "scheduler", "true"]).await, Some(0));
    assert_eq!(place.code(&["elect", "scheduler"]).await, Some(75));
    let mut watch = Running::start(place.command(&["elect", "--watch", "scheduler"]));
    watch.expect("").await;
    let elect =
        |value| place.command(&[&["elect", "--value", value, "scheduler", "--"], UNTIL_INPUT_ENDS].concat());
    let mut one = Running::start(elect("one"));
    let first = one.token("scheduler").await;
    watch.expect("one").await;
    let mut two = Running::start(elect("two"));
    in_time("it is a candidate", async { while place.queue("scheduler").await.len() < 2 {} }).await;
    assert_eq!(place.stdout(&["elect", "scheduler"]).await, "one\n");
    let leader: Value = serde_json::from_str(&place.stdout(&["elect", "--json", "scheduler"]).await).unwrap();
    assert_eq!((&leader["value"], leader["term"].as_u64()), (&Value::from("one"), Some(first)));
    one.finish().await;
    assert!(two.token("scheduler").await > first);
    watch.until_line("two").await;
    two.finish().await;
    watch.expect("").await;
    assert_eq!(place.stdout(&["elect", "--json", "scheduler"]).await.trim(), "null");
}

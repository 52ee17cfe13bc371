//! What a program finds in its environment, and a command that would wait for itself.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use support::{Place, in_time};

fn place() -> Place<TempDir> {
    Place::directory()
}

/// Runs the command once more, inside.
const AGAIN: &str = env!("CARGO_BIN_EXE_fairlock");

#[tokio::test]
async fn the_program_knows_its_lock() {
    let place = place();
    for (options, kind) in
        [(&[][..], "exclusive"), (&["--shared"], "shared"), (&["--semaphore", "3"], "semaphore")]
    {
        let script =
            "echo $FAIRLOCK_NAME $FAIRLOCK_KIND $FAIRLOCK_ID $FAIRLOCK_TOKEN $FAIRLOCK_URL; exec cat";
        let mut run = place.run(options, "a/b", &["sh", "-c", script]);
        let told = run.line().await.unwrap();
        let semaphore: &[&str] = if kind == "semaphore" { &["--semaphore"] } else { &[] };
        let queue = place.stdout(&[&["queue", "--json", "a/b"], semaphore].concat()).await;
        let queue: Value = serde_json::from_str(&queue).unwrap();
        let entry = &queue[0];
        let (id, token) = (entry["id"].as_str().unwrap(), entry["token"].as_u64().unwrap());
        assert_eq!(told, format!("a/b {kind} {id} {token} {}", place.url));
        run.finish().await;
    }
}

#[tokio::test]
async fn the_program_knows_the_url_that_is_used() {
    let place = place();
    let mut command = Command::new(AGAIN);
    command.args(["run", "--url", &place.url, "x", "-c", "echo $FAIRLOCK_URL"]);
    let output = in_time("the command ends", command.env("FAIRLOCK_URL", "nosuch://host").output()).await;
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap().trim(), place.url);
}

/// Other users see the arguments of processes, and not their environment.
#[tokio::test]
async fn no_process_has_a_url_of_the_environment_in_its_arguments() {
    let place = place();
    let (run, _) = place.holding("one", "x").await;
    let ours: Vec<String> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|process| fs::read(process.unwrap().path().join("cmdline")).ok())
        .map(|arguments| String::from_utf8_lossy(&arguments).into_owned())
        .filter(|arguments| arguments.contains(&place.url))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
    run.finish().await;
}

#[tokio::test]
async fn who_would_wait_for_himself_is_told_so_at_once() {
    let place = place();
    for (outer, inner) in [
        (&["run", "x"][..], &["run", "x"][..]),
        (&["run", "--shared", "x"], &["run", "x"]),
        (&["run", "--shared", "x"], &["run", "--shared", "x"]),
        (&["run", "--semaphore", "2", "x"], &["run", "--semaphore", "2", "x"]),
        (&["run", "--and", "x", "y"], &["run", "--wait", "1h", "x"]),
        (&["run", "x"], &["run", "--and", "x", "y"]),
        (&["run", "x", AGAIN, "run", "y"], &["run", "x"]),
        (&["elect", "x"], &["run", "x"]),
    ] {
        let output = place.output(&[outer, &[AGAIN], inner, &["echo", "ran"]].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{outer:?} {inner:?}: {said}");
        assert!(said.contains("\"x\" is held by the command that this one was started by"), "{said}");
        assert!(output.stdout.is_empty(), "{outer:?} {inner:?}: {output:?}");
    }
}

#[tokio::test]
async fn who_waits_for_nobody_or_for_others_goes_on() {
    let place = place();
    for (outer, inner, code) in [
        (&["run", "x"][..], &["run", "y"][..], 0),
        // Semaphores have queues of their own.
        (&["run", "x"], &["run", "--semaphore", "2", "x"], 0),
        (&["run", "x"], &["run", "--try", "x"], 75),
        (&["run", "--shared", "x"], &["run", "--shared", "--allow-nested", "x"], 0),
        (&["run", "x"], &["run", "--allow-nested", "--wait", "0.1", "x"], 75),
        (&["run", "x"], &["run", "--once-per", "1h", "x"], 0),
    ] {
        let output = place.output(&[outer, &[AGAIN], inner, &["true"]].concat()).await;
        assert_eq!(output.status.code(), Some(code), "{outer:?} {inner:?}: {output:?}");
    }
    // Elsewhere there are other locks.
    let other = Place::directory();
    let elsewhere = ["run", "x", AGAIN, "run", "--url", &other.url, "x", "echo", "ran"];
    assert_eq!(place.stdout(&elsewhere).await, "ran\n");
}

/// What goes on without the lock has an environment that is older.
#[tokio::test]
async fn what_was_held_once_is_no_hindrance() {
    let place = place();
    let script =
        format!("(read line < \"$0\"; {AGAIN} run x echo ran > \"$0\") > /dev/null 2>&1 & echo started");
    let pipe = place.kept.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut run = place.run(&[], "x", &["sh", "-c", &script, pipe.to_str().unwrap()]);
    run.expect("started").await;
    run.finish().await;
    let (holder, _) = place.holding("other", "x").await;
    fs::write(&pipe, "go\n").unwrap();
    let printed = tokio::task::spawn_blocking(|| fs::read_to_string(pipe));
    in_time("it waits", async { while place.queue("x").await.len() != 2 {} }).await;
    holder.finish().await;
    assert_eq!(in_time("it runs", printed).await.unwrap().unwrap(), "ran\n");
}

//! Commands that look at a lock, wait for it to be free, or take it away from somebody.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use support::{LINGER, Place, Running, UNTIL_INPUT_ENDS, in_time};

fn place() -> Place<TempDir> {
    Place::directory()
}

#[tokio::test]
async fn check_says_who_holds() {
    let place = place();
    assert_eq!(place.code(&["run", "x", "true"]).await, Some(0));
    let free = place.output(&["check", "x"]).await;
    assert_eq!((free.status.code(), &*free.stdout), (Some(0), &b""[..]));
    let (one, token) = place.holding("one", "x").await;
    let two = place.run(&["--label", "two"], "x", UNTIL_INPUT_ENDS);
    place.until_queue("x", &[("one", true), ("two", false)]).await;
    let held = place.output(&["check", "x"]).await;
    assert_eq!((held.status.code(), &*held.stdout), (Some(1), &b"one\n"[..]));
    let held = place.output(&["check", "--json", "--wait", "0.1", "x"]).await;
    let holders: Value = serde_json::from_slice(&held.stdout).unwrap();
    assert_eq!((held.status.code(), holders.as_array().unwrap().len()), (Some(1), 1));
    assert_eq!((&holders[0]["label"], &holders[0]["token"]), (&json!("one"), &json!(token)));
    assert_eq!(place.code(&["check", "--semaphore", "x"]).await, Some(0));
    one.finish().await;
    two.finish().await;
    assert_eq!(place.code(&["check", "--json", "x"]).await, Some(0));
}

#[tokio::test]
async fn a_semaphore_is_free_while_it_has_a_permit() {
    let place = place();
    let run = || place.run(&["--semaphore", "2"], "gpu", UNTIL_INPUT_ENDS);
    let (mut one, mut two) = (run(), run());
    one.token("gpu").await;
    two.token("gpu").await;
    assert_eq!(place.code(&["check", "--semaphore", "gpu"]).await, Some(1));
    let mut waiting = Running::start(place.command(&["wait", "--semaphore", "2", "gpu"]));
    one.finish().await;
    assert_eq!(waiting.code().await, Some(0));
    assert_eq!(place.code(&["check", "--semaphore", "gpu"]).await, Some(0));
    two.finish().await;
}

#[tokio::test]
async fn wait_returns_when_the_lock_is_free_and_takes_nothing() {
    let place = place();
    let (one, _) = place.holding("one", "x").await;
    for (arguments, code) in [(&["wait", "--wait", "0.1"][..], 75), (&["check", "--wait", "0.1"], 1)] {
        assert_eq!(place.code(&[arguments, &["x"]].concat()).await, Some(code));
    }
    let mut waiting = Running::start(place.command(&["wait", "x"]));
    let mut checking = Running::start(place.command(&["check", "--wait", "1h", "x"]));
    assert_eq!(place.queue("x").await, [("one".to_owned(), true)]);
    one.finish().await;
    assert_eq!((waiting.code().await, checking.code().await), (Some(0), Some(0)));
    assert_eq!(place.code(&["wait", "x"]).await, Some(0));
}

#[tokio::test]
async fn the_host_and_the_process_are_fields_of_their_own() {
    let place = place();
    let mut one = place.run(&[], "x", UNTIL_INPUT_ENDS);
    one.token("x").await;
    let two = place.run(&["--label", "a:b"], "x", UNTIL_INPUT_ENDS);
    in_time("two in the queue", async { while place.queue("x").await.len() != 2 {} }).await;
    let queue: Value = serde_json::from_str(&place.stdout(&["queue", "--json", "x"]).await).unwrap();
    let host = gethostname::gethostname().into_string().unwrap();
    assert_eq!((&queue[0]["host"], &queue[0]["pid"]), (&json!(host), &json!(one.id().as_raw_pid())));
    assert_eq!((&queue[1]["host"], &queue[1]["pid"]), (&json!(host), &json!(two.id().as_raw_pid())));
    one.finish().await;
    two.finish().await;
}

#[tokio::test]
async fn a_released_holder_is_told_and_its_program_ends() {
    let place = place();
    let program = format!("trap 'echo told; exit 0' TERM; echo $FAIRLOCK_ID; {LINGER}");
    let mut holder = place.run(&["--label", "one"], "x", &["sh", "-c", &program]);
    let id = holder.line().await.unwrap();
    let mut next = place.run(&["--label", "two"], "x", UNTIL_INPUT_ENDS);
    place.until_queue("x", &[("one", true), ("two", false)]).await;
    let refused = place.output(&["release", "--yes", "x", "nobody"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(place.stdout(&["release", "--yes", "x", &id]).await, "removed from \"x\": one\n");
    next.token("x").await;
    holder.expect("told").await;
    assert_eq!(holder.code().await, Some(76));
    next.finish().await;
    assert_eq!(place.code(&["release", "--yes", "x", &id]).await, Some(1), "it is gone");
}

#[tokio::test]
async fn a_permit_is_taken_away_by_its_token() {
    let place = place();
    let mut holder = place.run(&["--semaphore", "1", "--label", "one"], "gpu", UNTIL_INPUT_ENDS);
    let token = holder.token("gpu").await.to_string();
    let arguments = ["release", "--yes", "--semaphore", "1", "gpu", &token];
    assert_eq!(place.stdout(&arguments).await, "removed from \"gpu\": one\n");
    assert_eq!(holder.code().await, Some(76));
}

/// A terminal of `script`, or none.
#[tokio::test]
async fn force_is_asked_for() {
    let place = place();
    let (mut holder, token) = place.holding("one", "x").await;
    let mut command = Command::new("setsid");
    command.args(["--wait", env!("CARGO_BIN_EXE_fairlock"), "release", "x", &token.to_string()]);
    let output = in_time("it ends", command.env("FAIRLOCK_URL", &place.url).output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("no terminal to ask on: --yes removes without a question"), "{said}");

    for (answer, code) in [("n\n", 1), ("\n", 1), ("y\n", 0)] {
        let mut terminal = Command::new("script");
        let line = format!("{} release x {token} < /dev/null > /dev/null", env!("CARGO_BIN_EXE_fairlock"));
        terminal.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        terminal.env("FAIRLOCK_URL", &place.url).kill_on_drop(true);
        let mut terminal = Running::start(terminal);
        let asked = terminal.until_text("[y/N] ").await;
        assert!(asked.contains("Take \"x\" away from one, which holds it"), "{asked:?}");
        assert_eq!(place.queue("x").await, [("one".to_owned(), true)]);
        terminal.type_in(answer.as_bytes()).await;
        assert_eq!(terminal.code().await, Some(code), "{answer:?}");
    }
    assert_eq!(holder.code().await, Some(76));
}

#[tokio::test]
async fn a_waiter_is_taken_away_too() {
    let place = place();
    let (one, _) = place.holding("one", "x").await;
    let mut two = place.run(&["--label", "two"], "x", UNTIL_INPUT_ENDS);
    place.until_queue("x", &[("one", true), ("two", false)]).await;
    let queue: Value = serde_json::from_str(&place.stdout(&["queue", "--json", "x"]).await).unwrap();
    place.stdout(&["release", "--yes", "x", queue[1]["id"].as_str().unwrap()]).await;
    place.until_queue("x", &[("one", true)]).await;
    one.signal(Signal::TERM);
    assert_eq!(two.code().await, Some(76));
    assert_eq!(two.line().await, None, "it ran");
}

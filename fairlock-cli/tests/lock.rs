//! A lock for a shell, held in the background.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::os::unix::process::ExitStatusExt;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use support::{Place, Running, UNTIL_INPUT_ENDS, in_time, send, until_dead};

fn place() -> Place<TempDir> {
    Place::directory()
}

/// A script in which $FAIRLOCK is the command.
fn script<K: Sync>(place: &Place<K>, shell: &str, script: &str) -> Command {
    let mut command = Command::new(shell);
    command
        .args(["-c", script])
        .env("FAIRLOCK", env!("CARGO_BIN_EXE_fairlock"))
        .env("FAIRLOCK_URL", &place.url);
    command.env_remove("FAIRLOCK_HELD").env_remove("RUST_LOG").kill_on_drop(true).process_group(0);
    command
}

const LOCK: &str = "eval \"$($FAIRLOCK lock x)\"";

async fn until_free<K: Sync>(place: &Place<K>) {
    in_time("it is free", async { while !place.queue("x").await.is_empty() {} }).await;
}

#[tokio::test]
async fn a_script_has_a_lock_across_commands() {
    let place = place();
    for shell in ["bash", "dash"] {
        let line = format!(
            "{LOCK}; echo $FAIRLOCK_NAME $FAIRLOCK_TOKEN; read line; $FAIRLOCK unlock && echo unlocked; cat"
        );
        let mut run = Running::start(script(&place, shell, &line));
        let token = run.token("x").await;
        let queue: Value = serde_json::from_str(&place.stdout(&["queue", "--json", "x"]).await).unwrap();
        assert_eq!((queue[0]["token"].as_u64(), queue[0]["holds"].as_bool()), (Some(token), Some(true)));
        assert_eq!(place.code(&["run", "--try", "x", "true"]).await, Some(75));
        run.type_in(b"\n").await;
        run.expect("unlocked").await;
        assert_eq!(place.queue("x").await, [], "unlock returns when the lock is free");
        run.finish().await;
    }
}

#[tokio::test]
async fn it_ends_with_the_shell_however_that_ends() {
    let place = place();
    let forms = [
        LOCK,
        // In copies of the shell, which end sooner.
        "l=$($FAIRLOCK lock x || echo no) && eval \"$l\"",
        "(eval \"$($FAIRLOCK lock x)\"; true)",
    ];
    for shell in ["bash", "dash"] {
        for form in forms {
            let mut run = Running::start(script(&place, shell, &format!("{form}; echo $$; exec cat")));
            let pid = run.pid().await;
            assert_eq!(place.queue("x").await.len(), 1, "{form}");
            send(pid, Signal::KILL);
            until_dead(pid).await;
            until_free(&place).await;
        }
    }
}

#[tokio::test]
async fn the_output_of_the_script_ends_with_the_script() {
    let place = place();
    let line = format!("out=$({LOCK} 2>&1; echo done); echo $out; kill -9 $$");
    let output = in_time("it ends", script(&place, "bash", &line).output()).await.unwrap();
    assert_eq!(output.stdout, b"done\n");
    until_free(&place).await;
}

#[tokio::test]
async fn a_time_that_is_over_frees_it_and_the_end_of_the_shell_does_not() {
    let place = place();
    let line = "eval \"$($FAIRLOCK lock --for 1h x)\"; echo $FAIRLOCK_HELD";
    let output = in_time("it ends", script(&place, "sh", line).output()).await.unwrap();
    assert_eq!(place.queue("x").await.len(), 1);
    // Another shell that has been told of it.
    let held = String::from_utf8(output.stdout).unwrap();
    let unlock = script(&place, "sh", "$FAIRLOCK unlock x").env("FAIRLOCK_HELD", held.trim()).status().await;
    assert!(unlock.unwrap().success());
    assert_eq!(place.queue("x").await, []);
    let line = "eval \"$($FAIRLOCK lock --for 0.3 x)\"; $FAIRLOCK wait x; $FAIRLOCK unlock; echo $?";
    let output = in_time("it ends", script(&place, "sh", line).output()).await.unwrap();
    assert_eq!(output.stdout, b"76\n", "{output:?}");
}

#[tokio::test]
async fn an_open_file_of_the_shell_stands_for_the_lock() {
    let place = place();
    let file = place.kept.path().join("file");
    let line = format!(
        "exec 9>>{}; eval \"$($FAIRLOCK lock --fd 9 x)\"; echo $FAIRLOCK_NAME; read line; exec 9>&-; echo closed; cat",
        file.display()
    );
    let mut one = Running::start(script(&place, "bash", &line));
    one.expect("x").await;
    let mut two = Running::start(script(&place, "bash", &line));
    in_time("two wait", async { while place.queue("x").await.len() != 2 {} }).await;
    one.type_in(b"\n").await;
    one.expect("closed").await;
    two.expect("x").await;
    one.finish().await;
    let pid = two.id().as_raw_pid();
    send(pid, Signal::KILL);
    until_free(&place).await;

    // What the shell starts has it open, too, as with flock(1).
    let line = format!(
        "exec 9>>{}; eval \"$($FAIRLOCK lock --fd 9 x)\"; sleep 100 > /dev/null & echo $!",
        file.display()
    );
    let mut run = Running::start(script(&place, "bash", &line));
    let left = run.pid().await;
    run.code().await;
    assert_eq!(place.code(&["run", "--wait", "0.2", "x", "true"]).await, Some(75));
    send(left, Signal::KILL);
    until_free(&place).await;

    // Unlocked, it can be locked once more, by anybody.
    let line = format!(
        "exec 9>>{0}; eval \"$($FAIRLOCK lock --fd 9 x)\"; $FAIRLOCK unlock; flock --nonblock 9 && flock --unlock 9; \
         eval \"$($FAIRLOCK lock --fd 9 x)\"; $FAIRLOCK unlock && echo twice",
        file.display()
    );
    let output = in_time("it ends", script(&place, "bash", &line).output()).await.unwrap();
    assert_eq!(output.stdout, b"twice\n", "{output:?}");
    for (wrong, why) in
        [("--fd 9 x", "there is no such open file"), ("--fd 9 x 9< /dev/null", "no regular file")]
    {
        let output =
            in_time("it ends", script(&place, "bash", &format!("$FAIRLOCK lock {wrong}")).output()).await;
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(64));
        assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{output:?}");
    }
}

#[tokio::test]
async fn a_script_without_its_lock_does_not_go_on() {
    let place = place();
    let (holder, _) = place.holding("one", "x").await;
    for (line, code, printed) in [
        // Whoever limits the wait looks at the status.
        ("eval \"$($FAIRLOCK lock --try x)\"; echo $?", 0, "75\n"),
        ("eval \"$($FAIRLOCK lock -w 0.1 -E 3 x)\" || echo busy $?", 0, "busy 3\n"),
        ("eval \"$($FAIRLOCK lock '')\"; echo went on", 64, ""),
        ("eval \"$($FAIRLOCK lock --url nosuch://host x)\"; echo went on", 78, ""),
    ] {
        let output = in_time("it ends", script(&place, "sh", line).output()).await.unwrap();
        assert_eq!(
            (output.status.code(), &*output.stdout),
            (Some(code), printed.as_bytes()),
            "{line}: {output:?}"
        );
    }
    holder.finish().await;
    let twice = format!("{LOCK}; {LOCK}; echo went on");
    let output = in_time("it ends", script(&place, "sh", &twice).output()).await.unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(64), &b""[..]), "{output:?}");
    let output = in_time("it ends", script(&place, "sh", "$FAIRLOCK unlock").output()).await.unwrap();
    assert_eq!(output.status.code(), Some(64));
}

#[tokio::test]
async fn whoever_gives_up_waiting_leaves_the_queue() {
    let place = place();
    let (holder, _) = place.holding("one", "x").await;
    let mut run = Running::start(script(&place, "bash", &format!("{LOCK}; echo went on")));
    in_time("it waits", async { while place.queue("x").await.len() != 2 {} }).await;
    rustix::process::kill_process_group(run.id(), Signal::INT).unwrap();
    let status = in_time("it ends", run.child.wait()).await.unwrap();
    assert_eq!(status.signal(), Some(2));
    place.until_queue("x", &[("one", true)]).await;
    holder.finish().await;
}

#[tokio::test]
async fn a_script_whose_lock_is_lost_is_told() {
    let place = place();
    let line = format!(
        "trap 'echo told; $FAIRLOCK unlock; echo $?; exit 3' TERM; {LOCK}; echo $FAIRLOCK_ID; while :; do sleep 0.01; done"
    );
    let mut run = Running::start(script(&place, "bash", &line));
    let id = run.line().await.unwrap();
    place.stdout(&["release", "--yes", "x", &id]).await;
    run.expect("told").await;
    run.expect("76").await;
    assert_eq!(run.code().await, Some(3));
}

#[tokio::test]
async fn locks_are_given_back_by_name_or_the_last_one_first() {
    let place = place();
    let line = "for name in a b c; do eval \"$($FAIRLOCK lock $name)\"; done; $FAIRLOCK unlock a; $FAIRLOCK unlock; read line";
    let mut run = Running::start(script(&place, "bash", line));
    in_time("all are locked", async { while place.code(&["check", "c"]).await != Some(1) {} }).await;
    in_time("one is left", async {
        loop {
            let mut held = Vec::new();
            for name in ["a", "b", "c"] {
                held.push(!place.queue(name).await.is_empty());
            }
            if held == [false, true, false] {
                break;
            }
        }
    })
    .await;
    run.type_in(b"\n").await;
    run.code().await;
    in_time("it is free", async { while !place.queue("b").await.is_empty() {} }).await;
}

/// Where sessions need a living process.
#[tokio::test]
async fn on_a_server_too() {
    let place = Place::with(conformance::server::Redis::given_or_start().await.unwrap());
    let line = format!("{LOCK}; sleep 4; $FAIRLOCK unlock && echo unlocked; {LOCK}; echo $$; exec cat");
    let mut run = Running::start(script(&place, "bash", &line));
    run.expect("unlocked").await;
    let pid = run.pid().await;
    assert_eq!(place.queue("x").await.len(), 1);
    send(pid, Signal::KILL);
    until_free(&place).await;
    let mut next = place.run(&[], "x", UNTIL_INPUT_ENDS);
    next.token("x").await;
    next.finish().await;
}

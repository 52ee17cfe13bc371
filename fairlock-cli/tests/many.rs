//! Many commands on one directory: some come and go, some are stopped where they keep others waiting.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Resource, Signal, getrlimit, prlimit};
use tempfile::TempDir;
use tokio::process::Command;

use support::{Place, Running, in_time};

fn names(place: &Place<TempDir>) -> Vec<String> {
    let names = fs::read_dir(place.path().join("locks")).unwrap();
    names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect()
}

/// Shells that run this script at the same time, each with a number of its own.
async fn in_shells(place: &Place<TempDir>, script: &str) {
    const SHELLS: usize = 4;
    let shells = (0..SHELLS).map(|number| {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script, "sh", env!("CARGO_BIN_EXE_fairlock"), &number.to_string()]);
        shell.env("FAIRLOCK_URL", &place.url).current_dir(place.kept.path()).kill_on_drop(true).status()
    });
    for ended in in_time("the shells end", futures::future::join_all(shells)).await {
        assert!(ended.unwrap().success());
    }
}

/// Each makes the lock's directory, or finds that of another; who leaves last removes it.
#[tokio::test]
async fn commands_that_come_and_go_run_one_at_a_time_with_rising_tokens_and_leave_nothing() {
    let place = Place::directory();
    let script = r#"for turn in 1 2 3 4 5 6 7 8 9 10; do
        "$1" run x -- sh -ec 'mkdir held; echo $FAIRLOCK_TOKEN >> tokens; rmdir held'
    done"#;
    in_shells(&place, script).await;
    let tokens = fs::read_to_string(place.kept.path().join("tokens")).unwrap();
    let tokens: Vec<u64> = tokens.lines().map(|token| token.parse().unwrap()).collect();
    assert!(tokens.len() == 40 && tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
    assert_eq!(names(&place), [""; 0]);
}

#[tokio::test]
async fn names_of_commands_leave_nothing() {
    let place = Place::directory();
    let script = r#"for turn in 1 2 3 4 5 6 7 8 9 10; do "$1" run "$2-$turn" -- true; done"#;
    in_shells(&place, script).await;
    assert_eq!(names(&place), [""; 0]);
}

/// A process that is stopped while it keeps these files locked, as one that adds an entry or removes a directory does for an instant.
async fn stopped_with([one, other]: &[PathBuf; 2]) -> Running {
    let mut command = Command::new("flock");
    command.arg("--no-fork").arg(one).args(["flock", "--no-fork"]).arg(other);
    command.args(["sh", "-c", "echo locked; kill -STOP $$"]).kill_on_drop(true);
    let mut stopped = Running::start(command);
    stopped.expect("locked").await;
    stopped
}

#[tokio::test]
async fn a_try_is_answered_while_a_process_is_stopped_in_the_middle() {
    let place = Place::directory();
    for (holder, limit, code) in
        [(true, "--try", 75), (true, "--wait=0s", 75), (false, "--try", 0), (false, "--wait=0s", 0)]
    {
        let (one, _) = place.holding("one", "x").await;
        let counters = ["counter", "locks/x/counter"].map(|file| place.path().join(file));
        let stopped = stopped_with(&counters).await;
        let one = match holder {
            true => Some(one),
            false => {
                one.finish().await;
                None
            }
        };
        let ended = place.output(&["run", limit, "x", "--", "true"]).await;
        assert_eq!(ended.status.code(), Some(code), "{limit}: {ended:?}");
        stopped.signal(Signal::KILL);
        if let Some(one) = one {
            one.finish().await;
        }
    }
}

/// Lets a process have as many open files as this one, and those that it started.
fn raise(process: Pid) {
    prlimit(Some(process), Resource::Nofile, getrlimit(Resource::Nofile)).unwrap();
    let id = process.as_raw_pid();
    let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    for thread in threads {
        let children = fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default();
        for child in children.split_whitespace() {
            raise(Pid::from_raw(child.parse().unwrap()).unwrap());
        }
    }
}

/// So few open files that it cannot look at the directory, or cannot take the lock.
#[tokio::test]
async fn a_command_without_an_open_file_to_spare_waits_until_it_has_one() {
    let place = Place::directory();
    for few in [9, 13, 16] {
        let limited = |wait: &str| {
            let mut command = Command::new("sh");
            let script = format!("ulimit -Sn {few}; exec \"$0\" run {wait} x -- echo done");
            command.args(["-c", &script, env!("CARGO_BIN_EXE_fairlock")]);
            command.env("FAIRLOCK_URL", &place.url).kill_on_drop(true);
            command
        };
        let output = in_time("the end of the wait", limited("--wait 100ms").output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*output.stdout), (Some(70), &b""[..]), "{few}: {said}");
        assert!(said.contains("Too many open files"), "{few}: {said}");

        let mut waiting = Running::start(limited(""));
        assert!(
            tokio::time::timeout(Duration::from_millis(500), waiting.child.wait()).await.is_err(),
            "{few}"
        );
        raise(waiting.id());
        waiting.expect("done").await;
        assert_eq!(waiting.code().await, Some(0));
    }
}

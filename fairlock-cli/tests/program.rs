//! The program under the lock, in a directory: how it ends, and what ends with it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use rustix::process::{Signal, geteuid, kill_process_group};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use support::{LINGER, Place, Running, UNTIL_INPUT_ENDS, in_time, runs, send, until_dead};

fn place() -> Place<TempDir> {
    Place::directory()
}

/// A process that SIGTERM does not end; it prints its number.
fn deaf() -> String {
    format!("sh -c 'trap \"\" TERM; echo $$; {LINGER}'")
}

#[tokio::test]
async fn a_killed_command_ends_all_that_its_program_started_before_the_next_holds() {
    let place = place();
    let program = format!("{} & exec cat", deaf());
    let mut one = place.run(&["--label", "one"], "x", &["sh", "-c", &program]);
    let grandchild = one.pid().await;
    let mut two = place.run(&["--label", "two"], "x", UNTIL_INPUT_ENDS);
    place.until_queue("x", &[("one", true), ("two", false)]).await;

    one.signal(Signal::KILL);
    two.token("x").await;
    assert!(!runs(grandchild), "it goes on beside the next holder");
    // The output ends when the program is gone as well, whose input is still open.
    assert_eq!(one.line().await, None);
    two.finish().await;
}

#[tokio::test]
async fn the_lock_stays_while_anything_of_a_killed_command_runs() {
    let place = place();
    let program = "echo $PPID; echo $$; sleep 100 > /dev/null & echo $!; exec cat";
    let mut one = place.run(&["--label", "one"], "x", &["sh", "-c", program]);
    let (guardian, program, left) = (one.pid().await, one.pid().await, one.pid().await);
    // So that nobody is there to end what the program started.
    send(guardian, Signal::STOP);
    one.signal(Signal::KILL);
    send(guardian, Signal::KILL);
    until_dead(program).await;
    assert_eq!(place.queue("x").await, [("one".to_owned(), true)]);
    assert_eq!(place.code(&["run", "--try", "x", "--", "true"]).await, Some(75));
    send(left, Signal::KILL);
    assert_eq!(place.code(&["run", "x", "--", "true"]).await, Some(0));
}

#[tokio::test]
async fn the_end_of_the_program_frees_the_lock_although_what_it_started_lives_on() {
    let place = place();
    let mut run = place.run(&[], "x", &["sh", "-c", "sleep 100 > /dev/null 2>&1 & echo $!"]);
    let left = run.pid().await;
    assert_eq!(run.code().await, Some(0));
    assert_eq!(place.code(&["run", "--try", "x", "--", "true"]).await, Some(0));
    assert!(runs(left), "it was the program's to end it");
    send(left, Signal::KILL);
}

#[tokio::test]
async fn a_command_killed_after_the_end_of_its_program_frees_the_lock_although_something_lives_on() {
    let place = place();
    let program = "echo $$; sleep 100 > /dev/null 2>&1 & echo $!; read line";
    let mut run = place.run(&[], "x", &["sh", "-c", program]);
    let (program, left) = (run.pid().await, run.pid().await);
    run.signal(Signal::STOP);
    run.type_in(b"\n").await;
    let noticed = async { while fs::exists(format!("/proc/{program}")).unwrap() {} };
    in_time("the guardian knows that the program has ended", noticed).await;
    run.signal(Signal::KILL);
    assert_eq!(place.code(&["run", "x", "--", "true"]).await, Some(0));
    assert!(runs(left), "it was the program's to end it");
    send(left, Signal::KILL);
}

#[tokio::test]
async fn a_group_that_is_killed_as_a_whole_leaves_nothing_running() {
    let place = place();
    let mut run = place.run(&[], "x", &["sh", "-c", "setsid sh -c 'echo $$; exec sleep 100' & exec cat"]);
    let left = run.pid().await;
    kill_process_group(run.id(), Signal::KILL).unwrap();
    until_dead(left).await;
    assert_eq!(place.code(&["run", "x", "--", "true"]).await, Some(0));
}

#[tokio::test]
async fn a_signal_reaches_all_that_the_program_started() {
    let place = place();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        // Of itself a shell lets what it starts in the background ignore interrupts.
        let program = "trap - INT QUIT; env --default-signal sleep 100 & echo $!; wait; sleep 100";
        let mut run = place.run(&["--grace", "1h"], "x", &["sh", "-c", program]);
        let left = run.pid().await;
        run.signal(signal);
        assert_eq!(run.code().await, Some(128 + signal.as_raw()));
        assert!(!runs(left), "{signal:?} did not reach it");
    }
}

#[tokio::test]
async fn what_the_program_started_gets_the_signal_while_the_program_goes_on() {
    let place = place();
    for signal in [Signal::TERM, Signal::HUP] {
        let number = signal.as_raw();
        let child = format!("trap \"echo caught; exit\" {number}; echo ready; {LINGER}");
        let program = format!("trap 'wait; exit 3' {number}; sh -c '{child}' & {LINGER}");
        let mut run = place.run(&[], "x", &["sh", "-c", &program]);
        run.expect("ready").await;
        run.signal(signal);
        run.expect("caught").await;
        assert_eq!(run.code().await, Some(3));
    }
}

#[tokio::test]
async fn a_program_that_a_signal_to_both_ends_first_leaves_nothing_running() {
    let place = place();
    let program = "echo $$; setsid sleep 100 > /dev/null & echo $!; exec sleep 100";
    for _ in 0..20 {
        let mut run = place.run(&[], "x", &["sh", "-c", program]);
        let (program, left) = (run.pid().await, run.pid().await);
        // The guardian hears that the program has died before fairlock can tell why.
        run.signal(Signal::STOP);
        kill_process_group(run.id(), Signal::TERM).unwrap();
        let noticed = async { while fs::exists(format!("/proc/{program}")).unwrap() {} };
        in_time("the guardian knows that the program has ended", noticed).await;
        run.signal(Signal::CONT);
        assert_eq!(run.code().await, Some(128 + 15));
        assert!(!runs(left), "it goes on without the lock");
    }
}

#[tokio::test]
async fn what_does_not_end_with_a_program_that_is_told_to_is_killed_before_the_next_holds() {
    let place = place();
    for signal in [Signal::TERM, Signal::INT] {
        let program = format!("{} & wait", deaf());
        let mut run = place.run(&["--grace", "300ms"], "x", &["sh", "-c", &program]);
        let left = run.pid().await;
        let mut next = place.run(&[], "x", UNTIL_INPUT_ENDS);
        in_time("it waits", async { while place.queue("x").await.len() != 2 {} }).await;
        run.signal(signal);
        next.token("x").await;
        assert!(!runs(left), "it goes on beside the next holder");
        assert_eq!(run.code().await, Some(128 + signal.as_raw()));
        next.finish().await;
    }
}

#[tokio::test]
async fn a_program_that_is_told_to_end_may_take_its_time() {
    let place = place();
    let program = format!("trap 'echo told; read line; exit 3' TERM; echo ready; {LINGER}");
    let mut run = place.run(&["--grace", "1ms"], "x", &["sh", "-c", &program]);
    run.expect("ready").await;
    run.signal(Signal::TERM);
    run.expect("told").await;
    assert_eq!(place.code(&["run", "--wait", "300ms", "x", "--", "true"]).await, Some(75));
    run.type_in(b"\n").await;
    assert_eq!(run.code().await, Some(3));
}

#[tokio::test]
async fn signals_that_do_not_ask_to_end_reach_the_program_alone() {
    let place = place();
    let program =
        format!("sleep 100 & trap 'kill -0 $! && echo lives; kill $!; exit' USR1; echo ready; {LINGER}");
    let mut run = place.run(&[], "x", &["sh", "-c", &program]);
    run.expect("ready").await;
    run.signal(Signal::USR1);
    run.expect("lives").await;
    assert_eq!(run.line().await, None);
}

#[tokio::test]
async fn a_killed_guardian_ends_everything_before_the_lock_is_free() {
    let place = place();
    let program = format!("echo $PPID; {} & exec cat", deaf());
    let mut run = place.run(&[], "x", &["sh", "-c", &program]);
    let (guardian, left) = (run.pid().await, run.pid().await);
    let mut next = place.run(&[], "x", UNTIL_INPUT_ENDS);
    in_time("it waits", async { while place.queue("x").await.len() != 2 {} }).await;
    send(guardian, Signal::KILL);
    next.token("x").await;
    assert!(!runs(left), "it goes on beside the next holder");
    assert_eq!(run.code().await, Some(128 + 9));
    next.finish().await;
}

#[tokio::test]
async fn the_program_dies_with_its_guardian_whatever_it_ignores() {
    let place = place();
    let program = format!("trap '' TERM HUP INT; echo $PPID; echo $$; {LINGER}");
    let mut run = place.run(&[], "x", &["sh", "-c", &program]);
    let (guardian, program) = (run.pid().await, run.pid().await);
    // So that nobody else can end it.
    run.signal(Signal::STOP);
    send(guardian, Signal::KILL);
    until_dead(program).await;
    run.signal(Signal::CONT);
    assert_eq!(run.code().await, Some(128 + 9));
}

#[tokio::test]
async fn a_guardian_that_was_stopped_still_ends_the_program_when_the_lock_is_lost() {
    let place = place();
    let mut run = place.run(&["--grace", "1ms"], "x", &["sh", "-c", "echo $PPID; exec sleep 100"]);
    let guardian = run.pid().await;
    send(guardian, Signal::STOP);
    fs::remove_dir_all(place.path()).unwrap();
    assert_eq!(run.code().await, Some(76));
    assert_eq!(run.line().await, None, "the program has ended");
}

#[tokio::test]
async fn what_ignores_that_its_lock_is_lost_is_killed_after_the_grace() {
    let place = place();
    let program = format!("{} & trap 'echo told' TERM; while :; do sleep 0.01; done", deaf());
    let mut run = place.run(&["--grace", "100ms"], "x", &["sh", "-c", &program]);
    let left = run.pid().await;
    fs::remove_dir_all(place.path()).unwrap();
    run.expect("told").await;
    assert_eq!(run.code().await, Some(76));
    assert!(!runs(left));
    assert_eq!(run.line().await, None, "the program has ended");
}

/// A copy of setpriv(1) that becomes another user whoever starts it, as sudo(8) does.
fn set_uid(directory: &TempDir) -> std::path::PathBuf {
    let path = directory.path().join("setpriv");
    fs::copy("/usr/bin/setpriv", &path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_program_of_another_user_keeps_the_lock_until_it_ends() {
    if !geteuid().is_root() {
        eprintln!("not tested: only root can make programs that run as other users");
        return;
    }
    let (place, programs) = (place(), tempfile::tempdir().unwrap());
    fs::create_dir(place.path()).unwrap();
    fs::set_permissions(place.kept.path(), Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(place.path(), Some(12345), Some(12345)).unwrap();
    let program = format!(
        "exec {} --reuid 12346 --clear-groups sh -c 'echo $$; exec sleep 100'",
        set_uid(&programs).display()
    );
    for signal in [Signal::KILL, Signal::TERM] {
        let mut command = as_user(&place, &["run", "x", "--", "sh", "-c", &program]);
        command.stderr(Stdio::piped());
        let mut run = Running::start(command);
        let (other, mut stderr) = (run.pid().await, BufReader::new(run.child.stderr.take().unwrap()).lines());
        run.signal(signal);
        // Its name is that of the shell until it is that of what the shell becomes.
        let told = |line: &str| {
            line.starts_with(&format!("fairlock: process {other} (s"))
                && line.ends_with(
                    ") may not be signalled, as it runs as another user: the lock is kept until it ends",
                )
        };
        while !told(&in_time("it is told", stderr.next_line()).await.unwrap().unwrap()) {}
        let mut next = as_user(&place, &["run", "--wait", "300ms", "x", "--", "true"]);
        assert_eq!(in_time("the command ends", next.status()).await.unwrap().code(), Some(75));
        send(other, Signal::KILL);
        let mut next = as_user(&place, &["run", "x", "--", "true"]);
        assert!(in_time("the command ends", next.status()).await.unwrap().success());
    }
}

fn as_user(place: &Place<TempDir>, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "12345", "--regid", "12345", "--clear-groups", "--"]);
    command.arg(env!("CARGO_BIN_EXE_fairlock")).args(arguments);
    command.env("FAIRLOCK_URL", &place.url).env_remove("RUST_LOG").kill_on_drop(true).process_group(0);
    command
}

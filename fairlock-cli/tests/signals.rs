//! Signals: what they end, once, and how a command ends by them.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use rustix::process::{Signal, kill_process_group};
use tempfile::TempDir;
use tokio::process::Command;

use support::{LINGER, Place, Running, UNTIL_INPUT_ENDS, in_time};

fn place() -> Place<TempDir> {
    Place::directory()
}

/// Counts how often it gets this signal, until it gets SIGUSR1.
fn counting(signal: Signal) -> String {
    let number = signal.as_raw();
    format!(
        "n=0; trap 'n=$((n+1)); echo caught' {number}; trap 'echo $n times; exit 3' USR1; echo ready; {LINGER}"
    )
}

#[tokio::test]
async fn who_ends_one_and_then_all_ends_the_program_once() {
    let place = place();
    for (signal, option) in [(Signal::TERM, "TERM"), (Signal::HUP, "HUP"), (Signal::INT, "INT")] {
        let mut command = Command::new("timeout");
        let program = counting(signal);
        command.args([
            "--signal",
            option,
            "1",
            env!("CARGO_BIN_EXE_fairlock"),
            "run",
            "x",
            "sh",
            "-c",
            &program,
        ]);
        command.env("FAIRLOCK_URL", &place.url).kill_on_drop(true);
        let mut run = Running::start(command);
        run.expect("ready").await;
        run.expect("caught").await;
        // It is passed on before this, if at all.
        let inner = children(run.id().as_raw_pid())[0];
        support::send(inner, Signal::USR1);
        run.expect("1 times").await;
    }
}

fn children(parent: i32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_signal_to_the_group_and_one_to_the_command_alone_reach_the_program_once_each() {
    let place = place();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT] {
        let mut run = place.run(&[], "x", &["sh", "-c", &counting(signal)]);
        run.expect("ready").await;
        kill_process_group(run.id(), signal).unwrap();
        run.expect("caught").await;
        run.signal(Signal::USR1);
        run.expect("1 times").await;
        assert_eq!(run.code().await, Some(3));

        let mut run = place.run(&[], "x", &["sh", "-c", &counting(signal)]);
        run.expect("ready").await;
        run.signal(signal);
        run.expect("caught").await;
        run.signal(Signal::USR1);
        run.expect("1 times").await;
        assert_eq!(run.code().await, Some(3));
    }
}

#[tokio::test]
async fn it_dies_by_the_signal_that_ended_its_program_when_the_lock_is_free() {
    let place = place();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut run = place.run(&[], "x", &["sh", "-c", "echo ready; exec sleep 100"]);
        run.expect("ready").await;
        run.signal(signal);
        let status = in_time("the command ends", run.child.wait()).await.unwrap();
        assert_eq!((status.signal(), status.core_dumped()), (Some(signal.as_raw()), false));
        assert_eq!(place.queue("x").await, []);

        let (holder, _) = place.holding("one", "x").await;
        let mut waiter = place.run(&[], "x", UNTIL_INPUT_ENDS);
        in_time("it waits", async { while place.queue("x").await.len() != 2 {} }).await;
        waiter.signal(signal);
        let status = in_time("the command ends", waiter.child.wait()).await.unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()));
        holder.finish().await;
    }
    let status = place.output(&["run", "x", "-c", "kill -KILL $$"]).await.status;
    assert_eq!(status.code(), Some(128 + 9), "nobody killed fairlock");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let place = place();
    for arguments in [&["man"][..], &["completions", "bash"], &["--help"], &["list", "--url", "memory://"]] {
        let mut command = place.command(arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer).stderr(Stdio::piped());
        let output = in_time("the command ends", command.spawn().unwrap().wait_with_output()).await.unwrap();
        assert_eq!(output.status.code(), Some(128 + 13), "{arguments:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{arguments:?}");
    }
}

/// As with flock(1), whoever writes under `trap '' PIPE` gets an error instead of an end, and others don't.
#[tokio::test]
async fn a_program_hears_of_broken_pipes_as_fairlock_was_to() {
    const PIPE: u64 = 1 << 12;
    let place = place();
    for (trap, ignored) in [("", 0), ("trap '' PIPE;", PIPE)] {
        for options in ["", "--background --wait 60"] {
            let script = format!(r#"{trap} "$0" run {options} x -- grep SigIgn /proc/self/status | cat"#);
            let mut command = Command::new("bash");
            command.args(["-c", &script, env!("CARGO_BIN_EXE_fairlock")]).env("FAIRLOCK_URL", &place.url);
            let output = in_time("the program ends", command.output()).await.unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            let mask = said.trim().rsplit('\t').next().unwrap();
            let mask = u64::from_str_radix(mask, 16).unwrap_or_else(|_| panic!("{trap} {options}: {said}"));
            assert_eq!(mask & PIPE, ignored, "{trap} {options}");
        }
    }
}

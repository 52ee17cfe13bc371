//! What must not make a command hang or give up: a process that is stopped at the wrong moment, a lack of open files.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs::{File, OpenOptions};
use std::process::Stdio;

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use support::{Place, Running, UNTIL_INPUT_ENDS, in_time};

fn place() -> Place<TempDir> {
    Place::directory()
}

/// The short section of a directory, as a process has it that is stopped there.
fn stopped(place: &Place<TempDir>) -> File {
    let counter =
        OpenOptions::new().read(true).write(true).open(place.path().join("locks/x/counter")).unwrap();
    flock(&counter, FlockOperation::NonBlockingLockExclusive).unwrap();
    counter
}

#[tokio::test]
async fn a_try_ends_although_a_process_is_stopped_while_it_comes() {
    let place = place();
    let mut reader = place.run(&["--shared"], "x", UNTIL_INPUT_ENDS);
    reader.token("x").await;
    for options in [&["--try"][..], &["--wait", "0"], &["--wait", "5"]] {
        let _stopped = stopped(&place);
        let arguments = [&["run", "--shared"], options, &["x", "true"]].concat();
        assert_eq!(place.code(&arguments).await, Some(0), "{options:?}");
    }
    reader.finish().await;
    let (holder, _) = place.holding("one", "x").await;
    for options in [&["--try"][..], &["--wait", "0"]] {
        let _stopped = stopped(&place);
        assert_eq!(place.code(&[&["run"], options, &["x", "true"]].concat()).await, Some(75), "{options:?}");
    }
    let _stopped = stopped(&place);
    for arguments in [&["check", "x"][..], &["wait", "--wait", "0", "x"], &["queue", "x"], &["list"]] {
        assert!(place.code(arguments).await.is_some(), "{arguments:?}");
    }
    holder.finish().await;
}

/// A run that may have this many files open, and starts with no more than its three streams.
fn run_with(files: u32, options: &str, place: &Place<TempDir>) -> Command {
    /// Some of those who start tests leave other files open for them.
    const CLOSE: &str =
        r#"for file in /proc/self/fd/*; do file=${file##*/}; ((file < 3)) || eval "exec $file>&-"; done"#;
    let fairlock = env!("CARGO_BIN_EXE_fairlock");
    let mut command = Command::new("bash");
    let line = format!("{CLOSE}; ulimit -S -n {files}; exec {fairlock} run {options} x -- echo ran");
    command.args(["-c", &line]).env("FAIRLOCK_URL", &place.url).stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn a_lack_of_files_is_told_with_what_was_wanted() {
    let place = place();
    let wants = [
        (4, "no threads can be started"),
        (6, "no threads can be started"),
        (9, "connect to file:///"),
        (10, "no process can be started"),
    ];
    for (files, what) in wants {
        let output =
            in_time("the command ends", run_with(files, "--wait 0.1", &place).output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(70) && said.contains(what), "{files}: {said}");
    }
}

/// Some open files, or processes, come free while somebody waits for a lock that is free.
#[tokio::test]
async fn a_lack_of_files_that_passes_is_waited_through() {
    let place = place();
    // For the session, for the program, and, which the library sees to, for the entry.
    for (files, told_as) in [(9, "trying again"), (10, "trying again"), (13, "waited for in vain")] {
        let mut run = Running::start(run_with(files, "", &place));
        let mut told = BufReader::new(run.child.stderr.take().unwrap()).lines();
        let mut line = String::new();
        while !line.contains(told_as) {
            line = in_time("it tells", told.next_line()).await.unwrap().unwrap();
            assert!(line.contains("Too many open files"), "{files}: {line}");
        }
        let pid = run.id().to_string();
        let more = std::process::Command::new("prlimit").args(["--pid", &pid, "--nofile=1024:"]).status();
        assert!(more.unwrap().success());
        run.expect("ran").await;
        assert_eq!(run.code().await, Some(0));
    }
}

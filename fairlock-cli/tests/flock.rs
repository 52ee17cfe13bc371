//! What people are used to from flock(1).

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use rustix::process::Signal;

use support::{Place, UNTIL_INPUT_ENDS, send, until_dead};

#[tokio::test]
async fn the_program_needs_no_dashes_before_it() {
    let place = Place::directory();
    assert_eq!(place.stdout(&["run", "x", "echo", "-n", "--wait", "a"]).await, "--wait a");
    assert_eq!(place.stdout(&["run", "-n", "x", "sh", "-c", "echo $FAIRLOCK_NAME"]).await, "x\n");
    assert_eq!(place.stdout(&["elect", "--value", "one", "x", "echo", "-n", "a"]).await, "a");
}

#[tokio::test]
async fn its_options_mean_the_same() {
    let place = Place::directory();
    let (holder, _) = place.holding("one", "x").await;
    for options in [
        &["-n"][..],
        &["--nonblock"],
        &["--nb"],
        &["-w", "0.05"],
        &["--timeout", "0.05"],
        &["-w0"],
        &["-s", "-n"],
        &["-x", "-n"],
        &["-e", "-n"],
    ] {
        for (conflict, code) in [(&[][..], 75), (&["-E", "1"], 1)] {
            let arguments = [&["run"], options, conflict, &["x", "echo", "ran"]].concat();
            assert_eq!(place.code(&arguments).await, Some(code), "{arguments:?}");
        }
    }
    holder.finish().await;
    let readers = [place.run(&["-s"], "x", UNTIL_INPUT_ENDS), place.run(&["-s"], "x", UNTIL_INPUT_ENDS)];
    for mut reader in readers {
        reader.token("x").await;
        assert_eq!(place.code(&["run", "-n", "-x", "x", "true"]).await, Some(75));
        reader.finish().await;
    }
    assert_eq!(place.stdout(&["run", "-w", "5", "x", "-c", "echo a"]).await, "a\n");
}

#[tokio::test]
async fn a_program_that_is_to_have_no_open_file_of_the_lock_keeps_none() {
    let place = Place::directory();
    let left = "readlink /proc/self/fd/* | grep -c locks-of-test; echo $PPID; sleep 100 > /dev/null & echo $!; exec cat";
    for (option, kept) in [(&[][..], true), (&["-o"], false), (&["--close"], false)] {
        let mut run = place.run(option, "x", &["sh", "-c", left]);
        let files = run.pid().await;
        assert_eq!(files > 0, kept, "{option:?}: {files} open files");
        let (guardian, left) = (run.pid().await, run.pid().await);
        // So that nobody is there to end what the program started.
        send(guardian, Signal::STOP);
        run.signal(Signal::KILL);
        send(guardian, Signal::KILL);
        until_dead(guardian).await;
        let code = if kept { 75 } else { 0 };
        assert_eq!(place.code(&["run", "-w", "0.3", "x", "true"]).await, Some(code), "{option:?}");
        send(left, Signal::KILL);
        assert_eq!(place.code(&["run", "x", "true"]).await, Some(0));
    }
}

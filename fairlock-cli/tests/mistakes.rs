//! What people type, and what they are told.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::process::{Command, Output};

fn fairlock(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlock"));
    command.args(arguments).env_remove("FAIRLOCK_URL").env_remove("RUST_LOG");
    command
}

#[track_caller]
fn told(arguments: &[&str], code: i32) -> String {
    let Output { status, stdout, stderr } = fairlock(arguments).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{arguments:?}: {said}");
    assert!(stdout.is_empty(), "a failure is no result: {arguments:?}");
    said
}

#[test]
fn a_semaphore_is_named_behind_its_number_or_without() {
    for arguments in [
        &["--semaphore", "4", "gpu"][..],
        &["--semaphore=4", "gpu"],
        &["gpu", "--semaphore", "4"],
        &["gpu", "--semaphore"],
        &["--semaphore", "gpu"],
        &["--semaphore", "--", "gpu"],
        &["--semaphore", "4"],
    ] {
        let arguments = [&["queue", "--json", "--url", "memory://"], arguments].concat();
        let output = fairlock(&arguments).output().unwrap();
        assert_eq!(output.stdout, b"[]\n", "{arguments:?}: {output:?}");
    }
    let said = told(&["queue", "--url", "memory://", "--semaphore", "four", "gpu"], 64);
    assert!(said.contains("--semaphore four: that is no number of permits"), "{said}");
    let said = told(&["queue", "--url", "memory://", "--semaphore"], 64);
    assert!(said.contains("the name of the lock is missing"), "{said}");
}

#[test]
fn a_path_is_no_url_but_can_be_written_as_one() {
    let said = told(&["list", "--url", "/var/lib/app"], 78);
    assert!(said.contains("the directory /var/lib/app is written file:///var/lib/app"), "{said}");
}

#[test]
fn an_empty_variable_counts_as_unset_and_an_empty_option_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}", directory.path().display());
    let given = fairlock(&["list", "--json", "--url", &url]).env("FAIRLOCK_URL", "").output().unwrap();
    assert_eq!(given.stdout, b"[]\n", "{given:?}");
    // The default place, which is there or can be made.
    let unset = fairlock(&["queue", "--json", "nobody-has-this"]).env("FAIRLOCK_URL", "").output().unwrap();
    assert_eq!(unset.stdout, b"[]\n", "{unset:?}");
    let said = told(&["list", "--url", ""], 78);
    assert!(said.contains("not a URL"), "{said}");
}

#[test]
fn who_only_looks_makes_no_directory() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("misspelt");
    let url = format!("file://{}", missing.display());
    for arguments in [&["list"][..], &["queue", "x"], &["cleanup"], &["elect", "x"]] {
        let said = told(&[arguments, &["--url", &url]].concat(), 78);
        assert!(said.contains(&format!("the directory {} does not exist", missing.display())), "{said}");
    }
    assert!(!fs::exists(missing).unwrap());
}

#[test]
fn durations_are_explained() {
    for arguments in [
        &["run", "--wait", "soon", "x", "true"][..],
        &["run", "--grace", "5x", "x", "true"],
        &["run", "--once-per", "inf", "x", "true"],
        &["demo", "--hold", "a while"],
    ] {
        let said = told(arguments, 64);
        assert!(said.contains("write 5 or 0.5 for seconds"), "{said}");
    }
}

/// What may be left out stands in brackets, or not at all.
#[test]
fn usage_shows_what_is_required() {
    for (arguments, usage) in [
        (
            &["run"][..],
            "Usage: fairlock run [OPTIONS] <NAME> [--] <CMD>...\n       fairlock run [OPTIONS] <NAME> -c <LINE>\n",
        ),
        (&["elect"], "Usage: fairlock elect [OPTIONS] <NAME>\n"),
        (&["queue"], "Usage: fairlock queue [OPTIONS] <NAME>\n"),
    ] {
        let said = told(arguments, 64);
        assert!(said.contains(usage), "{said}");
    }
}

/// In words, with the place and what was being done there; not as programmers write it.
#[test]
fn errors_are_sentences_that_name_the_server() {
    // Nobody listens on a port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut schemes = vec!["zookeeper"];
    schemes.extend(cfg!(feature = "redis").then_some("redis"));
    schemes.extend(cfg!(feature = "postgres").then_some("postgres"));
    schemes.extend(cfg!(feature = "etcd").then_some("etcd"));
    for scheme in schemes {
        let url = format!("{scheme}://user:secret@127.0.0.1:{port}/0?connect_timeout=300ms");
        for arguments in [&["list"][..], &["queue", "x"], &["cleanup"]] {
            let said = told(&[arguments, &["--url", &url]].concat(), 69);
            assert!(said.starts_with(&format!("fairlock: connect to {scheme}://127.0.0.1:{port}")), "{said}");
            for wrong in ["secret", "Os {", "Error(", "Some(", "os error 111): Connection refused"] {
                assert!(!said.contains(wrong), "{wrong}: {said}");
            }
        }
    }
}

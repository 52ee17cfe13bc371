//! The command without a server: on memory, and on URLs that lead nowhere.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlock"));
    command.args(arguments).env_remove("FAIRLOCK_URL").env_remove("RUST_LOG");
    command
}

fn fairlock(url: &str, arguments: &[&str]) -> Output {
    command(arguments).env("FAIRLOCK_URL", url).output().unwrap()
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, reason: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(reason), "{stderr}");
    assert!(output.stdout.is_empty(), "a failure is no result: {output:?}");
}

#[track_caller]
fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn demo_shows_turns_in_order() {
    let arguments = ["demo", "--executors", "4", "--tasks", "5", "--hold", "1ms"];
    let shown = stdout(fairlock("memory://", &arguments));
    assert!(shown.starts_with("the locks live at memory://\n"), "{shown}");
    let grants: Vec<&str> = shown.lines().filter(|line| line.starts_with("grant ")).collect();
    assert_eq!(grants.len(), 20, "{shown}");
    let token = |line: &&str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    assert!(grants.iter().map(token).is_sorted_by(|earlier, later| earlier < later), "{shown}");
    for turn in
        (1..=4).flat_map(|executor| (1..=5).map(move |task| format!("executor {executor}  task {task}  ")))
    {
        assert_eq!(grants.iter().filter(|line| line.contains(&turn)).count(), 1, "{turn}: {shown}");
    }
    assert!(shown.contains("20 grants to 4 executors"), "{shown}");
    assert!(shown.ends_with("never two at once, and in the order of the queue\n"), "{shown}");
}

#[test]
fn wrong_usage() {
    let wrong: [&[&str]; 12] = [
        &[],
        &["frobnicate"],
        &["run", "x"],
        &["run", "x", "--tyr", "true"],
        &["run", "--exclusive", "--shared", "x", "true"],
        &["run", "x", "-c", "true", "--", "true"],
        &["run", "--conflict-exit-code", "256", "x", "--", "true"],
        &["completions", "nosuch"],
        &["run", "--try", "--wait", "1s", "x", "--", "true"],
        &["run", "--shared", "--semaphore", "2", "x", "--", "true"],
        &["run", "--permits", "2", "x", "--", "true"],
        &["demo", "--hold", "soon"],
    ];
    for arguments in wrong {
        assert_fails(&fairlock("memory://", arguments), 64, "--help");
    }
    assert_fails(&fairlock("memory://", &["queue", ""]), 64, "the name of a lock must not be empty");
    assert_fails(&fairlock("memory://", &["man", "nosuch"]), 64, "there is no subcommand \"nosuch\"");
}

#[test]
fn wrong_urls() {
    for (url, reason) in [
        ("nowhere", "not a URL"),
        ("nosuch://host", "unknown scheme"),
        ("memory://?colour=red", "no option \"colour\""),
        ("memory://?require=interprocess", "does not offer \"interprocess\""),
        ("file://host/path", "names a host"),
        ("file:///tmp?mode=0700", "valid options: shared"),
    ] {
        assert_fails(&fairlock(url, &["list"]), 78, reason);
    }
}

#[test]
fn the_option_goes_before_the_environment() {
    let output = fairlock("nosuch://host", &["list", "--url", "memory://"]);
    assert_eq!(stdout(output), "FAMILY  NAME\n");
}

#[test]
fn options_come_from_the_environment_as_well() {
    let mut list = command(&["list"]);
    list.env("FAIRLOCK_URL", "memory://").env("FAIRLOCK_OPTION_SESSION_TIMEOUT", "soon");
    assert_fails(&list.output().unwrap(), 78, "option session_timeout=\"soon\" is not a duration");
}

#[test]
fn run_refuses_locks_that_no_other_process_shares() {
    let output = fairlock("memory://", &["run", "x", "--", "echo", "ran"]);
    assert_fails(&output, 78, "no other process shares these locks");
}

#[test]
fn a_service_that_is_not_there() {
    // Nobody listens on a port that was free a moment ago.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let url = format!("zookeeper://127.0.0.1:{port}/?connect_timeout=500ms");
    assert_fails(&fairlock(&url, &["run", "x", "--", "echo", "ran"]), 69, "fairlock: ");
}

#[test]
fn nothing_there_is_shown_as_nothing() {
    let memory = |arguments: &[&str]| stdout(fairlock("memory://", arguments));
    assert_eq!(memory(&["queue", "x"]), "POSITION  STATE  KIND  TOKEN  SINCE  LABEL\n");
    assert_eq!(memory(&["queue", "--semaphore", "x"]), memory(&["queue", "x"]));
    assert_eq!(memory(&["queue", "--semaphore=3", "--json", "x"]), "[]\n");
    assert_eq!(memory(&["list", "--json"]), "[]\n");
    assert_eq!(memory(&["cleanup"]), "unused locks removed: 0\n");
}

#[test]
fn conformance_passes_on_a_place_that_clients_share() {
    let arguments = ["conformance", "--json", "--filter", "try/"];
    let trials = stdout(fairlock("memory://shared", &arguments));
    let trials: Vec<Value> = serde_json::from_str(&trials).unwrap();
    assert!(!trials.is_empty());
    for trial in trials {
        assert!(trial["name"].as_str().unwrap().starts_with("try/"), "{trial}");
        assert_eq!((&trial["outcome"], &trial["reason"]), (&json!("passed"), &Value::Null), "{trial}");
    }
}

#[test]
fn conformance_fails_where_each_client_has_a_place_of_its_own() {
    let output = fairlock("memory://", &["conformance", "--filter", "try/"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("failed   try/failed_tries_leave_nothing: "), "{shown}");
}

#[test]
fn conformance_without_trials_is_no_success() {
    assert_fails(&fairlock("memory://", &["conformance", "--filter", "nosuch"]), 64, "no trial has");
}

#[test]
fn completions_and_manual_pages() {
    let page = stdout(fairlock("memory://", &["man"]));
    assert!(page.contains(".TH fairlock 1") && page.contains("fairlock\\-run(1)"), "{page}");
    let page = stdout(fairlock("memory://", &["man", "run"]));
    for text in [".TH fairlock-run 1", "conflict\\-exit\\-code", "\\-\\-url", "FAIRLOCK_TOKEN"] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[test]
#[cfg(feature = "postgres")]
fn the_schema_of_postgres_is_printed() {
    let printed = stdout(fairlock("memory://", &["schema", "postgres", "--schema", "locks"]));
    for text in
        ["CREATE SCHEMA IF NOT EXISTS locks;", "CREATE TABLE locks.entry", "GRANT USAGE ON SCHEMA locks"]
    {
        assert!(printed.contains(text), "{text}: {printed}");
    }
    let refused = fairlock("memory://", &["schema", "postgres", "--schema", "a;b"]);
    assert_fails(&refused, 78, "is not a name");
}

#[test]
fn every_subcommand_has_help() {
    for command in ["demo", "run", "queue", "list", "cleanup", "conformance", "completions", "man"] {
        let help = stdout(fairlock("memory://", &[command, "--help"]));
        assert!(
            help.contains("/var/tmp/fairlock-UID") && help.contains(&format!("fairlock {command}")),
            "{help}"
        );
    }
}

#[test]
fn help_explains_exit_codes_and_hides_secrets() {
    let url = "zookeeper://user:secret@host";
    for arguments in [&["--help"][..], &["run", "--help"], &["queue", "--help"]] {
        let help = stdout(fairlock(url, arguments));
        assert!(!help.contains("secret") && !help.contains("__child"), "{help}");
    }
    assert!(stdout(fairlock("memory://", &["--help"])).contains("75  the lock was not had in time"));
    assert!(stdout(fairlock("memory://", &["run", "--help"])).contains("FAIRLOCK_TOKEN"));
}

#[test]
fn a_program_whose_guardian_died_is_not_started() {
    let output = fairlock("memory://", &["__child", "1", "echo", "ran"]);
    assert_fails(&output, 70, "fairlock died before its program started");
}

#[test]
fn a_signal_ends_the_command_while_it_connects() {
    // Accepts, and never says anything.
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("zookeeper://{}/?connect_timeout=90s", server.local_addr().unwrap());
    let mut run = command(&["run", "x", "--", "echo", "ran"]).env("FAIRLOCK_URL", url).spawn().unwrap();
    let _connection = server.accept().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&run), rustix::process::Signal::TERM)
        .unwrap();
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(run.wait().unwrap().signal()));
    let signal = ended.recv_timeout(std::time::Duration::from_secs(60)).expect("the command ends");
    assert_eq!(signal, Some(15));
}

#[test]
fn chaos_in_a_directory_breaks_no_promise_and_says_what_it_broke() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}/locks", directory.path().display());
    let output = fairlock(&url, &["conformance", "--chaos", "3s", "--seed", "7", "--json"]);
    let code = output.status.code();
    let judgement: serde_json::Value = serde_json::from_str(&stdout(output)).unwrap();
    assert_eq!(code, Some(0), "{judgement}");
    assert_eq!(judgement["violations"], serde_json::json!([]));
    assert!(judgement["grants"].as_u64().unwrap() > 20, "{judgement}");
    assert_eq!(judgement["seed"], 7);
}

#[test]
fn chaos_needs_a_place_that_processes_share() {
    assert_fails(&fairlock("memory://", &["conformance", "--chaos", "1s"]), 64, "processes share");
    assert_fails(
        &fairlock("memory://", &["conformance", "--chaos", "1s", "--filter", "try/"]),
        64,
        "cannot be used",
    );
}

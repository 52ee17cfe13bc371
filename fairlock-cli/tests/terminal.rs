//! The command on a terminal, which `script` provides.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use support::{LINGER, Place, Running, UNTIL_INPUT_ENDS, in_time, runs, send};

/// A shell line on a terminal of 60 columns and 10 rows, in which $FAIRLOCK is the command.
fn on_terminal(place: &Place<TempDir>, line: &str) -> Running {
    let mut command = Command::new("script");
    let line = format!("stty cols 60 rows 10; {line}");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.env("FAIRLOCK", env!("CARGO_BIN_EXE_fairlock")).env("FAIRLOCK_URL", &place.url);
    command.env("SHELL", "/bin/sh").env("TERM", "xterm").env_remove("NO_COLOR").env_remove("RUST_LOG");
    command.kill_on_drop(true);
    Running::start(command)
}

const CTRL_C: &[u8] = b"\x03";

#[tokio::test]
async fn ctrl_c_reaches_the_program_once() {
    let place = Place::directory();
    let count = "n=0; trap 'n=$((n+1)); echo caught' INT; trap 'echo $n times; exit' TERM; echo ready";
    let mut terminal = on_terminal(
        &place,
        &format!("echo $$; exec $FAIRLOCK run x -- sh -c \"{}\"", escaped(&format!("{count}; {LINGER}"))),
    );
    let fairlock = terminal.pid().await;
    terminal.until_line("ready").await;
    terminal.type_in(CTRL_C).await;
    assert!(terminal.line().await.unwrap().ends_with("caught"));
    // A second interrupt would have been passed on before this.
    send(fairlock, Signal::TERM);
    assert!(terminal.until_line(" times").await.ends_with("1 times"));
}

#[tokio::test]
async fn ctrl_c_ends_what_the_program_started_in_the_background() {
    let place = Place::directory();
    // A shell lets it ignore the interrupt.
    let program = escaped("sleep 100 & echo $!; wait");
    let mut terminal =
        on_terminal(&place, &format!("trap : INT; $FAIRLOCK run x -- sh -c \"{program}\"; echo exit $?"));
    let left = terminal.pid().await;
    terminal.type_in(CTRL_C).await;
    assert!(terminal.until_line("exit ").await.trim().ends_with("exit 130"));
    assert!(!runs(left), "it goes on without the lock");
}

#[tokio::test]
async fn ctrl_z_stops_the_program_and_fg_lets_it_go_on() {
    let place = Place::directory();
    let program = escaped("echo $$; read line; echo got $line; exit 3");
    // With job control, as people have it.
    let line =
        format!("set -m; $FAIRLOCK run x -- sh -c \"{program}\"; echo stopped; read; fg; echo exit $?");
    let mut terminal = on_terminal(&place, &format!("exec bash --norc -c '{line}'"));
    let program = terminal.pid().await;
    terminal.type_in(b"\x1a").await;
    terminal.until_line("stopped").await;
    let stat = || std::fs::read_to_string(format!("/proc/{program}/stat")).unwrap();
    in_time("the program is stopped too", async { while !stat().contains(") T ") {} }).await;
    assert_eq!(place.code(&["run", "--try", "x", "--", "true"]).await, Some(75));
    terminal.type_in(b"\na line\n").await;
    terminal.until_line("got a line").await;
    assert!(terminal.until_line("exit ").await.trim().ends_with("exit 3"));
}

#[tokio::test]
async fn a_benchmark_says_how_far_it_is_and_then_what_it_found() {
    let place = Place::directory();
    let mut terminal =
        on_terminal(&place, "$FAIRLOCK bench --only uncontended --kind exclusive --rounds 2 --time 10ms");
    terminal.until_text("1 of 1, uncontended of 1: round 2 of 2").await;
    terminal.until_line("ROW").await;
    assert!(terminal.line().await.unwrap().starts_with("uncontended"));
}

/// As it stands between double quotes.
fn escaped(program: &str) -> String {
    program.replace('$', "\\$")
}

#[tokio::test]
async fn ctrl_c_ends_the_wait_and_clears_the_progress_line() {
    let place = Place::directory();
    let (one, _) = place.holding("one", "x").await;
    let mut terminal =
        on_terminal(&place, "trap : INT; $FAIRLOCK run -v --label two x -- echo ran; echo exit $?");
    place.until_queue("x", &[("one", true), ("two", false)]).await;
    terminal.until_line("the locks live at file:///").await;
    // The line has no end as long as it changes.
    let shown = terminal.until_text("1 ahead, held by one for ").await;
    assert!(shown.contains("\r\x1b[2Kfairlock: waited 0s for \"x\": 1 ahead"), "{shown:?}");
    terminal.type_in(CTRL_C).await;
    let end = terminal.until_line("exit ").await;
    assert!(end.contains("\r\x1b[2K") && end.trim().ends_with("exit 130"), "{end:?}");
    assert_eq!(place.queue("x").await, [("one".to_owned(), true)]);
    one.finish().await;
}

#[tokio::test]
async fn tables_fit_and_have_colours() {
    let place = Place::directory();
    let label = "label-of-many-words-".repeat(5);
    let (one, _) = place.holding(&label, "x").await;
    let mut coloured = on_terminal(&place, "$FAIRLOCK queue x");
    assert!(coloured.line().await.unwrap().starts_with("\x1b[1mPOSITION\x1b[0m"));
    let row = coloured.line().await.unwrap();
    assert!(row.contains("\x1b[32mholds\x1b[0m"), "{row:?}");

    let mut plain = on_terminal(&place, "NO_COLOR=1 $FAIRLOCK queue x");
    assert!(plain.line().await.unwrap().starts_with("POSITION  STATE"));
    let row = plain.line().await.unwrap();
    let row = row.trim_end();
    assert!(row.chars().count() == 60 && row.ends_with('…') && row.contains("holds"), "{row:?}");
    assert!(place.stdout(&["queue", "x"]).await.contains(&label), "elsewhere nothing is cut");
    one.finish().await;
}

#[tokio::test]
async fn a_watched_queue_is_drawn_anew() {
    let place = Place::directory();
    assert_eq!(place.code(&["run", "x", "true"]).await, Some(0));
    let mut terminal = on_terminal(&place, "$FAIRLOCK queue --watch x");
    terminal.until_line("\x1b[H\x1b[2J\"x\": 0 in the queue").await;
    let (one, _) = place.holding("one", "x").await;
    terminal.until_line("\x1b[H\x1b[2J\"x\": 1 in the queue").await;
    terminal.until_line("one").await;
    // More than fit on the screen.
    let mut others = Vec::new();
    for number in 2..12 {
        others.push(place.run(&["--shared"], "x", UNTIL_INPUT_ENDS));
        in_time("the next", async { while place.queue("x").await.len() != number {} }).await;
    }
    terminal.until_line("\x1b[H\x1b[2J\"x\": 11 in the queue").await;
    let mut rows = 1;
    while !terminal.line().await.unwrap().starts_with('…') {
        rows += 1;
    }
    assert_eq!(rows, 8);
    terminal.type_in(CTRL_C).await;
    terminal.code().await;
    drop(one);
}

#[tokio::test]
async fn ctrl_c_ends_a_loop_of_the_shell() {
    let place = Place::directory();
    for shell in ["bash", "sh"] {
        let line =
            "for i in 1 2 3; do $FAIRLOCK run x -- sh -c \"echo turn; exec sleep 100\"; done; echo after";
        let mut terminal = on_terminal(&place, &format!("exec {shell} -c '{line}'"));
        terminal.until_line("turn").await;
        terminal.type_in(CTRL_C).await;
        assert_eq!(rest(&mut terminal).await.trim_matches(['^', 'C', '\r', '\n']), "", "{shell}");
        assert_eq!(terminal.code().await, Some(128 + 2), "{shell}");
    }
}

/// All that is still printed.
async fn rest(terminal: &mut Running) -> String {
    let mut rest = String::new();
    while let Some(line) = terminal.line().await {
        rest += &line;
    }
    rest
}

#[tokio::test]
async fn an_interrupt_for_the_command_alone_reaches_the_program_in_the_foreground_as_well() {
    let place = Place::directory();
    let program = escaped(&format!("trap 'echo caught; exit 3' INT; echo ready; {LINGER}"));
    let mut terminal = on_terminal(&place, &format!("echo $$; exec $FAIRLOCK run x -- sh -c \"{program}\""));
    let fairlock = terminal.pid().await;
    terminal.until_line("ready").await;
    send(fairlock, Signal::INT);
    terminal.until_line("caught").await;
    assert_eq!(terminal.code().await, Some(3));
}

#[tokio::test]
async fn ctrl_c_ends_a_program_that_has_left_the_group() {
    let place = Place::directory();
    for (program, times) in
        [("echo ready; exec sleep 100", 1), ("trap '' INT; echo ready; exec sleep 100", 2)]
    {
        // The program leaves the group itself.
        let line = format!("trap : INT; $FAIRLOCK run x -- setsid sh -c \"{program}\"; echo exit $?");
        let mut terminal = on_terminal(&place, &line);
        terminal.until_line("ready").await;
        terminal.type_in(CTRL_C).await;
        if times == 2 {
            // Otherwise it would count as the same.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            assert_ne!(place.queue("x").await, []);
            terminal.type_in(CTRL_C).await;
        }
        let exit = terminal.until_line("exit ").await;
        assert!(exit.trim().ends_with(if times == 1 { "exit 130" } else { "exit 143" }), "{exit:?}");
    }
}

#[tokio::test]
async fn a_terminal_that_waits_is_told_why_until_the_lock_is_had() {
    let place = Place::directory();
    let (one, _) = place.holding("one", "x").await;
    let mut terminal = on_terminal(&place, "$FAIRLOCK run --label two x -- echo ran");
    place.until_queue("x", &[("one", true), ("two", false)]).await;
    let mut quiet = on_terminal(&place, "$FAIRLOCK run --quiet --label three x -- echo ran");
    let mut redirected = on_terminal(&place, "$FAIRLOCK run --label four x -- echo ran 2>&1 | cat");
    let shown = terminal.until_text("waited 2s for \"x\": 1 ahead, held by one for ").await;
    assert!(
        shown.starts_with("\r\x1b[2Kfairlock: waited 1s for \"x\": 1 ahead, held by one for "),
        "{shown:?}"
    );
    in_time("they wait", async { while place.queue("x").await.len() != 4 {} }).await;
    one.finish().await;
    assert!(terminal.until_line("ran").await.trim_end().ends_with("\r\x1b[2Kran"));
    assert_eq!(quiet.line().await.unwrap().trim_end(), "ran");
    assert_eq!(redirected.line().await.unwrap().trim_end(), "ran");
}

#[tokio::test]
async fn a_terminal_that_need_not_wait_is_told_nothing() {
    let place = Place::directory();
    let mut terminal = on_terminal(&place, "$FAIRLOCK run x -- sh -c \"sleep 1.5; echo ran\"");
    assert_eq!(terminal.line().await.unwrap().trim_end(), "ran");
}

#[tokio::test]
#[cfg(feature = "top")]
async fn top_shows_all_locks_and_takes_one_away_after_a_question() {
    let place = Place::directory();
    let (mut one, _) = place.holding("one", "x").await;
    let (quiet, _) = place.holding("quiet", "a").await;
    let mut two = place.run(&["--label", "two"], "x", UNTIL_INPUT_ENDS);
    place.until_queue("x", &[("one", true), ("two", false)]).await;
    let mut terminal = on_terminal(&place, "$FAIRLOCK top; echo exit $?");
    terminal.until_text("2 locks in use").await;
    // The one that is waited for comes first.
    terminal.type_in(b"\r").await;
    terminal.until_text("2 in the queue").await;
    terminal.type_in(b"xn").await;
    terminal.until_text("away from one").await;
    assert_eq!(place.queue("x").await.len(), 2);
    terminal.type_in(b"xy").await;
    two.token("x").await;
    assert_eq!(one.code().await, Some(76));
    terminal.type_in(b"q").await;
    assert!(terminal.until_line("exit ").await.trim().ends_with("exit 0"));
    for run in [two, quiet] {
        run.finish().await;
    }
    let output = place.output(&["top"]).await;
    assert_eq!(output.status.code(), Some(64), "{output:?}");
}

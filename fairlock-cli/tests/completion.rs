//! Completion in shells, and manual pages.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tokio::process::Command;

use support::{Place, in_time};

/// What a shell is told of how the last of these words can go on, after it has read the script that it is given.
async fn completed(place: &Place<TempDir>, words: &[&str]) -> Vec<String> {
    let script = "PATH=$(dirname \"$1\"):$PATH; source <(fairlock completions bash); shift; COMP_WORDS=(\"$@\"); \
                  COMP_CWORD=$(($# - 1)); COMP_TYPE=9; $(complete -p fairlock | sed 's/.*-F \\([^ ]*\\).*/\\1/') fairlock \"${!#}\" x; \
                  printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut command = Command::new("bash");
    command.args(["-c", script, "bash", env!("CARGO_BIN_EXE_fairlock")]).args(words);
    let output = command.env("FAIRLOCK_URL", &place.url).env_remove("RUST_LOG").output();
    let output = in_time("the shell ends", output).await.unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[tokio::test]
async fn names_of_locks_are_completed() {
    let place = Place::directory();
    assert_eq!(completed(&place, &["fairlock", "queue", "b"]).await, [""; 0], "nobody has locks there");
    let mut holders = Vec::new();
    for name in ["backup", "backup/nightly", "deploy"] {
        holders.push(place.holding("one", name).await);
    }
    for command in ["run", "lock", "queue", "wait", "check", "release", "elect"] {
        let names = completed(&place, &["fairlock", command, "ba"]).await;
        assert_eq!(names, ["backup", "backup/nightly"], "{command}");
    }
    assert_eq!(completed(&place, &["fairlock", "run", "backup", "--and", "d"]).await, ["deploy"]);
    let other = Place::directory();
    let elsewhere = ["fairlock", "queue", "--url", &other.url, ""];
    assert!(!completed(&place, &elsewhere).await.contains(&"backup".to_owned()));
}

#[tokio::test]
async fn commands_and_options_are_completed() {
    let place = Place::directory();
    assert_eq!(completed(&place, &["fairlock", "unl"]).await, ["unlock"]);
    assert_eq!(completed(&place, &["fairlock", "run", "--backg"]).await, ["--background"]);
    for (shell, text) in [("bash", "complete "), ("zsh", "#compdef fairlock"), ("fish", "complete ")] {
        let script = place.stdout(&["completions", shell]).await;
        assert!(script.contains(text) && script.contains("FAIRLOCK_COMPLETE"), "{shell}: {script}");
    }
}

#[tokio::test]
#[ignore = "fish is not among what the tests need (apt-get install fish)"]
async fn fish_completes_names_and_commands() {
    let place = Place::directory();
    let _backup = place.holding("one", "backup").await;
    for (typed, expected) in [("fairlock queue b", "backup\n"), ("fairlock unl", "unlock\t")] {
        let script = "fairlock completions fish | source; complete -C $argv[1]";
        let completed = in_shell(&place, "fish", &["-c", script, typed]).await;
        assert!(completed.starts_with(expected), "{typed}: {completed}");
    }
}

/// In a terminal, as zsh completes nowhere else.
#[tokio::test]
#[ignore = "zsh is not among what the tests need (apt-get install zsh)"]
async fn zsh_completes_names_and_commands() {
    let place = Place::directory();
    let _backup = place.holding("one", "backup").await;
    for (typed, expected) in
        [("fairlock queue b", "fairlock queue backup"), ("fairlock unl", "fairlock unlock")]
    {
        let script = r#"
            zmodload zsh/zpty; zpty shell zsh -f -i
            until_line() { while zpty -r shell line; do [[ $line == *$1* ]] && print -r -- "$line" && break; done }
            zpty -w shell 'autoload -U compinit && compinit -u -D; source <(fairlock completions zsh); echo re""ady'
            until_line ready
            zpty -w -n shell "$1"$'\t\C-aecho =\n'; until_line '=fairlock'"#;
        let completed = in_shell(&place, "zsh", &["-f", "-c", script, "zsh", typed]).await;
        assert!(completed.contains(&format!("={expected}")), "{typed}: {completed}");
    }
}

/// What this shell prints, which finds the command.
async fn in_shell(place: &Place<TempDir>, shell: &str, arguments: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_BIN_EXE_fairlock")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(shell);
    command.args(arguments).env("PATH", path).env("FAIRLOCK_URL", &place.url).env_remove("RUST_LOG");
    let output = in_time("the shell ends", command.output()).await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn manual_pages_are_installed_in_one_go() {
    let place = Place::directory();
    let directory = place.kept.path().join("share/man/man1");
    assert_eq!(place.code(&["man", "--install", directory.to_str().unwrap()]).await, Some(0));
    for page in ["fairlock", "fairlock-run", "fairlock-lock", "fairlock-queue", "fairlock-release"] {
        let text = fs::read_to_string(directory.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(&format!(".TH {page} 1")), "{page}: {text}");
    }
    let output = place.output(&["man", "--install", "/proc/nowhere"]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("/proc/nowhere: "), "{output:?}");
}

//! The recipes of docs/command.md: each does what it says, with programs that write down that they ran.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use tokio::process::Command;

use support::{Place, code, in_time};

const MANUAL: &str = include_str!("../../docs/command.md");

/// The programs that the recipes run.
const PROGRAMS: [&str; 8] =
    ["backup", "deploy", "encode", "migrate", "report", "scheduler", "smoke-test", "sync"];

/// The blocks of the recipes: what language they are in, and what they say.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let recipes = MANUAL.split_once("\n## Recipes\n").unwrap().1;
    let parts: Vec<&str> = recipes.split("```").collect();
    parts.iter().skip(1).step_by(2).map(|block| block.split_once('\n').unwrap()).collect()
}

/// A directory in which the programs are.
fn workplace(place: &Place<TempDir>) -> &Path {
    for program in PROGRAMS {
        let path = place.kept.path().join(format!("{program}.sh"));
        let line = format!("#!/bin/sh\necho {program} \"$@\" >> log\n");
        fs::write(&path, line).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    place.kept.path()
}

/// Runs a line of a shell there; its exit code, and which programs have run.
async fn run(place: &Place<TempDir>, shell: &str, line: &str) -> (Option<i32>, Vec<String>) {
    let (ended, ran, _) = run_and_listen(place, shell, line).await;
    (ended, ran)
}

/// The same, and everything that is printed.
async fn run_and_listen(
    place: &Place<TempDir>,
    shell: &str,
    line: &str,
) -> (Option<i32>, Vec<String>, String) {
    let there = workplace(place);
    let commands = Path::new(env!("CARGO_BIN_EXE_fairlock")).parent().unwrap();
    let mut command = Command::new(shell);
    command.args(["-c", line]).current_dir(there).env("FAIRLOCK_URL", &place.url).env_remove("RUST_LOG");
    command.env("PATH", format!("{}:{}", commands.display(), std::env::var("PATH").unwrap()));
    let ended = in_time(line, command.output()).await.unwrap();
    let printed = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    let log = fs::read_to_string(there.join("log")).unwrap_or_default();
    let mut ran: Vec<String> = log.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    ran.dedup();
    (code(ended.status), ran, printed)
}

#[tokio::test]
async fn every_recipe_of_a_shell_does_what_it_says() {
    let blocks: Vec<&str> =
        blocks().into_iter().filter(|(language, _)| *language == "sh").map(|(_, block)| block).collect();
    let expected: [&[&str]; 8] = [
        &["migrate"],
        &["deploy", "smoke-test"],
        &["deploy"],
        &["deploy"],
        &["deploy"],
        &["smoke-test", "deploy"],
        &["encode"],
        &["backup"],
    ];
    assert_eq!(blocks.len(), expected.len());
    for (block, expected) in blocks.into_iter().zip(expected) {
        for shell in ["bash", "dash"] {
            let place = Place::directory();
            assert_eq!(place.code(&["run", "unused", "true"]).await, Some(0));
            let (ended, ran) = run(&place, shell, block).await;
            assert_eq!(
                (ended, ran),
                (Some(0), expected.iter().map(|program| (*program).to_owned()).collect()),
                "{block}"
            );
        }
    }
}

#[tokio::test]
async fn a_deployment_that_finds_another_says_who_it_is() {
    let block = blocks().into_iter().find(|(_, block)| block.contains("fairlock check deploy")).unwrap().1;
    let place = Place::directory();
    let (holder, _) = place.holding("alice", "deploy").await;
    let said = (Some(1), vec![], "alice deploys\n".to_owned());
    assert_eq!(run_and_listen(&place, "sh", block).await, said);
    holder.finish().await;
}

#[tokio::test]
async fn the_lines_of_cron_run_once() {
    let tables = blocks().into_iter().filter(|(language, _)| *language == "crontab");
    let lines: Vec<&str> =
        tables.flat_map(|(_, block)| block.lines()).filter(|line| line.contains("* * ")).collect();
    assert_eq!(lines.len(), 2);
    for (line, program) in lines.into_iter().zip(["sync", "report"]) {
        let place = Place::directory();
        // Five fields say when.
        let command = line.splitn(6, ' ').last().unwrap().replace("--at-least 30s", "--at-least 0.1");
        // Cron sends a mail for each word.
        let silent = (Some(0), vec![program.to_owned()], String::new());
        assert_eq!(run_and_listen(&place, "sh", &command).await, silent, "{line}");
        let (holder, _) = place.holding("other", program).await;
        assert_eq!(run_and_listen(&place, "sh", &command).await, silent, "{line}");
        let log = fs::read_to_string(place.kept.path().join("log")).unwrap();
        assert_eq!(log.lines().count(), 1, "it ran beside another");
        holder.finish().await;
    }
}

#[tokio::test]
async fn the_units_of_systemd_start() {
    let units = blocks().into_iter().filter(|(language, _)| *language == "ini");
    let commands: Vec<&str> =
        units.flat_map(|(_, unit)| unit.lines()).filter_map(|line| line.strip_prefix("ExecStart=")).collect();
    assert_eq!(commands.len(), 2);
    for (command, program) in commands.into_iter().zip(["backup", "scheduler"]) {
        let place = Place::directory();
        assert_eq!(run(&place, "sh", command).await, (Some(0), vec![program.to_owned()]), "{command}");
    }
}

#[tokio::test]
async fn make_links_two_at_once() {
    let makefile = blocks().into_iter().find(|(language, _)| *language == "make").unwrap().1;
    let place = Place::directory();
    fs::write(place.kept.path().join("Makefile"), makefile).unwrap();
    let (ended, ran) = run(&place, "sh", "make -j8").await;
    assert_eq!(ended, Some(0));
    assert!(ran.contains(&"encode".to_owned()) && ran.contains(&"report".to_owned()), "{ran:?}");
    let log = fs::read_to_string(place.kept.path().join("log")).unwrap();
    assert_eq!(log.lines().count(), 6, "{log}");
}

/// What the table says of our options is true: each of them is known.
#[tokio::test]
async fn every_option_of_the_table_is_known() {
    let place = Place::directory();
    let table =
        MANUAL.split_once("\n## Option by option\n").unwrap().1.split_once("\nWhat differs").unwrap().0;
    let ours: Vec<&str> = table.lines().filter_map(|row| row.split('|').nth(6)).collect();
    let help = [place.stdout(&["run", "--help"]).await, place.stdout(&["lock", "--help"]).await].concat();
    let words = ours.iter().flat_map(|cell| cell.split(['`', ' ', '(', ')', '"', ',', ';', '…']));
    let options: Vec<&str> =
        words.filter(|word| word.starts_with('-') && word.contains(char::is_alphabetic)).collect();
    assert!(options.len() > 15, "{options:?}");
    for option in options {
        assert!(help.contains(option), "{option} is not known");
    }
}

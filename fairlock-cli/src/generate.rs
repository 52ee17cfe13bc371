//! `fairlock completions` and `fairlock man`: what is made from the definition of the command line.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{CompleteEnv, Shells};
use clap_mangen::Man;
use tokio::runtime::Builder;

use crate::arguments::{Arguments, CompletionsOptions, ManOptions};
use crate::exit::{Failure, USAGE};
use crate::output;
use crate::service::looking;

/// Set by the script of a shell that asks how a command line can go on.
const COMPLETE: &str = "FAIRLOCK_COMPLETE";

/// Answers a shell that asks how a command line can go on, and ends; returns if none asks.
pub(crate) fn complete() {
    CompleteEnv::with_factory(Arguments::command).var(COMPLETE).bin("fairlock").complete();
}

pub(crate) fn completions(options: &CompletionsOptions) -> Result<ExitCode, Failure> {
    let (shells, name) = (Shells::builtins(), options.shell.to_string());
    let unknown = || Failure::new(USAGE, format!("nothing is known of the shell {name:?}"));
    let mut script = Vec::new();
    shells.completer(&name).ok_or_else(unknown)?.write_registration(
        COMPLETE,
        "fairlock",
        "fairlock",
        "fairlock",
        &mut script,
    )?;
    output::raw(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// The locks whose names begin like this. What goes wrong disturbs nobody who types.
pub(crate) fn lock_names(begun: &OsStr) -> Vec<CompletionCandidate> {
    /// How long somebody waits who has pressed a key.
    const PATIENCE: Duration = Duration::from_secs(2);
    let Some(begun) = begun.to_str() else { return Vec::new() };
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let names = runtime.block_on(async { tokio::time::timeout(PATIENCE, names()).await });
    let names = names.ok().and_then(Result::ok).unwrap_or_default();
    names.into_iter().filter(|name| name.starts_with(begun)).map(CompletionCandidate::new).collect()
}

async fn names() -> Result<Vec<String>, Failure> {
    let names = looking(url()?.as_deref(), async |service| Ok(service.names().await?)).await?;
    let mut names: Vec<String> = names.into_iter().map(|key| key.name.to_string()).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Where the locks live, as far as that is typed already, or else as everywhere.
fn url() -> Result<Option<String>, Failure> {
    let words: Vec<String> = std::env::args().collect();
    let typed = words.iter().zip(words.iter().skip(1)).find(|(option, _)| *option == "--url");
    match typed
        .map(|(_, url)| url.clone())
        .or_else(|| words.iter().find_map(|word| word.strip_prefix("--url=").map(str::to_owned)))
    {
        Some(url) => Ok(Some(url)),
        None => crate::arguments::url_of_environment(),
    }
}

pub(crate) fn man(options: &ManOptions) -> Result<ExitCode, Failure> {
    let mut command = Arguments::command();
    command.build();
    if let Some(directory) = &options.install {
        return install(command, directory);
    }
    if let Some(name) = &options.command {
        let unknown = || Failure::new(USAGE, format!("there is no subcommand {name:?}"));
        command = command.find_subcommand(name).ok_or_else(unknown)?.clone();
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    output::raw(&page)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the pages of the command and of all its subcommands.
fn install(command: clap::Command, directory: &Path) -> Result<ExitCode, Failure> {
    let written = fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command, directory));
    written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", directory.display())))?;
    Ok(ExitCode::SUCCESS)
}

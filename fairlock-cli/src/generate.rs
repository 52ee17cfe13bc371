//! `fairlock completions` and `fairlock man`: what is made from the definition of the command line.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_mangen::Man;

use crate::arguments::{Arguments, CompletionsOptions, ManOptions};
use crate::exit::{Failure, USAGE};
use crate::output;

pub(crate) fn completions(options: &CompletionsOptions) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "fairlock", &mut script);
    output::raw(&script)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn man(options: &ManOptions) -> Result<ExitCode, Failure> {
    let mut command = Arguments::command();
    command.build();
    if let Some(name) = &options.command {
        let unknown = || Failure::new(USAGE, format!("there is no subcommand {name:?}"));
        command = command.find_subcommand(name).ok_or_else(unknown)?.clone();
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    output::raw(&page)?;
    Ok(ExitCode::SUCCESS)
}

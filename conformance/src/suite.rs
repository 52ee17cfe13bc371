//! The catalogue of trials, and the program that runs them.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed};
use lockcore::Registry;

use crate::fixture::Fixture;
use crate::process::serve_as_holder;
use crate::trial::{Outcome, Trial};
use crate::trials::ALL;

/// All trials, in the order of the guarantees.
pub fn trials() -> Vec<Trial> {
    ALL.iter().flat_map(|group| group.iter().copied()).collect()
}

/// The `main` of a backend's conformance test: runs the suite with the command line of `cargo test`.
///
/// The same program, started again by a trial, is another process that holds a lock at a URL of the registry; the
/// fixture is not made there.
pub fn main<F: Fixture, E: fmt::Display>(
    registry: Registry,
    fixture: impl FnOnce(Registry) -> Result<F, E>,
) -> ExitCode {
    if let Some(exit) = serve_as_holder(&registry) {
        return exit;
    }
    let fixture: Arc<dyn Fixture> = match fixture(registry) {
        Ok(fixture) => Arc::new(fixture),
        Err(error) => {
            eprintln!("the service under test cannot be had: {error}");
            return ExitCode::FAILURE;
        }
    };
    let adapt = |trial: Trial| {
        let ignored = trial.ignored(&*fixture);
        let name = ignored.map_or(trial.name(), |reason| format!("{} ({reason})", trial.name()));
        let fixture = fixture.clone();
        let run = move || match trial.run(&fixture) {
            Outcome::Passed | Outcome::Ignored(_) => Ok(()),
            Outcome::Failed(failure) => Err(Failed::from(failure.to_string())),
        };
        libtest_mimic::Trial::test(name, run).with_ignored_flag(ignored.is_some())
    };
    let trials = trials().into_iter().map(adapt).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

//! The command `fairlock`: a program under a fair distributed lock, and views of the queues.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "the command needs Linux, whose kernel ends a program together with those who watch over its lock \
     (prctl(2), pidfd_open(2)); the libraries need it nowhere"
);

mod again;
mod arguments;
mod background;
mod bench;
mod broken_pipe;
mod chaos;
mod child;
mod cleanup;
mod conformance;
mod contact;
mod demo;
mod descendants;
mod elect;
mod environment;
mod exit;
mod files;
mod free;
mod generate;
mod guardian;
mod held;
mod help;
mod holder;
mod link;
mod list;
mod lock;
mod open_file;
mod output;
mod patience;
mod progress;
mod queue;
mod release;
mod run;
#[cfg(feature = "postgres")]
mod schema;
mod service;
mod shell;
mod signals;
mod supervise;
mod taking;
mod terminal;
#[cfg(feature = "top")]
mod top;
mod turn_checker;
mod unlock;
mod witness;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::arguments::{Arguments, Command};
use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    // A trial of the suite starts this program again, as another process that holds a lock.
    if let Some(exit) = ::conformance::serve_as_holder(&fairlock::registry()) {
        return exit;
    }
    if let Some(exit) = ::conformance::chaos::serve_as_contender(&fairlock::registry()) {
        return exit;
    }
    if let Some(exit) = child::become_command() {
        return exit;
    }
    generate::complete();
    if let Some(ended) = guardian::serve() {
        return ended.unwrap_or_else(|failure| failure.report());
    }
    if let Some(exit) = witness::serve().or_else(holder::serve).or_else(background::serve) {
        return exit;
    }
    let ended = match Arguments::try_parse() {
        Ok(arguments) => execute(&arguments),
        Err(error) => exit::usage(&error),
    };
    ended.unwrap_or_else(|failure| failure.report())
}

fn execute(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let url = arguments.url()?;
    let url = url.as_deref();
    match &arguments.command {
        Command::Demo(options) => {
            files::allow_many()?;
            on_processors(LevelFilter::WARN, demo::demo(url, options))
        }
        Command::Run(options) if options.background => background::start(),
        Command::Run(options) => on_runtime(run::run(url, options, || {})).map(Exit::end),
        Command::Elect(options) => on_runtime(elect::elect(url, options)).map(Exit::end),
        Command::Queue(options) => on_runtime(queue::queue(url, options)),
        Command::Lock(options) => lock::lock(options),
        Command::Unlock(options) => on_runtime(unlock::unlock(options)),
        Command::Join(options) => on_runtime(background::join(options)),
        Command::Wait(options) => on_runtime(free::wait(url, options)),
        Command::Check(options) => on_runtime(free::check(url, options)),
        Command::Release(options) => on_runtime(release::release(url, options)),
        #[cfg(feature = "top")]
        Command::Top => on_runtime(top::top(url)),
        Command::List(options) => on_runtime(list::list(url, options)),
        Command::Cleanup => on_runtime(cleanup::cleanup(url)),
        Command::Conformance(options) => {
            files::allow_many()?;
            match options.chaos {
                Some(time) => on_processors(LevelFilter::WARN, chaos::chaos(url, options, time)),
                None => conformance::conformance(url, options),
            }
        }
        Command::Bench(options) => {
            files::allow_many()?;
            // Each of many sessions would have the same warnings.
            on_processors(LevelFilter::ERROR, bench::bench(url, options))
        }
        #[cfg(feature = "postgres")]
        Command::Schema(options) => schema::schema(options),
        Command::Completions(options) => generate::completions(options),
        Command::Man(options) => generate::man(options),
    }
}

/// Runs what does little itself. One thread beside this one keeps the session while this one is held up, and a machine of many processors
/// starts no more of them for each program under a lock.
fn on_runtime<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    on(Builder::new_multi_thread().worker_threads(1), LevelFilter::WARN, command)
}

/// Runs what is to use all processors.
fn on_processors<T>(
    logged: LevelFilter,
    command: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    on(&mut Builder::new_multi_thread(), logged, command)
}

fn on<T>(
    runtime: &mut Builder,
    logged: LevelFilter,
    command: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    /// A runtime panics if it lacks those by which it hears of signals.
    const FILES: usize = 6;
    log_to_stderr(logged);
    let runtime = files::expect(FILES).and_then(|()| runtime.enable_all().build());
    let runtime = runtime.map_err(|error| Failure::from(error).during("no threads can be started"))?;
    let ended = runtime.block_on(command);
    // A name that is still being looked up must not hold up the end.
    runtime.shutdown_background();
    ended
}

fn log_to_stderr(logged: LevelFilter) {
    let filter = EnvFilter::builder().with_default_directive(logged.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(terminal::coloured(&io::stderr()))
        .init();
}

//! `cargo run -p fairlock-conformance --features chaos --bin chaos -- --backend zookeeper --nodes 3 --seed 7 --time 10m`

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use conformance::chaos::{Nodes, Outcome, Plan, run, serve_as_contender};
use conformance::{Failure, chaos};

/// Let processes contend for locks on servers that are started here, and break all of them
#[derive(Debug, Parser)]
struct Arguments {
    /// zookeeper, etcd, redis, or file
    #[arg(long)]
    backend: String,

    /// How many servers: 1, or 3 of ZooKeeper and etcd
    #[arg(long, default_value_t = 1)]
    nodes: usize,

    /// What is broken, and when, follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// For how long something is broken
    #[arg(long, default_value = "1m", value_parser = humantime::parse_duration)]
    time: Duration,

    /// How many processes contend
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
}

fn main() -> ExitCode {
    if let Some(exit) = serve_as_contender(&fairlock::registry()) {
        return exit;
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(judge(&arguments))) {
        Ok(outcome) => {
            println!("{outcome}");
            ExitCode::from(u8::from(!outcome.report.violations.is_empty()))
        }
        Err(failure) => {
            eprintln!("chaos: {failure}");
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::future_not_send, reason = "it runs on the thread that blocks on it")]
async fn judge(arguments: &Arguments) -> Result<Outcome, Failure> {
    let Arguments { backend, nodes, seed, time, clients } = arguments;
    let plan = |url| Plan { url, seed: *seed, time: *time, clients: (*clients).into() };
    if backend == "file" {
        let directory = tempfile::tempdir()?;
        let url = format!("file://{}/locks", directory.path().display());
        return run(&fairlock::registry(), &plan(url), None).await;
    }
    let nodes: Box<dyn Nodes> = chaos::start(backend, *nodes).await?;
    run(&fairlock::registry(), &plan(nodes.url()), Some(&*nodes)).await
}

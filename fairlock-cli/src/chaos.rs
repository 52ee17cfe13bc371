//! `fairlock conformance --chaos`: processes that contend for locks at a place of the user's own, and break.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use ::conformance::chaos::{Outcome, Plan, run};
use serde::Serialize;

use crate::arguments::ConformanceOptions;
use crate::exit::{Failure, OTHER, VIOLATED};
use crate::output;
use crate::service::place;

/// How many processes contend.
const CLIENTS: usize = 5;

#[expect(clippy::future_not_send, reason = "the command runs it on one thread")]
pub(crate) async fn chaos(
    url: Option<&str>,
    options: &ConformanceOptions,
    time: Duration,
) -> Result<ExitCode, Failure> {
    let url = place(url)?;
    let registry = fairlock::registry();
    // Whether it is there, and shared by processes.
    let service = registry.connect_url(url.parse()?).await?;
    let interprocess = service.capabilities().interprocess;
    service.close().await?;
    if !interprocess {
        return Err(Failure::new(crate::exit::USAGE, "--chaos needs a place that processes share"));
    }
    let seed = options.seed.unwrap_or_else(another_seed);
    let plan = Plan { url, seed, time, clients: CLIENTS };
    let outcome = run(&registry, &plan, None).await;
    let outcome =
        outcome.map_err(|failure| Failure::new(OTHER, format!("chaos with seed {seed}: {failure}")))?;
    if options.json {
        output::json(&Judgement::new(seed, &outcome))?;
    } else {
        output::line(format!("seed {seed}: {outcome}"))?;
    }
    let violated = !outcome.report.violations.is_empty();
    Ok(if violated { ExitCode::from(VIOLATED) } else { ExitCode::SUCCESS })
}

/// One that a second call is unlikely to have.
fn another_seed() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::from(since.subsec_nanos())
}

/// Documented in the help, so: fields may be added, not changed.
#[derive(Serialize)]
struct Judgement<'o> {
    seed: u64,
    grants: usize,
    ungranted: usize,
    losses: usize,
    refused_writes: usize,
    broken: &'o BTreeMap<&'static str, u64>,
    violations: Vec<String>,
}

impl<'o> Judgement<'o> {
    fn new(seed: u64, Outcome { report, faults }: &'o Outcome) -> Self {
        Self {
            seed,
            grants: report.grants,
            ungranted: report.ungranted,
            losses: report.losses,
            refused_writes: report.refused,
            broken: faults,
            violations: report.violations.iter().map(ToString::to_string).collect(),
        }
    }
}

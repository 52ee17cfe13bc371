//! `fairlock elect`: who leads, and a program that runs while it leads.

use std::io;

use fairlock::{Leader, LockService, LockServiceExt};
use futures::StreamExt;
use serde::Serialize;

use crate::arguments::ElectOptions;
use crate::exit::{Exit, Failure, NOT_IN_TIME};
use crate::output;
use crate::run::run;
use crate::service::looking;

pub(crate) async fn elect(url: Option<&str>, options: &ElectOptions) -> Result<Exit, Failure> {
    if let Some(campaign) = options.campaign() {
        return run(url, &campaign, || {}).await;
    }
    looking(url, async |service| show(service, options).await).await?;
    Ok(Exit::Code(0))
}

async fn show(service: &dyn LockService, options: &ElectOptions) -> Result<(), Failure> {
    let election = service.election(&options.name)?;
    if options.watch {
        let mut leaders = election.observe();
        while let Some(leader) = leaders.next().await {
            let leader = leader?;
            match options.json {
                true => output::line(serde_json::to_string(&row(leader.as_ref())).map_err(io::Error::from)?)?,
                false => output::line(leader.map_or_else(String::new, |leader| leader.value))?,
            }
        }
        return Ok(());
    }
    let leader = election.leader().await?;
    if options.json {
        output::json(&row(leader.as_ref()))?;
        return Ok(());
    }
    match leader {
        Some(leader) => Ok(output::line(leader.value)?),
        None => Err(Failure::new(NOT_IN_TIME, format!("nobody leads {:?}", options.name))),
    }
}

fn row(leader: Option<&Leader>) -> Option<Row<'_>> {
    leader.map(|Leader { term, value, label, candidate_since, .. }| Row {
        term: term.get(),
        value,
        label,
        since: candidate_since.map(|since| humantime::format_rfc3339_millis(since).to_string()),
    })
}

/// A leader in JSON. Documented in the help, so: fields may be added, not changed.
#[derive(Serialize)]
struct Row<'l> {
    term: u64,
    value: &'l str,
    label: &'l str,
    since: Option<String>,
}

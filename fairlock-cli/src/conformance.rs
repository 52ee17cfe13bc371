//! `fairlock conformance`: the suite against a service of the user's own.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use ::conformance::{Fixture, Outcome, Trial, UrlFixture, trials};
use serde::Serialize;

use crate::arguments::ConformanceOptions;
use crate::exit::{Failure, USAGE, VIOLATED};
use crate::output::{self, Cell};
use crate::service::place;
use crate::terminal::{Tone, Toned, coloured};

/// Not on a runtime: each trial brings its own.
pub(crate) fn conformance(url: Option<&str>, options: &ConformanceOptions) -> Result<ExitCode, Failure> {
    let fixture: Arc<dyn Fixture> = Arc::new(UrlFixture::new(fairlock::registry(), &place(url)?)?);
    let filter = options.filter.as_deref().unwrap_or_default();
    let chosen: Vec<Trial> = trials().into_iter().filter(|trial| trial.name().contains(filter)).collect();
    if chosen.is_empty() {
        return Err(Failure::new(USAGE, format!("no trial has {filter:?} in its name")));
    }
    let results = judge(&chosen, &fixture, options.json)?;
    sum_up(&results, options.json)?;
    let violated = results.iter().any(|result| result.outcome == "failed");
    Ok(if violated { ExitCode::from(VIOLATED) } else { ExitCode::SUCCESS })
}

/// Runs the trials, and shows people how they go.
fn judge(trials: &[Trial], fixture: &Arc<dyn Fixture>, json: bool) -> io::Result<Vec<Judgement>> {
    let judge = |trial: &Trial| {
        let judgement = Judgement::new(trial.name(), trial.run(fixture));
        if !json {
            output::line(judgement.to_line(coloured(&io::stdout())))?;
        }
        Ok(judgement)
    };
    trials.iter().map(judge).collect()
}

fn sum_up(results: &[Judgement], json: bool) -> io::Result<()> {
    if json {
        return output::json(&results);
    }
    // They come group by group.
    let groups = results.chunk_by(|one, next| one.group() == next.group());
    let row = |name: &str, results: &[Judgement]| {
        let count = |outcome| results.iter().filter(|result| result.outcome == outcome).count();
        let [passed, failed, ignored] = ["passed", "failed", "ignored"].map(count);
        let failed = Cell::toned(if failed == 0 { Tone::Plain } else { Tone::Bad }, failed);
        [Cell::new(name), Cell::new(passed), failed, Cell::new(ignored)]
    };
    let mut rows: Vec<_> = groups.map(|group| row(group[0].group(), group)).collect();
    rows.push(row("total", results));
    output::line("")?;
    output::table(["GROUP", "PASSED", "FAILED", "IGNORED"], &rows)
}

/// How one trial ended. Documented in the help, so: fields may be added, not changed.
#[derive(Serialize)]
struct Judgement {
    name: String,
    outcome: &'static str,
    reason: Option<String>,
}

impl Judgement {
    fn new(name: String, outcome: Outcome) -> Self {
        let (outcome, reason) = match outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Failed(failure) => ("failed", Some(failure.to_string())),
            Outcome::Ignored(reason) => ("ignored", Some(reason.to_owned())),
        };
        Self { name, outcome, reason }
    }

    fn group(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    fn to_line(&self, coloured: bool) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let tone = match self.outcome {
            _ if !coloured => Tone::Plain,
            "passed" => Tone::Good,
            "failed" => Tone::Bad,
            _ => Tone::Idle,
        };
        let outcome = format!("{:<7}", self.outcome);
        format!("{}  {}{reason}", Toned(tone, &outcome), self.name)
    }
}

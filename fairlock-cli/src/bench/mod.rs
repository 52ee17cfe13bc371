//! `fairlock bench`: how fast the locks are at a place, beside the least that a lock there can cost.

mod case;
mod floor;
mod measure;
mod meter;
mod options;
mod order;
mod place;
mod report;
mod turn;

use std::io;
use std::process::ExitCode;

pub(crate) use options::BenchOptions;

use self::case::{Case, cases};
use self::place::Place;
use crate::exit::{Failure, USAGE, VIOLATED};
use crate::output;
use crate::progress::Line;

pub(crate) async fn bench(url: Option<&str>, options: &BenchOptions) -> Result<ExitCode, Failure> {
    let place = Place::new(url)?;
    let cases = cases(options);
    if cases.is_empty() {
        return Err(Failure::new(
            USAGE,
            "no row is left: the rows of --only have no locks of the kinds of --kind",
        ));
    }
    let measured = measure(&place, &cases, options).await;
    let tidied = place.tidy().await;
    let rows = measured?;
    tidied?;
    if !options.json {
        report::table(&rows)?;
    }
    let overtaking = rows.iter().any(|row| row.overtaking > 0);
    Ok(if overtaking { ExitCode::from(VIOLATED) } else { ExitCode::SUCCESS })
}

async fn measure(place: &Place, cases: &[Case], options: &BenchOptions) -> Result<Vec<report::Row>, Failure> {
    let (mut rows, mut progress) = (Vec::new(), Line::default());
    for (number, case) in (1..).zip(cases) {
        let show = |what: &str| progress.show(&format!("{number} of {}, {case}: {what}", cases.len()));
        let measured = case.measure(place, options, show).await?;
        if options.json {
            let lines = measured.iter().map(|row| serde_json::to_string(row).map_err(io::Error::from));
            lines.into_iter().try_for_each(|line| output::line(line?))?;
        }
        rows.extend(measured);
    }
    Ok(rows)
}

//! `fairlock bench`: how fast the locks are at a place, beside the least that a lock there can cost.

mod case;
mod fanout;
mod floor;
mod growth;
mod local;
mod measure;
mod meter;
mod options;
mod order;
mod place;
mod plot;
mod report;
mod turn;

use std::process::ExitCode;

pub(crate) use options::BenchOptions;

use self::case::cases;
use self::options::Row;
use self::place::Place;
use self::report::Report;
use crate::exit::{Failure, USAGE, VIOLATED};
use crate::progress::Line;

pub(crate) async fn bench(url: Option<&str>, options: &BenchOptions) -> Result<ExitCode, Failure> {
    if options.plot.is_some() && !options.has(Row::Handover) {
        return Err(Failure::new(USAGE, "--plot draws the row handover, which --only leaves out"));
    }
    let place = Place::new(url)?;
    options.plot.as_deref().map_or(Ok(()), plot::make)?;
    let mut report = Report::new(options.json);
    let measured = measure(&place, options, &mut report).await;
    let tidied = place.tidy().await;
    measured?;
    tidied?;
    report.finish()?;
    if let Some(file) = &options.plot {
        plot::draw(file, &place.url().to_string(), report.speeds())?;
    }
    Ok(if report.overtaking() { ExitCode::from(VIOLATED) } else { ExitCode::SUCCESS })
}

async fn measure(place: &Place, options: &BenchOptions, report: &mut Report) -> Result<(), Failure> {
    let (cases, mut progress) = (cases(options), Line::default());
    let growing = [Row::Waiters, Row::Held].into_iter().filter(|row| options.has(*row));
    let growing: Vec<_> =
        growing.flat_map(|row| options.kinds().into_iter().map(move |kind| (row, kind))).collect();
    if cases.is_empty() && growing.is_empty() {
        return Err(Failure::new(
            USAGE,
            "nothing is left: one departure lets in no more than one exclusive lock",
        ));
    }
    for (number, case) in (1..).zip(&cases) {
        let show = |what: &str| progress.show(&format!("{number} of {}, {case}: {what}", cases.len()));
        for row in case.measure(place, options, show).await? {
            report.speed(row)?;
        }
    }
    for (row, kind) in growing {
        let mut show =
            |what: &str| progress.show(&format!("{} {}, {}: {what}", options.many, row.name(), kind.name()));
        report.growth(growth::measure(row, kind, place, options, &mut show).await?)?;
    }
    Ok(())
}

//! The row `handover` as a drawing.

use std::fmt::Display;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::report::Speed;
use crate::exit::{Failure, OTHER};

/// A curve: what it shows, and its points.
type Curve = (String, Vec<(f64, f64)>);

/// Makes sure that the drawing can be written, before it takes minutes to get there.
pub(super) fn make(file: &Path) -> Result<(), Failure> {
    std::fs::write(file, "").map_err(|error| failed(file, &error))
}

fn failed(file: &Path, error: &dyn Display) -> Failure {
    Failure::new(OTHER, format!("{}: {error}", file.display()))
}

/// Draws two panels: grants per second, and what a grant costs the server, each against the number of contenders.
pub(super) fn draw(file: &Path, place: &str, rows: &[Speed]) -> Result<(), Failure> {
    let rows: Vec<&Speed> = rows.iter().filter(|row| row.row == "handover").collect();
    let mut rates = curves(&rows, |row| Some(row.figures.grants_per_second?.median));
    // All kinds have the same floor.
    let floor = rows.iter().filter(|row| row.kind == rows[0].kind);
    let floor: Vec<_> = floor
        .filter_map(|row| Some((f64::from(row.n), row.floor.as_ref()?.grants_per_second?.median)))
        .collect();
    rates.push(("floor".to_owned(), floor));
    let costs = curves(&rows, |row| row.figures.server_cpu_us_per_grant);
    let drawn = panels(
        file,
        place,
        &[("grants per second", rates), ("server's processor time per grant, µs", costs)],
    );
    drawn.map_err(|error| failed(file, &error))
}

fn curves(rows: &[&Speed], value: impl Fn(&Speed) -> Option<f64>) -> Vec<Curve> {
    let mut kinds: Vec<&str> = rows.iter().map(|row| row.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let points = |kind: &str| {
        let rows = rows.iter().filter(|row| row.kind == kind);
        rows.filter_map(|row| Some((f64::from(row.n), value(row)?))).collect()
    };
    kinds.into_iter().map(|kind| (kind.to_owned(), points(kind))).collect()
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn panels(file: &Path, title: &str, panels: &[(&str, Vec<Curve>)]) -> Drawn {
    let known: Vec<_> =
        panels.iter().filter(|(_, curves)| curves.iter().any(|(_, points)| !points.is_empty())).collect();
    let root = SVGBackend::new(file, (480 * known.len().max(1) as u32, 360)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 18))?;
    for ((unit, curves), area) in known.iter().zip(root.split_evenly((1, known.len().max(1)))) {
        panel(&area, unit, curves)?;
    }
    Ok(root.present()?)
}

fn panel(area: &DrawingArea<SVGBackend<'_>, Shift>, unit: &str, curves: &[Curve]) -> Drawn {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let range = |values: Vec<f64>| {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        (least / 1.5..most * 1.5).log_scale()
    };
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(unit, ("sans-serif", 14))
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(
            range(points().map(|(n, _)| *n).collect()),
            range(points().map(|(_, value)| *value).collect()),
        )?;
    let whole = |value: &f64| format!("{value:.0}");
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("contenders")
        .x_label_formatter(&whole)
        .y_label_formatter(&whole)
        .light_line_style(WHITE)
        .draw()?;
    for (number, (name, points)) in curves.iter().enumerate() {
        let colour = Palette99::pick(number).to_rgba();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    Ok(())
}

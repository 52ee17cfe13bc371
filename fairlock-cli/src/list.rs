//! `fairlock list`: the locks that there are.

use std::process::ExitCode;

use serde::Serialize;

use crate::arguments::ListOptions;
use crate::exit::Failure;
use crate::output::{self, Cell};
use crate::service::looking;

/// One lock in JSON. Documented in the help, so: fields may be added, not changed.
#[derive(Serialize)]
struct Row {
    family: String,
    name: String,
}

pub(crate) async fn list(url: Option<&str>, options: &ListOptions) -> Result<ExitCode, Failure> {
    let row = |key: fairlock::LockKey| Row { family: key.family.to_string(), name: key.name.to_string() };
    let mut names = looking(url, async |service| Ok(service.names().await?)).await?;
    names.sort();
    let rows: Vec<Row> = names.into_iter().map(row).collect();
    if options.json {
        output::json(&rows)?;
    } else {
        let cells: Vec<_> =
            rows.iter().map(|Row { family, name }| [Cell::new(family), Cell::new(name)]).collect();
        output::table(["FAMILY", "NAME"], &cells)?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `fairlock schema`: the SQL that makes the schema in which the locks live.

use std::process::ExitCode;

use crate::arguments::{SchemaOf, SchemaOptions};
use crate::exit::Failure;
use crate::output;

pub(crate) fn schema(SchemaOptions { service, schema }: &SchemaOptions) -> Result<ExitCode, Failure> {
    let SchemaOf::Postgres = service;
    output::raw(backend_postgres::schema_sql(schema)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

//! Makes the schema where there is none, and refuses one that is not ours.

use lockcore::{Effect, Error, ErrorKind, Result};
use tokio_postgres::error::SqlState;

use crate::error::{error, invalid};
use crate::layout::{VERSION, order_key, schema};
use crate::link::Link;

/// The statements that make the schema in which the locks live, for whoever may: the program itself does it when it comes first,
/// if it is permitted.
///
/// # Errors
///
/// [`InvalidConfig`](ErrorKind::InvalidConfig) if no schema can be called so.
pub fn schema_sql(name: &str) -> Result<String> {
    let name = crate::PostgresOptions::new([""; 0]).with_schema(name)?.schema().to_owned();
    Ok(format!("BEGIN;\nCREATE SCHEMA IF NOT EXISTS {name};\n\n{}\nCOMMIT;\n", schema(&name)))
}

/// Makes sure that the schema is there and is ours.
pub(crate) async fn ensure(link: &Link, name: &str) -> Result<()> {
    match version(link, name).await {
        Err(error) if error.kind() == ErrorKind::InvalidConfig => {}
        found => return check(found?, name),
    }
    match install(link, name).await {
        Ok(()) => {}
        Err(error) => {
            // Or the transaction would go on.
            let _ = link.ask("ROLLBACK").await;
            return Err(error);
        }
    }
    check(version(link, name).await?, name)
}

fn check(version: i32, name: &str) -> Result<()> {
    if version == VERSION {
        return Ok(());
    }
    let message = format!(
        "schema {name} is of version {version}, this program knows version {VERSION}: use another one with schema=, or one version of the program everywhere"
    );
    Err(invalid(message))
}

async fn version(link: &Link, name: &str) -> Result<i32> {
    let row = link.ask(&format!("SELECT version FROM {name}.place")).await?;
    Ok(row.and_then(|row| row.get(0)?.parse().ok()).unwrap_or_default())
}

/// Whoever comes first makes it; the others wait, and find it.
async fn install(link: &Link, name: &str) -> Result<()> {
    let key = order_key(name, b"");
    let begin = format!("BEGIN; SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({key})");
    link.ask(&begin).await?;
    // Statements of their own, so that they see what was done under the lock.
    let table = format!("SELECT 1 FROM pg_tables WHERE schemaname = '{name}' AND tablename = 'place'");
    if link.ask(&table).await?.is_none() {
        let namespace = format!("SELECT 1 FROM pg_namespace WHERE nspname = '{name}'");
        let create = match link.ask(&namespace).await? {
            Some(_) => String::new(),
            None => format!("CREATE SCHEMA {name};"),
        };
        let made = link.client().batch_execute(&format!("{create}{}", schema(name))).await;
        made.map_err(|source| match source.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => not_permitted(name, source),
            _ => error(source).with_context(format!("make schema {name}")),
        })?;
    }
    link.ask("COMMIT").await.map(drop)
}

fn not_permitted(name: &str, source: tokio_postgres::Error) -> Error {
    let message = format!(
        "schema {name} is not there, and may not be made by this user: let somebody who may execute what `fairlock schema postgres \
         --schema {name}` prints, and grant the rights that stand at its beginning"
    );
    Error::new(ErrorKind::PermissionDenied, message).with_effect(Effect::None).with_source(source)
}

//! The recipe for SQLite.

use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use fairlock::FencingToken;
use rusqlite::{Connection, TransactionBehavior};

use crate::holders::{Store, check, write_much};

const SCHEMA: &str = include_str!("../../../docs/guide/src/fencing/schema.sql");
const ADMIT: &str = include_str!("../../../docs/guide/src/fencing/admit.sql");

/// Two processes would have a connection each; so have the writers here.
struct Database {
    connections: [Mutex<Connection>; 2],
}

fn open(path: &Path) -> Mutex<Connection> {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    // What is not written to the disk at once is lost with the machine, not with the process.
    connection.pragma_update(None, "synchronous", "OFF").unwrap();
    Mutex::new(connection)
}

/// Writes in one transaction with the check; whether the token was the largest.
fn write(connection: &mut Connection, token: FencingToken, value: u64) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Tokens fit into a signed integer.
    if transaction.execute(ADMIT, ("orders", token.get() as i64))? == 0 {
        return Ok(false);
    }
    transaction.execute("UPDATE orders SET value = ?1 WHERE id = 42", [value as i64])?;
    transaction.commit()?;
    Ok(true)
}

#[async_trait]
impl Store for Database {
    async fn write(&self, token: FencingToken, value: u64) -> bool {
        let connection = &self.connections[token.get() as usize % 2];
        tokio::task::block_in_place(|| write(&mut connection.lock().unwrap(), token, value).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_takes_no_stale_write() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("orders.db");
    let connections = [open(&path), open(&path)];
    let schema = format!("{SCHEMA}; CREATE TABLE orders (id, value); INSERT INTO orders VALUES (42, 0)");
    connections[0].lock().unwrap().execute_batch(&schema).unwrap();
    check(&write_much(Database { connections }).await);
}

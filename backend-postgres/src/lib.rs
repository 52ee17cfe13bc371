//! fairlock's locks in [PostgreSQL](https://www.postgresql.org), 14 or later.
//!
//! ```no_run
//! # async fn example() -> lockcore::Result<()> {
//! use backend_postgres::{Postgres, PostgresOptions};
//! use lockcore::queue::QueueLocks;
//!
//! let options = PostgresOptions::new(["db1:5432", "db2:5432"]).with_user("app", None).with_database("shop");
//! let locks = QueueLocks::connect(Postgres::new(options)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! One schema, `fairlock` unless another is named, which the first who needs it makes, if it may. Otherwise it says so: somebody who may
//! executes what [`schema_sql`] returns (`fairlock schema postgres` prints it), and grants the rights that stand at its beginning.
//!
//! * `entry`: the queues, in the order of their tokens, which come from the one sequence `token`. To remove somebody by hand,
//!   `DELETE FROM fairlock.entry WHERE id = '…'`.
//! * `session`: one row for each session. With it go its entries, whoever removes it.
//! * `clock`: a sequence of milliseconds that those drive who renew sessions. It runs no faster than anybody's clock, and a session that
//!   was not renewed for its whole life, and a second, by this clock is removed by whoever advanced it.
//! * `record`: what is recorded about locks ([`DistributedLock::record`](lockcore::DistributedLock::record)).
//! * `place`: which server this is. On another one (a standby that was promoted, a database that was restored elsewhere) tokens begin anew
//!   above all that the first can have given out.
//!
//! # Connections
//!
//! A session has two, for requests and for renewals, and one for each lock (eight at most) for which somebody waits behind another
//! session; when there are none left, it asks again and again. They have to stay: a pooler that gives each transaction another
//! connection is refused. What belongs to connections does not decide who holds; it only wakes up.
//!
//! # What it promises
//!
//! With one server, and with synchronous replication, locks survive restarts, crashes and promotions. With asynchronous replication a
//! promotion loses what the standby did not have; holders are told, and tokens are larger afterwards all the same.

mod backend;
mod blocked;
mod connection;
mod error;
mod judge;
mod keep_alive;
mod layout;
mod link;
mod options;
mod own_entries;
mod pool;
mod queue;
mod records;
mod requests;
mod schema;
mod session;
mod tls;
mod watches;

pub use backend::{Postgres, PostgresFactory};
pub use options::{OPTIONS, PostgresOptions, SCHEMES};
pub use schema::schema_sql;
pub use tls::{PostgresTls, TlsMode};

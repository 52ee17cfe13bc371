//! fairlock's locks in [PostgreSQL](https://www.postgresql.org), 14 or later.
mod backend;
mod connection;
mod error;
mod keep_alive;
mod layout;
mod link;
mod options;
mod places;
mod pool;
mod queue;
mod schema;
mod session;
mod tls;
mod wait;

pub use backend::{Postgres, PostgresFactory, SCHEMES};
pub use options::PostgresOptions;
pub use schema::schema_sql;
pub use tls::{PostgresTls, TlsMode};

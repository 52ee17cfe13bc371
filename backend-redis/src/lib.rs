//! fairlock's locks on [Redis](https://redis.io), 7.0 or later: one server, a master under sentinels, or a cluster.
//!
//! ```no_run
//! # async fn example() -> lockcore::Result<()> {
//! use backend_redis::{Redis, RedisOptions};
//! use lockcore::queue::QueueLocks;
//!
//! let options = RedisOptions::new("redis1:6379").with_prefix("app:")?;
//! let locks = QueueLocks::connect(Redis::new(options)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What Redis cannot promise
//!
//! * A failover can lose entries that the old master had acknowledged, and a restart loses those that were not on disk. Somebody
//!   else may then be let in at once. The old holder is told at its next renewal, a sixth of the session timeout later
//!   at most.
//! * Entries live by the server's time of day. If that jumps forward, they die early, and again their owners are told
//!   at the next renewal; if it jumps back, they live longer than they should.
//! * Tokens rise along the queue, and after a loss of data as well: none is smaller than the server's time of day in
//!   microseconds. They fall only if data is lost *and* the clock goes back.
//!
//! # Layout
//!
//! For each lock, all in one hash slot:
//!
//! | key | type | what |
//! |---|---|---|
//! | `<prefix>{<family>:<name>}:queue` | sorted set | ids of all entries by ticket, which is also the token |
//! | `…:exclusive` | sorted set | those of exclusive entries |
//! | `…:deadlines` | sorted set | the same ids by the server's time at which they die |
//! | `…:entries` | hash | from id to `<kind> <weight> <limit> <session> <label>` |
//! | `…:token` | string | the last ticket; stays for a day after the last use |
//! | `…:gone:<id>` | string | keeps a removed id from coming back; stays for one session timeout |
//!
//! What a user of it needs: `~<prefix>* &<prefix>* +@read +@write +@scripting +@pubsub +time +ping +info`, with
//! `wait_replicas` also `+wait`, in a cluster also `+cluster`.
//!
//! # Cost
//!
//! Each operation is one script of O(log n), and in the case of a semaphore O(limit) as well. A release wakes those whom
//! it lets in.

mod backend;
mod connection;
mod entries;
mod error;
mod layout;
mod link;
mod options;
mod servers;
mod session;
mod tasks;

pub use backend::{Redis, RedisFactory, SCHEMES};
pub use options::RedisOptions;

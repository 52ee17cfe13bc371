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
//! A lock is one key, `<prefix>{<family>:<name>}:queue`, a sorted set: no part of a lock can be lost without the rest, and a script
//! runs wherever the key is, also while a cluster moves it. What stands in it is told apart by its score:
//!
//! | score | member | what |
//! |---|---|---|
//! | `-<ticket>` | `<id> <kind> <weight> <limit> <lease> <session> <label>` | the entries: these are the queue |
//! | `<ticket>` | `<id>` | finds the entry; without it the entry counts as removed: `ZREM <key> <id>` is how to do that by hand |
//! | a time in ms | `<id> <ticket> <weight> <lease> <session>` | when the entry dies, by the server's clock, unless it is renewed |
//! | a time in ms | `-<id>` | keeps a removed id from coming back, for one session timeout |
//! | a number | `#last` | the last ticket; tickets are also the tokens |
//! | a number | `#held`, `#used` | where several hold: the ticket of the last holder, and what all of them weigh; lost, they are counted again |
//!
//! What is recorded about a lock is another key, `<prefix>{<family>:<name>}:record`, in the same slot: the token, a space, the text. It does not expire.
//!
//! The key of the queue expires half a day to a day after its last use, or a day after its last ticket if that is later because the clock was set back.
//! `<prefix>session:<id>` is a key that marks a session, and a channel on which it is told of its turns, `<id>:<ticket>:<weight of all
//! other holders>` of each entry that was let in; there is no mark in a cluster. Whoever may write to the keys, or publish on the channels, is trusted.
//!
//! What a user of it needs: `~<prefix>* &<prefix>* +@read +@write +@scripting +@pubsub +time +ping +info`, with
//! `wait_replicas` also `+wait`, in a cluster also `+cluster`.
//!
//! # Cost
//!
//! Each operation is one script of O(log n), whatever the kind, and O(1) for each entry that dies or is let in meanwhile. A free lock costs two
//! scripts with five commands in them; a hand-over two with nine, one of which is the message, for a release tells those whom it lets in that they
//! hold. At rest a session sends one script for every fifty entries each sixth of the session timeout, in a cluster one for each slot.

mod backend;
mod client;
mod connection;
mod error;
mod keep_alive;
mod layout;
mod link;
mod options;
mod own_entries;
mod queue;
mod records;
mod redirects;
mod scripts;
mod seen;
mod servers;
mod session;
mod watches;

pub use backend::{Redis, RedisFactory};
pub use options::{OPTIONS, RedisOptions, SCHEMES};

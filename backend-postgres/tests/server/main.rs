//! What is peculiar to PostgreSQL, against real servers.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::future_not_send, reason = "a test runs on one thread")]

mod bed;
mod clocks;
mod connections;
mod crowd;
mod faults;
mod own;
mod promotion;
mod rule;
mod schema;
mod tls;

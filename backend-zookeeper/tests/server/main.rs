//! What is peculiar to ZooKeeper and its client library, against a real server.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod access;
mod arrivals;
mod bed;
mod connections;
mod fake;
mod layout;
mod presence;
mod renewals;
#[cfg(feature = "sasl")]
mod sasl;
#[cfg(feature = "tls")]
mod tls;
mod watches;

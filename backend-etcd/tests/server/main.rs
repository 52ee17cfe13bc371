//! What is peculiar to etcd and its client library, against real servers.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bed;
mod cluster;
mod full;
mod handover;
mod lease;
mod passwords;
mod queues;
mod sessions;
mod slots;
mod tls;

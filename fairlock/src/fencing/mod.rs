//! Something has to check fencing tokens: what the lock protects.
//!
//! A holder can be paused at any moment, for longer than its session lasts, and go on without knowing. Then two write. What they write to
//! can tell them apart, because the token of the later holder is larger: it remembers the largest token that it has seen and refuses smaller
//! ones. That needs remembering and refusing to be one step with the write.
//!
//! * What this process guards itself (a file, a device, a cache) goes through a [`TokenGate`].
//! * A service on HTTP or gRPC gets the token in a header, which `FencingLayer` checks (feature `tower`).
//! * Stores check in the statement or transaction that writes. The guide has recipes, tested with ten thousand writes of holders that were
//!   paused, for PostgreSQL, SQLite, Redis, etcd and ZooKeeper, and one for S3:
//!   `docs/guide/src/fencing.md`.
//!
//! Tokens of one lock are compared with each other, never those of different locks, or of one lock at different places. They fit into a signed
//! integer of 64 bits.
//!
//! Holders that hold *together* (readers, permits of a semaphore) have different tokens, of which a gate takes the largest for the only
//! right one. Check tokens of exclusive locks.

mod gate;
#[cfg(feature = "tower")]
mod layer;
mod persist;

pub use gate::{Pass, Refused, TokenGate};
#[cfg(feature = "tower")]
pub use layer::{FencingLayer, FencingResponse, FencingService, HEADER};

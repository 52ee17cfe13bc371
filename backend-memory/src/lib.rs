//! fairlock's locks in memory: the reference driver, and what applications use in their unit tests.
//!
//! A [`Memory`] plays the server. Each [`MemoryClient`] plays a process that is connected to it, with a session
//! of its own and with hooks that break things: expire the session, cut the connection, lose or delay requests,
//! replies and wake-ups. Time is tokio's, so a test with a paused clock waits for nothing.
//!
//! ```
//! use backend_memory::Memory;
//! use lockcore::{DistributedLockExt, LockService};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> lockcore::Result<()> {
//! let memory = Memory::new();
//! let (alice, bob) = (memory.client(), memory.client());
//! let (to_alice, to_bob) = (alice.connect().await?, bob.connect().await?);
//!
//! let guard = to_alice.exclusive("orders/42")?.acquire().await?;
//! assert!(to_bob.exclusive("orders/42")?.try_acquire().await?.is_none());
//!
//! alice.disconnect(); // for longer than the session lasts
//! let next = to_bob.exclusive("orders/42")?.acquire().await?;
//! assert!(!guard.is_valid());
//! assert!(next.fencing_token() > guard.fencing_token());
//! # Ok(())
//! # }
//! ```

mod client;
mod factory;
mod link;
mod queue;
mod server;
mod session;

pub use client::MemoryClient;
pub use factory::{MemoryFactory, OPTIONS, SCHEME};
pub use link::Fault;
pub use server::Memory;

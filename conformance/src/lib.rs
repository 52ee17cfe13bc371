//! The suite that proves that a lock service means what fairlock's guarantees say: ours, or a stranger's.
//!
//! A backend's `tests/conformance.rs` (with `harness = false`) says where the service is, and that is all:
//!
//! ```no_run
//! use conformance::UrlFixture;
//! use lockcore::Registry;
//!
//! fn main() -> std::process::ExitCode {
//!     let registry = Registry::new(); // .with("mine", MyFactory)
//!     conformance::main(registry, |registry| {
//!         UrlFixture::new(registry, "mine://127.0.0.1:1234/?session_timeout=3s")
//!     })
//! }
//! ```
//!
//! What a [`Fixture`] cannot break is listed as ignored, with the reason. [`server`] starts real servers,
//! [`proxy`] stands between a client and its server, and [`deadline`] ends what waits too long.

#[cfg(feature = "certificates")]
pub mod certificates;
pub mod chaos;
mod context;
pub mod deadline;
mod failure;
mod fixture;
pub mod history;
mod process;
pub mod proxy;
pub mod server;
mod suite;
mod trial;
mod trials;
mod url_fixture;

pub use context::Context;
pub use failure::Failure;
pub use fixture::{Client, Fixture, Mortal, Network, Operator, Servers};
pub use process::{Holder, serve_as_holder};
pub use suite::{main, trials};
pub use trial::{Needs, Outcome, Trial};
pub use url_fixture::UrlFixture;

//! The smallest driver that passes the suite: a copy of this crate is the beginning of a backend of your own.
//!
//! * `server.rs` is what you exchange for requests to your server. Here it is a part of this process, which keeps the entries of
//!   sessions as long as those are renewed.
//! * `keep_alive.rs` renews a session. A server that knows by itself when a client is gone needs none.
//! * `session.rs` is what the core asks of a session.
//! * `backend.rs` opens sessions, and reads the URL `template://name?session_timeout=10s`.
//!
//! `tests/conformance.rs` proves that it is right. A real driver also says what its errors
//! [changed](lockcore::Effect) on the server; here no request can fail half-way.

mod backend;
mod keep_alive;
mod server;
mod session;

pub use backend::{SCHEME, Template, TemplateFactory};

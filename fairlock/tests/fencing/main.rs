//! What checks tokens lets no holder write whose time is over: the gate, the layer for services, and the recipes of the guide, each
//! against the real thing.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod etcd;
mod gate;
mod holders;
mod http;
mod postgres;
mod redis;
mod sqlite;
mod zookeeper;

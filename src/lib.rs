//! sigmux: one WebRTC signaling engine that speaks five protocols.
//!
//! The modules are floors of one house; imports go down only. `tests/tidy.rs` checks the table
//! of the README by machine.

pub mod auth;
pub mod base;
pub mod cli;
pub mod config;
pub mod dialect;
pub mod front;
pub mod hub;
pub mod mesh;
pub mod observe;
pub mod outside;
pub mod ring;
pub mod server;
pub mod session;
pub mod shard;
pub mod sim;
pub mod wire;

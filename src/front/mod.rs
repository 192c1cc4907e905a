//! Floor 4: requests. One thread with the tokio-uring runtime serves the HTTP of every listener.
//!
//! A socket stays with its shard. What it carries comes here as a tunnel of plain bytes, is a
//! [`TunnelStream`] to hyper, and may go back to its shard as a WebSocket.
//!
//! ```text
//! shard ──► inbox of the front ──► pump ──► Tunnel (requests judged, credits) ──► TunnelStream ──► hyper ──► axum
//! shard ◄── outlets ◄───────────── pump ◄── Outbound (bytes, credits, End) ◄──┘
//! ```
//!
//! Owns the runtime, the tunnels' ends on this side, the routes, and what lives beside them on the
//! runtime (its [`Companion`]s). Invariants: neither side of a tunnel ever has more bytes on the way
//! than its window, a tunnel that was given back is not written to again, and hyper reads no head that
//! `wire` has not passed. Knows no ring and no TLS; of a protocol it knows the paths and nothing else.

mod bell;
pub(crate) mod broadcast;
mod calls_api;
mod client;
mod devices_api;
mod echo;
mod exchange;
mod intake;
mod outbound;
mod pages;
mod post;
mod profile;
mod pump;
mod rooms_api;
mod routes;
mod run;
mod tunnel;
mod upgrade;

#[cfg(test)]
mod tests;

// `outbound` takes it from here, so that `tests/loom` can put another in its place.
use tokio::sync::Notify;

pub use broadcast::{Broadcast, Parts as BroadcastParts};
pub use calls_api::CallsApi;
pub use client::{Client, Doorkeeper};
pub use devices_api::DevicesHealth;
pub use post::Post;
pub use profile::CallsHealth;
pub use rooms_api::{Parts as RoomsParts, RoomsApi, Terms as RoomsTerms, sweep};
pub use run::{
    Apis, Clock, Companion, Front, Listener, Phase, Ring, Services, Settings, Sources, Terms, run,
};
pub use tunnel::TunnelStream;

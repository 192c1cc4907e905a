//! What has to hold for any bytes at all, as plain functions: the targets of `fuzz/` feed them what
//! a fuzzer makes up, and the tests of `seeds` what has been collected.
//!
//! Owns the oracles: each is written from the standard's text or is another implementation, and
//! not the code that it judges. The invariant: a body panics exactly when a promise is broken, for
//! inputs of any length, and the same bytes always give the same run.
//!
//! Must not know the fuzzer, or what lies inside the modules that it checks.

mod broadcast;
mod calls;
mod cbor;
mod config;
mod devices;
mod frame;
mod http_head;
mod hub;
mod json;
mod rooms;
#[cfg(test)]
mod seeds;
mod session;
mod talk;
mod websocket;
mod world;

pub use broadcast::broadcast;
pub use calls::calls_session;
pub use cbor::cbor;
pub use config::config;
pub use devices::devices_session;
pub use frame::frame;
pub use http_head::http_head;
pub use hub::hub;
pub use json::json;
pub use rooms::rooms_session;
pub use session::binary_session;
pub use websocket::websocket;
pub use world::world;

/// Panics when the bytes show that a promise is broken.
pub type Body = fn(&[u8]);

/// Every body by the name of its target, which is also the name of its folder of seeds.
pub const BODIES: &[(&str, Body)] = &[
    ("frame", frame),
    ("websocket", websocket),
    ("http_head", http_head),
    ("json", json),
    ("cbor", cbor),
    ("binary_session", binary_session),
    ("rooms_session", rooms_session),
    ("devices_session", devices_session),
    ("calls_session", calls_session),
    ("broadcast", broadcast),
    ("hub", hub),
    ("config", config),
    ("world", world),
];

/// `bytes` in pieces whose lengths, 1 to `piece_bytes_max`, follow from the seed.
fn pieces(bytes: &[u8], piece_bytes_max: usize, seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed);
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = 1 + (state >> 16) as usize % piece_bytes_max;
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        Some(piece)
    })
}

//! The front as its shards and its clients see it.

pub(super) mod http;
mod shard;
mod tunnels;

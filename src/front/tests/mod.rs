//! The front as its shards and its clients see it.

mod http;
mod shard;
mod tunnels;

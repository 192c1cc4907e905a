//! The front as its shards and its clients see it.

pub(super) mod http;
mod seam;
mod shard;
mod tunnels;

//! Black-box tests of the engine: the real binary over real sockets, judged by the protocol's
//! document and by clients that share no code with it. One crate, so that it links once.

mod audit;
mod back_pressure;
mod bad_input;
mod batches;
mod broadcast;
mod calls;
mod choice;
mod cli;
mod conformance;
mod crossing;
mod crowd;
mod descriptors;
mod devices;
mod disk;
mod drain;
mod errors;
mod events;
mod exchange;
mod harness;
mod hostile;
mod http;
mod leaks;
mod liveness;
mod load;
mod login;
mod privacy;
mod reload;
mod requests;
mod rooms;
mod stress;
mod takeover;
mod tls;
mod tokens;
mod translate;
mod websocket;

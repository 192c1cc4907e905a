//! The settings as the rest of the program reads them: typed, checked, free of file and line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Service, Tls};
use crate::auth::{Credentials, PublicKeys};
use crate::base::{Networks, Redacted};

/// A checked configuration. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it came from, as messages call it: a path, or `built-in defaults`.
    pub origin: String,
    pub server: Server,
    /// Everything that listens, the `[metrics]` port too. Never empty, names are unique.
    pub listeners: Vec<Listener>,
    pub auth: Auth,
    pub logging: Logging,
    pub binary: Binary,
    pub rooms: Rooms,
    pub broadcast: Broadcast,
    pub calls: Calls,
    pub devices: Devices,
    pub events: Events,
    pub audit: Option<Audit>,
    /// What the operator should hear of, though it keeps nothing from starting.
    pub warnings: Vec<String>,
}

/// Section `[server]`, apart from the address. All limits hold for the whole process unless they
/// name a shard or a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Nothing means one per core. At most [`crate::base::SHARDS_MAX`].
    pub shards: Option<usize>,
    /// Whether each shard's thread is bound to a core of its own.
    pub pin_shards: bool,
    /// How long a shard looks for work before it sleeps. Zero: it sleeps at once.
    pub busy_poll: Duration,
    /// Room store, issuer key, event file. Made at first need.
    pub data_dir: PathBuf,

    /// Connections of all listeners together. The limit on open files may be lower.
    pub max_connections: usize,
    /// Messages a second and connection. Nothing means no limit.
    pub message_rate: Option<u32>,
    /// Of one WebSocket message, which may hold many frames.
    pub max_message_bytes: usize,
    /// Of an HTTP head.
    pub head_bytes_max: usize,
    /// Connections of one address, or of one /64 of IPv6. 0: any number.
    pub max_connections_per_ip: u32,
    /// New ones a second. 0: any number.
    pub connect_rate_per_ip: u32,
    /// Wrong credentials of one address, after which it is told to wait. 0: any number.
    pub failed_logins_per_minute: u32,
    /// Whether the limits of one address that are not off by default hold for this machine's own.
    pub limit_loopback: bool,
    /// Addresses without a connection that are remembered.
    pub addresses_max: usize,
    /// Who is believed when it names the client: by the PROXY protocol where a listener has it, and by
    /// `X-Forwarded-For`.
    pub proxies: Networks,

    /// Silence after which a WebSocket is pinged; after three of them it is closed. Nothing means
    /// that there are no pings and nobody is closed for missing one.
    pub heartbeat_interval: Option<Duration>,
    /// Silence after which a session ends, on plain TCP too.
    pub session_timeout: Duration,
    /// From the accept to the first message that shows the dialect.
    pub first_message_timeout: Duration,
    /// From the accept to the end of the HTTP head.
    pub head_timeout: Duration,
    /// From an HTTP head to its answer, where the request has a body. Whole seconds count.
    pub body_timeout: Duration,
    /// From a close frame sent to the peer's answer.
    pub close_timeout: Duration,
    /// From SIGTERM to the drain: everybody is served as ever, and told that nobody new should come.
    pub drain_delay: Duration,
    /// From the drain's beginning to the end of the last connection.
    pub drain_timeout: Duration,

    /// Parcels that wait in one shard's inbox.
    pub inbox_messages_max: usize,
    /// Parcels that wait at one shard for others whose inbox is full.
    pub overflow_messages_max: usize,
    /// Bytes of large messages in one shard's inbox, …
    pub inbox_bytes_max: usize,
    /// … and of all messages that wait at one shard for others.
    pub overflow_bytes_max: usize,
    /// How long connections that feed a full shard are not read.
    pub hold: Duration,
    /// Bytes that wait for one reader: above the soft limit it counts as slow, …
    pub outbox_soft_bytes: usize,
    /// … above the hard limit senders are refused.
    pub outbox_hard_bytes: usize,
    /// Kept free above the hard limit, for errors and acknowledgements.
    pub outbox_reserve_bytes: usize,
    /// How long a reader may stay over the hard limit.
    pub slow_consumer_timeout: Duration,
    /// Bytes on their way through a tunnel to the front, in each direction.
    pub tunnel_window_bytes: usize,
    /// Provided buffers of one shard; a power of two.
    pub receive_buffers: u16,
    pub receive_buffer_bytes: usize,
}

/// One door: its addresses and what is served there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    /// As it was written, for messages.
    pub bind: String,
    /// At least one.
    pub addresses: Vec<Address>,
    /// At least one, each available in this version, in the order of the file.
    pub serves: Vec<Service>,
    /// Adds `X-Sigmux-Shard` to the 101.
    pub expose_shard: bool,
    pub origins: Origins,
    /// Nothing means plain TCP.
    pub tls: Option<Tls>,
    /// Connections of [`Server::proxies`] begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

impl Listener {
    /// Whether nobody gets in without a certificate of the configured authorities.
    pub fn asks_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_ca_path.is_some())
    }
}

/// Where to listen. An IPv6 address must be bound with `IPV6_V6ONLY`, since the IPv4 address
/// beside it has a socket of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Port 0 means any free one.
    pub socket: SocketAddr,
    /// Came of a name such as `localhost` that stands for both protocols: a machine without IPv6
    /// does without it.
    pub optional: bool,
}

/// Web pages that may open a WebSocket. A request without `Origin` does not come from a browser
/// and is always let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    Any,
    /// As `scheme://host[:port]` in lower case.
    Only(Vec<String>),
}

/// Section `[auth]`.
#[derive(Clone, Debug)]
pub struct Auth {
    pub credentials: Credentials,
    /// Signs what `sigmux token` mints, whichever method clients use.
    pub token_secret: Option<Redacted<String>>,
    /// How long a minted token lives.
    pub token_expiry: Duration,
}

/// Section `[logging]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logging {
    pub level: LogLevel,
    pub format: LogFormat,
    /// Whether there are logs at all. They go to stderr.
    pub console_output: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Plain,
}

/// Section `[binary]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The space of ids that it shares with other dialects of the same realm.
    pub realm: String,
    /// Whether a delivered signal names its sender.
    pub stamp_sender: bool,
    pub on_duplicate: OnDuplicate,
}

/// What happens when a client id connects that is connected already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDuplicate {
    /// The newer connection wins.
    Replace,
    /// The newer connection gets a 409.
    Reject,
}

/// Section `[rooms]`. Its provider is the embedded one: this version has no other.
#[derive(Clone, Debug)]
pub struct Rooms {
    pub store: RoomStore,
    /// From the making of a room to its end. Whole seconds, at least one.
    pub ttl: Duration,
    /// Whether a register without an identity is refused.
    pub require_id_token: bool,
    /// Whether anyone may delete a room or a peer.
    pub open_delete: bool,
    /// Whether a signal to a missing peer is answered.
    pub report_undeliverable: bool,
    /// Between two pings of the application. Nothing means never.
    pub app_ping: Option<Duration>,
    pub rooms_max: usize,
    pub peers_per_room_max: usize,
    /// Of one peer, as JSON.
    pub metadata_bytes_max: usize,

    /// Identities by `jwt`: keys from a file that was read and checked, …
    pub public_keys: Option<PublicKeys>,
    /// … and keys that an `http` or `https` address gives.
    pub jwks_url: Option<String>,
    /// What `iss` and `aud` must say in a token of these keys. Nothing means anything.
    pub jwks_issuer: Option<String>,
    pub jwks_audience: Option<String>,
    /// Least time between two fetches.
    pub jwks_refresh: Duration,
    /// Identities by `api_key`. Names and keys are unique.
    pub api_keys: Vec<RoomsApiKey>,

    /// `iss` of the tokens that the embedded issuer makes.
    pub issuer: String,
    /// How long they live.
    pub id_token_lifetime: Duration,
    /// Anonymous sign-ins of the whole process: each costs a signature.
    pub signins_per_second_max: u32,
    /// Of one address a second. 0: any number.
    pub signin_rate_per_ip: u32,
    /// Rooms created by one address a second. 0: any number.
    pub create_rate_per_ip: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomStore {
    /// Gone with the process.
    Memory,
    /// A file in the data folder.
    Embedded,
}

/// One entry of `[rooms] api_keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomsApiKey {
    /// The identity that the key stands for.
    pub name: String,
    pub key: Redacted<String>,
    /// Rooms that it opens without the room's token. Empty means none.
    pub rooms: Vec<String>,
}

/// Section `[broadcast]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// The space of socket ids that it shares with other dialects of the same realm.
    pub realm: String,
    /// As the handshake of Engine.IO tells them.
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// Of one packet, over polling and WebSocket.
    pub payload_bytes_max: usize,
    pub clients_max: usize,
    /// Of one address. 0: any number.
    pub clients_max_per_ip: u32,
}

/// Section `[calls]`. Its state is in memory: this version has no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// In one call; 1 to 1000.
    pub seat_count: usize,
    /// From the last renewal of a seat to its lapse.
    pub seat_timeout: Duration,
    /// From the upgrade to the JOIN. Nothing means no limit beside
    /// [`Server::first_message_timeout`].
    pub ws_handshake_timeout: Option<Duration>,
    /// From the upgrade to the WELCOME. Nothing means no limit.
    pub ws_join_timeout: Option<Duration>,
    pub ws_ping_interval: Duration,
    /// Silence after which a connection is closed.
    pub ws_read_timeout: Duration,
    /// What `Access-Control-Allow-Origin` says.
    pub origin: String,
    /// Of `POST /signal`.
    pub body_bytes_max: usize,
    pub calls_max: usize,
    /// Seats taken by one address a second. 0: any number.
    pub seat_rate_per_ip: u32,
}

/// Section `[devices]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    /// The space of ids that it shares with other dialects of the same realm.
    pub realm: String,
    /// Whether a connection without a token is refused. Then there is a secret.
    pub require_token: bool,
    /// Whether signals of those that have not registered pass.
    pub allow_unregistered: bool,
    /// Whether a candidate for a missing peer is answered.
    pub report_undeliverable: bool,
    /// Checks tokens, HS256. Nothing means that tokens are not looked at.
    pub jwt_secret: Option<Redacted<String>>,
    /// Nothing means no limit beside [`Server::max_connections`].
    pub max_clients: Option<usize>,
    /// Like [`Server::heartbeat_interval`], which it is where `[devices]` says nothing.
    pub heartbeat_interval: Option<Duration>,
    /// What `client_list_update` may cost, for all clients together.
    pub list_update_bytes_per_second: u64,
    /// In the order of the file; names are unique. A role without an entry may do everything.
    pub roles: Vec<Role>,
}

/// One table `[devices.roles.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// As in the claim `role`.
    pub name: String,
    /// Types of messages, each one of `register, offer, answer, ice, list, ping`. Nothing means
    /// all of them.
    pub may_send: Option<Vec<String>>,
    /// Roles of the clients that signals may go to. Nothing means anyone.
    pub to: Option<Vec<String>>,
}

/// Section `[events]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// Without repeats. Empty means that events are dropped.
    pub sinks: Vec<Sink>,
    /// Where [`Sink::File`] appends, one JSON object a line.
    pub file: PathBuf,
    /// Where [`Sink::Webhook`] posts; there if that is among the sinks.
    pub webhook_url: Option<String>,
    /// What it shows there.
    pub webhook_token: Option<Redacted<String>>,
    /// Events that wait for the sinks; further ones are dropped and counted.
    pub events_max: usize,
}

/// Section `[audit]`, if it names a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// One JSON object a line is appended.
    pub file: PathBuf,
    /// Entries that wait for the file; further ones are dropped and counted.
    pub entries_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    Log,
    File,
    Webhook,
}

//! What the dialects are told by the configuration, and what they share with the front.

use std::sync::Arc;
use std::time::Duration;

use super::ServeError;
use super::entropy::KernelEntropy;
use crate::auth::{
    Authenticator, DeviceTokens, Identities, IdentitySources, Issuer, RoomsApiKey, TrustedKeys, TrustedRemote,
};
use crate::base::{Entropy, RealmId};
use crate::config::{self, RoomStore as StoreKind, Service, Settings};
use crate::dialect::{self, binary, broadcast, calls, devices, rooms};
use crate::hub::rooms::{RoomLimits, RoomStore, Rooms};
use crate::hub::{OnDuplicate, SeatLimits, Seats};
use crate::outside::{self, EmbeddedStore, JwksRefresh, JwksSource, MemoryStore};

/// Longest that a register, or a request, waits for keys that are being fetched.
pub(super) const KEY_WAIT: Duration = Duration::from_secs(5);

/// Signals that may wait for one client of `broadcast`.
const BROADCAST_MESSAGES_MAX: usize = 1024;

/// What exists only where `rooms` is served, on its WebSocket or its HTTP.
pub(super) struct RoomsParts {
    pub issuer: Arc<Issuer>,
    pub store: Arc<dyn RoomStore>,
}

/// The dialects' settings and what belongs to them.
pub(super) struct Dialects {
    pub settings: Arc<dialect::Settings>,
    pub rooms: Option<RoomsParts>,
    /// Fetches the keys of identities, where an address is configured.
    pub key_refresh: Option<JwksRefresh>,
}

impl Dialects {
    /// Opens the store of rooms and the issuer's key, where they are needed.
    pub fn new(settings: &Settings) -> Result<Dialects, ServeError> {
        let serves = |service| settings.listeners.iter().any(|listener| listener.serves.contains(&service));
        let rooms = if serves(Service::Rooms) || serves(Service::RoomsApi) {
            Some(RoomsParts::open(settings)?)
        } else {
            None
        };
        let config = &settings.rooms;
        let (key_refresh, remote_keys) = match &config.jwks_url {
            Some(url) => {
                let source = JwksSource::new(url).map_err(|error| ServeError::Jwks(error.to_string()))?;
                let (refresh, keys) = JwksRefresh::new(source, config.jwks_refresh.as_secs());
                (Some(refresh), Some(keys))
            }
            None => (None, None),
        };
        let trusted_by_us = rooms.as_ref().map(|parts| TrustedKeys {
            keys: parts.issuer.public_keys().clone(),
            issuer: Some(parts.issuer.name().to_owned()),
            audience: None,
        });
        let configured = config.public_keys.clone().map(|keys| TrustedKeys {
            keys,
            issuer: config.jwks_issuer.clone(),
            audience: config.jwks_audience.clone(),
        });
        let remote = remote_keys.map(|keys| TrustedRemote {
            keys,
            issuer: config.jwks_issuer.clone(),
            audience: config.jwks_audience.clone(),
        });
        let api_keys = config.api_keys.iter().map(|key| RoomsApiKey {
            name: key.name.clone(),
            key: key.key.clone(),
            rooms: key.rooms.clone(),
        });
        let identities = Identities::new(IdentitySources {
            trusted: trusted_by_us.into_iter().chain(configured).collect(),
            remote,
            api_keys: api_keys.collect(),
        });
        let registry = Arc::new(Rooms::new(
            RoomLimits {
                rooms_max: config.rooms_max,
                peers_per_room_max: config.peers_per_room_max,
                metadata_bytes_max: config.metadata_bytes_max,
            },
            seed(),
        ));
        if let Some(parts) = &rooms {
            restore(&registry, &*parts.store)?;
        }
        let settings = dialect::Settings {
            binary: binary_settings(settings),
            rooms: rooms_settings(settings, registry, identities),
            devices: devices_settings(settings)?,
            calls: calls_settings(settings),
            broadcast: broadcast_settings(settings),
        };
        Ok(Dialects { settings: Arc::new(settings), rooms, key_refresh })
    }
}

impl RoomsParts {
    fn open(settings: &Settings) -> Result<RoomsParts, ServeError> {
        let data_dir = &settings.server.data_dir;
        let issuer = outside::load_or_create_issuer(data_dir, &settings.rooms.issuer)
            .map_err(|error| ServeError::IssuerKey(error.to_string()))?;
        let store: Arc<dyn RoomStore> = match settings.rooms.store {
            StoreKind::Memory => Arc::new(MemoryStore),
            StoreKind::Embedded => Arc::new(EmbeddedStore::open(data_dir).map_err(ServeError::RoomStore)?),
        };
        Ok(RoomsParts { issuer: Arc::new(issuer), store })
    }
}

/// Puts the stored rooms back on record. The expired ones among them go with the next sweep.
fn restore(registry: &Arc<Rooms>, store: &dyn RoomStore) -> Result<(), ServeError> {
    let records = store.load().map_err(ServeError::RoomStore)?;
    let (total, mut restored) = (records.len(), 0);
    for record in records {
        if let Ok(reservation) = registry.reserve(record) {
            reservation.open();
            restored += 1;
        }
    }
    if restored < total {
        tracing::warn!(total, restored, "`[rooms] rooms_max` leaves out rooms of the store");
    }
    Ok(())
}

/// Names of realms to their numbers; dialects that name the same one share it.
fn realms(settings: &Settings) -> [RealmId; 3] {
    let names = [&settings.binary.realm, &settings.devices.realm, &settings.broadcast.realm];
    names.map(|name| {
        let first = names.iter().position(|other| *other == name).unwrap_or_default();
        RealmId(first as u16)
    })
}

fn binary_settings(settings: &Settings) -> binary::Settings {
    let [realm, _, _] = realms(settings);
    binary::Settings {
        realm,
        stamp_sender: settings.binary.stamp_sender,
        on_duplicate: match settings.binary.on_duplicate {
            config::OnDuplicate::Replace => OnDuplicate::Replace,
            config::OnDuplicate::Reject => OnDuplicate::Reject,
        },
        auth: Arc::new(Authenticator::new(&settings.auth.credentials)),
        message_rate: message_rate(settings),
    }
}

fn rooms_settings(settings: &Settings, rooms: Arc<Rooms>, identities: Identities) -> rooms::Settings {
    let config = &settings.rooms;
    rooms::Settings {
        rooms,
        identities: Arc::new(identities),
        require_id_token: config.require_id_token,
        report_undeliverable: config.report_undeliverable,
        app_ping: config.app_ping.unwrap_or_default(),
        metadata_bytes_max: config.metadata_bytes_max,
        message_rate: message_rate(settings),
        key_wait: KEY_WAIT,
    }
}

fn devices_settings(settings: &Settings) -> Result<devices::Settings, ServeError> {
    let [_, realm, _] = realms(settings);
    let config = &settings.devices;
    let roles = config.roles.iter().map(|role| {
        devices::Role::new(role.name.clone(), role.may_send.as_deref(), role.to.clone())
            .map_err(|unknown| ServeError::Role(unknown.0))
    });
    Ok(devices::Settings {
        require_token: config.require_token,
        allow_unregistered: config.allow_unregistered,
        report_undeliverable: config.report_undeliverable,
        tokens: config.jwt_secret.clone().map(|secret| Arc::new(DeviceTokens::new(secret))),
        roles: roles.collect::<Result<_, _>>()?,
        max_clients: config.max_clients.unwrap_or(0),
        message_rate: message_rate(settings),
        heartbeat_interval: config.heartbeat_interval.unwrap_or_default(),
        ..devices::Settings::new(realm)
    })
}

fn calls_settings(settings: &Settings) -> calls::Settings {
    let config = &settings.calls;
    let limits = SeatLimits { calls_max: config.calls_max, ..SeatLimits::default() };
    calls::Settings {
        seats: Arc::new(Seats::in_memory(limits, seed())),
        seat_count: config.seat_count,
        seat_timeout: config.seat_timeout,
        ws_handshake_timeout: config.ws_handshake_timeout.unwrap_or_default(),
        ws_join_timeout: config.ws_join_timeout.unwrap_or_default(),
        ws_ping_interval: config.ws_ping_interval,
        ws_read_timeout: config.ws_read_timeout,
    }
}

fn broadcast_settings(settings: &Settings) -> broadcast::Settings {
    let [_, _, realm] = realms(settings);
    let config = &settings.broadcast;
    broadcast::Settings {
        realm,
        ping_interval: config.ping_interval,
        ping_timeout: config.ping_timeout,
        payload_bytes_max: config.payload_bytes_max,
        clients_max: config.clients_max,
        message_rate: message_rate(settings),
        outbox_bytes_max: settings.server.outbox_hard_bytes,
        outbox_messages_max: BROADCAST_MESSAGES_MAX,
    }
}

fn message_rate(settings: &Settings) -> u32 {
    settings.server.message_rate.unwrap_or(0)
}

fn seed() -> u64 {
    KernelEntropy::new().next_u128() as u64
}

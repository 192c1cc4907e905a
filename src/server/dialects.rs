//! What the dialects are told by the configuration, and what they share with the front.

use std::sync::Arc;
use std::time::Duration;

use super::ServeError;
use super::entropy::KernelEntropy;
use crate::auth::{
    Authenticator, DeviceTokens, Identities, IdentitySources, Issuer, RemoteKeys, RoomsApiKey, TrustedKeys,
    TrustedRemote,
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
#[derive(Clone)]
pub(super) struct RoomsParts {
    pub issuer: Arc<Issuer>,
    pub store: Arc<dyn RoomStore>,
}

/// The dialects' settings and what belongs to them.
pub(super) struct Dialects {
    pub settings: Arc<dialect::Settings>,
    pub rooms: Option<RoomsParts>,
    /// Keys of identities that are fetched, where an address is configured.
    remote_keys: Option<Arc<RemoteKeys>>,
}

/// What becomes of the fetching of keys.
pub(super) enum KeyRefresh {
    AsBefore,
    /// In place of what there was. `None`: no address is configured.
    Instead(Option<JwksRefresh>),
}

/// What all connections share, and what outlives a reload.
struct Tables {
    rooms: Arc<Rooms>,
    seats: Arc<Seats>,
    roster: Arc<devices::Roster>,
}

impl Dialects {
    /// Opens the store of rooms and the issuer's key, where they are needed.
    pub fn new(settings: &Settings) -> Result<(Dialects, Option<JwksRefresh>), ServeError> {
        let serves = |service| settings.listeners.iter().any(|listener| listener.serves.contains(&service));
        let rooms = if serves(Service::Rooms) || serves(Service::RoomsApi) {
            Some(RoomsParts::open(settings)?)
        } else {
            None
        };
        let tables = Tables {
            rooms: Arc::new(Rooms::new(room_limits(&settings.rooms), seed())),
            seats: Arc::new(Seats::in_memory(seat_limits(&settings.calls), seed())),
            roster: Arc::default(),
        };
        if let Some(parts) = &rooms {
            restore(&tables.rooms, &*parts.store)?;
        }
        let (refresh, remote_keys) = key_refresh(&settings.rooms)?;
        Ok((Dialects::over(&tables, rooms, remote_keys, settings)?, refresh))
    }

    /// The same rooms, seats and ids under other settings, of which `former` are the present ones.
    /// Nothing has changed yet when this returns.
    pub fn renewed(
        &self,
        former: &config::Rooms,
        settings: &Settings,
    ) -> Result<(Dialects, KeyRefresh), ServeError> {
        let present = &*self.settings;
        let tables = Tables {
            rooms: Arc::clone(&present.rooms.rooms),
            seats: Arc::clone(&present.calls.seats),
            roster: Arc::clone(&present.devices.roster),
        };
        let (wanted, was) = (&settings.rooms, former);
        let (refresh, remote_keys) =
            if (&wanted.jwks_url, wanted.jwks_refresh) == (&was.jwks_url, was.jwks_refresh) {
                (KeyRefresh::AsBefore, self.remote_keys.clone())
            } else {
                let (refresh, keys) = key_refresh(wanted)?;
                (KeyRefresh::Instead(refresh), keys)
            };
        Ok((Dialects::over(&tables, self.rooms.clone(), remote_keys, settings)?, refresh))
    }

    fn over(
        tables: &Tables,
        rooms: Option<RoomsParts>,
        remote_keys: Option<Arc<RemoteKeys>>,
        settings: &Settings,
    ) -> Result<Dialects, ServeError> {
        let identities = identities(&settings.rooms, rooms.as_ref(), remote_keys.clone());
        let settings = dialect::Settings {
            binary: binary_settings(settings),
            rooms: rooms_settings(settings, Arc::clone(&tables.rooms), identities),
            devices: devices_settings(settings, Arc::clone(&tables.roster))?,
            calls: calls_settings(settings, Arc::clone(&tables.seats)),
            broadcast: broadcast_settings(settings),
        };
        Ok(Dialects { settings: Arc::new(settings), rooms, remote_keys })
    }
}

type Refreshed = (Option<JwksRefresh>, Option<Arc<RemoteKeys>>);

fn key_refresh(config: &config::Rooms) -> Result<Refreshed, ServeError> {
    let Some(url) = &config.jwks_url else { return Ok((None, None)) };
    let source = JwksSource::new(url).map_err(|error| ServeError::Jwks(error.to_string()))?;
    let (refresh, keys) = JwksRefresh::new(source, config.jwks_refresh.as_secs());
    Ok((Some(refresh), Some(keys)))
}

fn identities(
    config: &config::Rooms,
    rooms: Option<&RoomsParts>,
    remote_keys: Option<Arc<RemoteKeys>>,
) -> Identities {
    let trusted_by_us = rooms.map(|parts| TrustedKeys {
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
    Identities::new(IdentitySources {
        trusted: trusted_by_us.into_iter().chain(configured).collect(),
        remote,
        api_keys: api_keys.collect(),
    })
}

pub(super) fn room_limits(config: &config::Rooms) -> RoomLimits {
    RoomLimits {
        rooms_max: config.rooms_max,
        peers_per_room_max: config.peers_per_room_max,
        metadata_bytes_max: config.metadata_bytes_max,
    }
}

fn seat_limits(config: &config::Calls) -> SeatLimits {
    SeatLimits { calls_max: config.calls_max, ..SeatLimits::default() }
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

fn devices_settings(
    settings: &Settings,
    roster: Arc<devices::Roster>,
) -> Result<devices::Settings, ServeError> {
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
        roster,
        ..devices::Settings::new(realm)
    })
}

fn calls_settings(settings: &Settings, seats: Arc<Seats>) -> calls::Settings {
    let config = &settings.calls;
    calls::Settings {
        seats,
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

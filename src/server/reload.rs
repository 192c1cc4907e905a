//! SIGHUP: the settings are read again, and what can change while the engine runs is replaced.
//!
//! ```text
//! load ─► merge ─► prepare ─► apply: one value after another is swapped, and the shards are woken
//!   └────────┴────────┴─ anything wrong: the old settings stay, all of them
//! ```
//!
//! Nobody's connection is touched: who has logged in stays so by the credentials of then, and who
//! logs in from here on needs those of now.

use std::sync::Arc;

use axum::http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::ServeError;
use super::apis;
use super::assembly;
use super::clock::Clock;
use super::dialects::{self, Dialects, KeyRefresh};
use super::merge::{Merged, merge};
use crate::base::Live;
use crate::config::{ConfigErrors, LogLevel, Settings};
use crate::dialect::broadcast;
use crate::front::{self, CallsApi, RoomsApi};
use crate::observe::Reloads;
use crate::outside::JwksRefresh;
use crate::shard::{self, Shared};

/// Where settings come from, and what they mean outside the engine.
pub struct Source {
    /// Reads and checks them as at the start.
    pub load: Box<dyn Fn() -> Result<Settings, ConfigErrors>>,
    pub set_log_level: Box<dyn Fn(LogLevel)>,
}

/// What a reload replaces.
pub(super) struct Reloadable {
    pub running: Settings,
    pub dialects: Dialects,
    /// Connections for which the limit on open files has room.
    pub connections_room: usize,
    pub shared: Arc<Shared>,
    pub front: Arc<Live<front::Terms>>,
    pub rooms: Option<RoomsApi>,
    pub calls: Option<Arc<Live<CallsApi>>>,
    pub broadcast: Arc<Live<broadcast::Settings>>,
    pub keys: KeyKeeper,
    pub reloads: Arc<Reloads>,
    pub clock: Clock,
}

/// What became of a reload.
pub(super) enum Reloaded {
    /// Names of the keys that have another value now.
    Applied { changed: Vec<&'static str>, needs_restart: Vec<&'static str> },
    /// The old settings stay. One line for each thing that is wrong.
    Refused(String),
}

/// New settings in the shape in which they are used. What can fail has been done.
struct Prepared {
    dialects: Dialects,
    refresh: KeyRefresh,
    calls_origin: HeaderValue,
}

impl Reloadable {
    /// Whoever drives the shards wakes them afterwards.
    pub fn reload(&mut self, source: &Source) -> Reloaded {
        let reloaded = match (source.load)() {
            Ok(wanted) => self.replace(merge(&self.running, wanted), source),
            Err(errors) => Reloaded::Refused(errors.to_string()),
        };
        self.tell(&reloaded);
        reloaded
    }

    pub fn note_success(&self) {
        self.reloads.applied_unix_ms.set(self.clock.read().unix_ms as i64);
    }

    fn replace(&mut self, merged: Merged, source: &Source) -> Reloaded {
        let Merged { settings, changed, needs_restart } = merged;
        let prepared = match self.prepare(&settings) {
            Ok(prepared) => prepared,
            Err(error) => return Reloaded::Refused(error.to_string()),
        };
        for warning in settings.warnings.iter().filter(|it| !self.running.warnings.contains(it)) {
            tracing::warn!("{warning}");
        }
        self.apply(&settings, prepared);
        (source.set_log_level)(settings.logging.level);
        self.running = settings;
        Reloaded::Applied { changed, needs_restart }
    }

    /// Everything that can fail. Nothing has changed when this returns.
    fn prepare(&self, settings: &Settings) -> Result<Prepared, ServeError> {
        let (dialects, refresh) = self.dialects.renewed(&self.running.rooms, settings)?;
        Ok(Prepared { dialects, refresh, calls_origin: apis::origin(settings)? })
    }

    /// Cannot fail, so that the settings are never half the old ones.
    fn apply(&mut self, settings: &Settings, prepared: Prepared) {
        let Prepared { dialects, refresh, calls_origin } = prepared;
        dialects.settings.rooms.rooms.set_limits(dialects::room_limits(&settings.rooms));
        if let KeyRefresh::Instead(refresh) = refresh {
            self.keys.replace(refresh);
        }
        if let Some(rooms) = &self.rooms {
            rooms.set_terms(apis::rooms_terms(settings, &dialects));
        }
        if let Some(calls) = &self.calls {
            calls.set(CallsApi {
                settings: dialects.settings.calls.clone(),
                origin: calls_origin,
                max_body_bytes: settings.calls.body_bytes_max,
                ..(*calls.get()).clone()
            });
        }
        self.broadcast.set(dialects.settings.broadcast.clone());
        self.front.set(assembly::front_terms(settings, &dialects));
        let connections_max = assembly::connections_max(&settings.server, self.connections_room);
        self.shared.addresses.set_limits(assembly::address_limits(settings));
        self.shared.terms.set(Some(shard::Terms {
            settings: Arc::new(assembly::session_settings(settings, &dialects)),
            limits: assembly::shard_limits(settings, connections_max),
        }));
        self.dialects = dialects;
    }

    /// Names keys and never their values.
    fn tell(&self, reloaded: &Reloaded) {
        match reloaded {
            Reloaded::Applied { changed, needs_restart } => {
                self.reloads.applied.add(1);
                self.note_success();
                match changed.as_slice() {
                    [] => tracing::info!(config = self.running.origin, "reloaded: nothing has changed"),
                    changed => {
                        tracing::info!(
                            config = self.running.origin,
                            "reloaded: changed {}",
                            changed.join(", ")
                        );
                    }
                }
                if !needs_restart.is_empty() {
                    tracing::warn!("reloaded: needs a restart to take effect: {}", needs_restart.join(", "));
                }
            }
            Reloaded::Refused(why) => {
                self.reloads.refused.add(1);
                for line in why.lines() {
                    tracing::error!("reload refused, the old settings stay: {line}");
                }
            }
        }
    }
}

/// Has the keys of identities fetched from the address that is configured at present.
pub(super) struct KeyKeeper(watch::Sender<Next>);

/// Taken by whoever runs it.
type Next = Arc<Mutex<Option<JwksRefresh>>>;

impl KeyKeeper {
    /// The second runs on the front's runtime.
    pub fn new(first: Option<JwksRefresh>) -> (KeyKeeper, front::Companion) {
        let (next, mut wanted) = watch::channel(Arc::new(Mutex::new(first)));
        let companion: front::Companion = Box::new(|mut stop| {
            Box::pin(async move {
                loop {
                    let refresh = wanted.borrow_and_update().lock().take();
                    // Ends with this round, and with it the fetching.
                    let (_end, ended) = oneshot::channel();
                    let fetching = async {
                        match refresh {
                            Some(refresh) => refresh.run(ended).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        _ = &mut stop => return,
                        changed = wanted.changed() => if changed.is_err() { return },
                        () = fetching => {}
                    }
                }
            })
        });
        (KeyKeeper(next), companion)
    }

    fn replace(&self, refresh: Option<JwksRefresh>) {
        self.0.send_replace(Arc::new(Mutex::new(refresh)));
    }
}

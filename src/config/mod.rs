//! Floor 5: a TOML file and the environment become checked settings.
//!
//! Owns the names, units, ranges and defaults of every key, and the words of every complaint
//! about them, and who wins: a flag, then `SIGMUX_*`, then the documented variables, then those of
//! `.env`, then the file, then the default. The invariant: a [`Settings`] that exists has been checked
//! whole, and a refusal names every problem that was found, not only the first.
//!
//! Must not know how the settings are used: it starts nothing and opens no socket. The files that
//! it reads are the configuration itself, `.env`, the key sets that `jwks_path` names, and certificates
//! with their keys.

mod bind;
mod calls;
mod certificates;
mod check;
mod credentials;
mod devices;
mod dotenv;
mod duration;
mod environment;
mod listeners;
mod moves;
mod nearest;
mod problem;
mod reader;
mod rooms;
mod sections;
mod services;
mod settings;

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use toml_edit::Document;

pub use certificates::Tls;
use environment::Environment;
pub use environment::Overrides;
pub use problem::{ConfigErrors, Place, Problem};
use reader::Reader;
pub use services::Service;
pub use settings::{
    Address, Audit, Auth, Binary, Broadcast, Calls, Devices, Events, Listener, LogFormat, LogLevel, Logging,
    OnDuplicate, Origins, Role, RoomStore, Rooms, RoomsApiKey, Server, Settings, Sink,
};

/// Read where no other file is named and this one is there.
pub const DEFAULT_PATH: &str = "config/sigmux.toml";

/// What holds where there is no file at all: the file that ships with sigmux.
pub const BUILT_IN: &str = include_str!("../../config/sigmux.toml");

/// How messages call [`BUILT_IN`].
const BUILT_IN_NAME: &str = "built-in defaults";

/// Sections of what this version does not have yet. They are accepted, so that a file for a later
/// version loads, and their keys are not looked at.
const LATER_SECTIONS: [&str; 1] = ["cluster"];

/// Reads the file `.env` of `directory` for [`Overrides::dot_env`], if there is one. A folder of
/// that name belongs to somebody else.
pub fn read_dot_env(directory: &Path) -> Result<Option<String>, ConfigErrors> {
    match fs::read_to_string(directory.join(dotenv::NAME)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => Ok(None),
        Err(error) => Err(ConfigErrors::one(dotenv::NAME, Place::Whole, format!("cannot be read: {error}"))),
    }
}

/// Loads `path`, else [`DEFAULT_PATH`] if it is there, else [`BUILT_IN`].
pub fn load_file(path: Option<&Path>, overrides: &Overrides) -> Result<Settings, ConfigErrors> {
    let path = match path {
        Some(path) => path,
        None if Path::new(DEFAULT_PATH).exists() => Path::new(DEFAULT_PATH),
        None => return load_with(BUILT_IN_NAME, BUILT_IN, overrides),
    };
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => load_with(&name, &text, overrides),
        Err(error) => Err(ConfigErrors::one(&name, Place::Whole, format!("cannot be read: {error}"))),
    }
}

/// Loads the text of a file, with nothing beside it but variables. `origin` is what messages call
/// it.
pub fn load<K, V>(
    origin: &str,
    text: &str,
    variables: impl IntoIterator<Item = (K, V)>,
) -> Result<Settings, ConfigErrors>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    load_with(origin, text, &Overrides { variables, ..Overrides::default() })
}

/// Loads the text of a file and all that overrides it.
pub fn load_with(origin: &str, text: &str, overrides: &Overrides) -> Result<Settings, ConfigErrors> {
    // Not the parser's own text of the error: it quotes the line, and that may hold a secret.
    let document = Document::parse(text).map_err(|error| {
        let place = error.span().map_or(Place::Whole, |span| Place::at(text, span.start));
        ConfigErrors::one(origin, place, format!("not TOML: {}", error.message().replace('\n', ", ")))
    })?;
    let mut reader = Reader::new(text, document.as_table(), Environment::new(overrides));

    let server = sections::server(&mut reader);
    let calls = calls::calls(&mut reader);
    let listeners = listeners::listeners(&mut reader, &server.door, &calls);
    let auth = credentials::auth(&mut reader, &listeners);
    if let Some(listener) = listeners.iter().find(|listener| listener.proxy_protocol)
        && server.settings.proxies.is_empty()
    {
        let message = format!(
            "listener {} has `proxy_protocol`, but `trusted_proxies` in [server] names nobody who may use it",
            listener.name
        );
        reader.problem(Place::Whole, message);
    }
    if !listeners.iter().any(|listener| listener.serves.contains(&Service::Devices)) {
        reader.drop_plain();
    }
    let logging = sections::logging(&mut reader);
    let binary = sections::binary(&mut reader);
    let rooms = rooms::rooms(&mut reader);
    let broadcast = sections::broadcast(&mut reader);
    let devices = devices::devices(&mut reader, server.settings.heartbeat_interval);
    let events = sections::events(&mut reader, &server.settings.data_dir);
    let audit = sections::audit(&mut reader);
    for section in LATER_SECTIONS {
        if reader.pass_over(section) {
            reader.warn(format!("[{section}] is not available in this version; its keys are not looked at"));
        }
    }

    let (problems, warnings) = reader.finish();
    if !problems.is_empty() {
        return Err(ConfigErrors { origin: origin.to_owned(), problems });
    }
    let mut settings = Settings {
        origin: origin.to_owned(),
        server: server.settings,
        listeners,
        auth,
        logging,
        binary,
        rooms,
        broadcast,
        calls: calls.settings,
        devices,
        events,
        audit,
        warnings,
    };
    let more = check::warnings(&settings);
    settings.warnings.extend(more);
    Ok(settings)
}

#[cfg(test)]
mod tests;

//! Floor 5: a TOML file and the environment become checked settings.
//!
//! Owns the names, units, ranges and defaults of every key, and the words of every complaint
//! about them. The invariant: a [`Settings`] that exists has been checked whole, and a refusal
//! names every problem that was found, not only the first.
//!
//! Must not know how the settings are used: it starts nothing and opens no socket. The files that
//! it reads are the configuration itself and the key set that `jwks_path` names.

mod check;
mod credentials;
mod duration;
mod environment;
mod listeners;
mod nearest;
mod problem;
mod reader;
mod sections;
mod services;
mod settings;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use toml_edit::Document;

use environment::Environment;
pub use problem::{ConfigErrors, Place, Problem};
use reader::Reader;
pub use services::Service;
pub use settings::{
    Address, Auth, Binary, Events, Listener, LogFormat, LogLevel, Logging, OnDuplicate, Origins, Server,
    Settings, Sink,
};

/// Read where no other file is named and this one is there.
pub const DEFAULT_PATH: &str = "config/sigmux.toml";

/// What holds where there is no file at all: the file that ships with sigmux.
pub const BUILT_IN: &str = include_str!("../../config/sigmux.toml");

/// How messages call [`BUILT_IN`].
const BUILT_IN_NAME: &str = "built-in defaults";

/// Sections of dialects and services that this version does not speak yet. They are accepted, so
/// that a file for a later version loads, and their keys are not looked at.
const LATER_SECTIONS: [&str; 5] = ["rooms", "broadcast", "calls", "devices", "cluster"];

/// Loads `path`, else [`DEFAULT_PATH`] if it is there, else [`BUILT_IN`].
///
/// `variables` is the whole environment of the process; names that are not ours are passed over.
pub fn load_file<K, V>(
    path: Option<&Path>,
    variables: impl IntoIterator<Item = (K, V)>,
) -> Result<Settings, ConfigErrors>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let path = match path {
        Some(path) => path,
        None if Path::new(DEFAULT_PATH).exists() => Path::new(DEFAULT_PATH),
        None => return load(BUILT_IN_NAME, BUILT_IN, variables),
    };
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => load(&name, &text, variables),
        Err(error) => Err(ConfigErrors::one(&name, Place::Whole, format!("cannot be read: {error}"))),
    }
}

/// Loads the text of a file. `origin` is what messages call it.
pub fn load<K, V>(
    origin: &str,
    text: &str,
    variables: impl IntoIterator<Item = (K, V)>,
) -> Result<Settings, ConfigErrors>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    // Not the parser's own text of the error: it quotes the line, and that may hold a secret.
    let document = Document::parse(text).map_err(|error| {
        let place = error.span().map_or(Place::Whole, |span| Place::at(text, span.start));
        ConfigErrors::one(origin, place, format!("not TOML: {}", error.message().replace('\n', ", ")))
    })?;
    let environment = Environment::new(variables);
    let mut reader = Reader::new(text, document.as_table(), environment);

    let server = sections::server(&mut reader);
    let auth = credentials::auth(&mut reader);
    let logging = sections::logging(&mut reader);
    let listeners = listeners::listeners(&mut reader, &server.door);
    let binary = sections::binary(&mut reader);
    let events = sections::events(&mut reader, &server.settings.data_dir);
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
        events,
        warnings,
    };
    let more = check::warnings(&settings);
    settings.warnings.extend(more);
    Ok(settings)
}

#[cfg(test)]
mod tests;

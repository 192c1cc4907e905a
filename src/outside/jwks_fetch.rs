//! Fetches the public keys of an issuer elsewhere (a JWKS, RFC 7517), when they are wanted.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use ureq::http::Uri;
use ureq::{Agent, Error, ResponseExt};

use super::agent;
use crate::auth::{JwksError, PublicKeys, RemoteKeys};

/// For the whole of a fetch.
const FETCH_SECONDS_MAX: u64 = 5;
const BODY_BYTES_MAX: u64 = 256 * 1024;
const REDIRECTS_MAX: u32 = 3;

/// Keys are fetched anew after this time though nobody asked, so that one which its issuer has
/// withdrawn is not believed for longer.
const KEYS_SECONDS_MAX: u64 = 3600;

/// Why there are no keys. Holds nothing of what was received, nor of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwksFetchError {
    /// Not an `http` or `https` address.
    BadUrl,
    /// No such host, nobody listens, or the connection broke.
    Unreachable,
    TimedOut,
    /// No TLS, or a certificate that is not trusted.
    Tls,
    /// An answer other than 200.
    Status(u16),
    /// Too often, or from `https` to `http` or back.
    Redirected,
    TooLarge,
    /// Not HTTP.
    Garbled,
    NotAJwks(JwksError),
}

/// One address to fetch from.
#[derive(Clone)]
pub struct JwksSource {
    agent: Agent,
    uri: Uri,
}

impl JwksSource {
    pub fn new(url: &str) -> Result<JwksSource, JwksFetchError> {
        let uri: Uri = url.parse().map_err(|_| JwksFetchError::BadUrl)?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(JwksFetchError::BadUrl),
        };
        if uri.host().is_none_or(str::is_empty) {
            return Err(JwksFetchError::BadUrl);
        }
        let config = agent::config(https, Duration::from_secs(FETCH_SECONDS_MAX))
            .max_redirects(REDIRECTS_MAX)
            .max_idle_connections(0)
            .build();
        Ok(JwksSource { agent: config.new_agent(), uri })
    }

    /// Blocks for as long as [`FETCH_SECONDS_MAX`].
    pub fn fetch(&self) -> Result<PublicKeys, JwksFetchError> {
        let mut response = self.agent.get(&self.uri).call().map_err(cause)?;
        if response.get_uri().scheme() != self.uri.scheme() {
            return Err(JwksFetchError::Redirected);
        }
        if response.status().as_u16() != 200 {
            return Err(JwksFetchError::Status(response.status().as_u16()));
        }
        let text = response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string().map_err(cause)?;
        PublicKeys::from_json(&text).map_err(JwksFetchError::NotAJwks)
    }

    /// The address as a log may show it: without a user's name, password and query.
    fn place(&self) -> String {
        let (scheme, host) = (self.uri.scheme_str().unwrap_or_default(), self.uri.host().unwrap_or_default());
        match self.uri.port() {
            Some(port) => format!("{scheme}://{host}:{port}{}", self.uri.path()),
            None => format!("{scheme}://{host}{}", self.uri.path()),
        }
    }
}

/// Keeps [`RemoteKeys`] fresh: fetches at the start, and then when somebody wishes it, but never
/// twice within `pause`. Each wish is answered, by new keys or by word that there are none now.
pub struct JwksRefresh {
    source: JwksSource,
    keys: Arc<RemoteKeys>,
    /// Holds one wish at most: many of them at once are one.
    wishes: mpsc::Receiver<()>,
    pause: Duration,
    keys_age_max: Duration,
}

impl JwksRefresh {
    /// The keys are empty until [`JwksRefresh::run`] has fetched them. A pause of less than a second
    /// becomes one.
    pub fn new(source: JwksSource, refresh_seconds: u64) -> (JwksRefresh, Arc<RemoteKeys>) {
        let pause = Duration::from_secs(refresh_seconds.max(1));
        let keys_age_max = pause.max(Duration::from_secs(KEYS_SECONDS_MAX));
        let (wish, wishes) = mpsc::channel(1);
        // A wish that finds the place taken is answered together with the one that is there.
        let keys = Arc::new(RemoteKeys::new(Box::new(move || {
            let _ = wish.try_send(());
        })));
        let refresh = JwksRefresh { source, keys: Arc::clone(&keys), wishes, pause, keys_age_max };
        (refresh, keys)
    }

    /// Until `stop` resolves or its sender is gone. A fetch under way is not waited for then.
    pub async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        loop {
            let fetched = tokio::select! {
                _ = &mut stop => return,
                fetched = fetch_on_a_thread(self.source.clone()) => fetched,
            };
            // First this, then the answer: whoever wishes in between has not seen the answer, and
            // its wish must not be lost.
            let _ = self.wishes.try_recv();
            let mut again = fetched.is_err();
            self.take_in(fetched);

            let pause = sleep(self.pause);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    _ = &mut stop => return,
                    () = &mut pause => break,
                    Some(()) = self.wishes.recv() => {
                        again = true;
                        self.keys.not_replaced();
                    }
                }
            }
            if !again {
                tokio::select! {
                    _ = &mut stop => return,
                    Some(()) = self.wishes.recv() => {}
                    () = sleep(self.keys_age_max.saturating_sub(self.pause)) => {}
                }
            }
        }
    }

    fn take_in(&self, fetched: Result<PublicKeys, JwksFetchError>) {
        match fetched {
            Ok(keys) => {
                tracing::debug!(from = self.source.place(), keys = keys.count(), "public keys fetched");
                self.keys.replace(keys);
            }
            Err(cause) => {
                tracing::warn!(from = self.source.place(), %cause, "no public keys could be fetched");
                self.keys.not_replaced();
            }
        }
    }
}

/// On one of its own: the runtime would wait for a thread of its pool before it ends.
async fn fetch_on_a_thread(source: JwksSource) -> Result<PublicKeys, JwksFetchError> {
    let (done, fetched) = oneshot::channel();
    // Whoever waited may be gone by then.
    let fetch = move || drop(done.send(source.fetch()));
    if let Err(error) = thread::Builder::new().name("jwks-fetch".to_owned()).spawn(fetch) {
        tracing::warn!(%error, "no thread for fetching public keys");
    }
    fetched.await.unwrap_or(Err(JwksFetchError::Unreachable))
}

fn cause(error: Error) -> JwksFetchError {
    match error {
        Error::StatusCode(status) => JwksFetchError::Status(status),
        Error::BadUri(_) | Error::Http(_) => JwksFetchError::BadUrl,
        Error::RequireHttpsOnly(_) | Error::RedirectFailed | Error::TooManyRedirects => {
            JwksFetchError::Redirected
        }
        Error::Timeout(_) => JwksFetchError::TimedOut,
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) | Error::TlsRequired => JwksFetchError::Tls,
        Error::BodyExceedsLimit(_) | Error::LargeResponseHeader(..) => JwksFetchError::TooLarge,
        Error::Protocol(_) => JwksFetchError::Garbled,
        Error::Io(error) => match error.kind() {
            ErrorKind::TimedOut => JwksFetchError::TimedOut,
            _ if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => JwksFetchError::Tls,
            ErrorKind::InvalidData => JwksFetchError::Garbled,
            _ => JwksFetchError::Unreachable,
        },
        _ => JwksFetchError::Unreachable,
    }
}

impl fmt::Debug for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwksSource").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl fmt::Display for JwksFetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JwksFetchError::BadUrl => f.write_str("the address is not an http or https URL"),
            JwksFetchError::Unreachable => f.write_str("the address cannot be reached"),
            JwksFetchError::TimedOut => write!(f, "no answer within {FETCH_SECONDS_MAX} seconds"),
            JwksFetchError::Tls => f.write_str("no TLS, or a certificate that is not trusted"),
            JwksFetchError::Status(status) => write!(f, "the answer was {status}"),
            JwksFetchError::Redirected => f.write_str("redirected too often or to another scheme"),
            JwksFetchError::TooLarge => f.write_str("the answer is too large"),
            JwksFetchError::Garbled => f.write_str("the answer is not HTTP"),
            JwksFetchError::NotAJwks(error) => write!(f, "the answer {error}"),
        }
    }
}

impl std::error::Error for JwksFetchError {}

#[cfg(test)]
mod tests;

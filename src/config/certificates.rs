//! The keys `tls_*` of `[server]` and of `[[listener]]`, and the PEM files that they name.
//!
//! The files are read here, so that what is wrong with them is told with the line that names them,
//! before anything listens.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use super::problem::Place;
use super::reader::Section;
use super::sections;
use crate::auth::Validity;

/// A certificate that ends sooner is worth a warning.
const RENEWAL_SECONDS: i64 = 14 * 86_400;
/// No certificate or key that is one is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// TLS of one listener, ready to be used. `Debug` shows no key.
#[derive(Clone)]
pub struct Tls {
    pub cert_path: PathBuf,
    pub key_path: PathBuf,
    /// Clients have to show a certificate of these authorities.
    pub client_ca_path: Option<PathBuf>,
    /// Who does not begin with TLS is served without.
    pub allow_plaintext: bool,
    pub config: Arc<ServerConfig>,
    /// What the files held, to tell whether they have changed.
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
struct Material {
    chain: Vec<CertificateDer<'static>>,
    authorities: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("cert_path", &self.cert_path)
            .field("key_path", &self.key_path)
            .field("client_ca_path", &self.client_ca_path)
            .field("allow_plaintext", &self.allow_plaintext)
            .finish_non_exhaustive()
    }
}

/// By what was asked for and what the files hold. A certificate determines its key.
impl PartialEq for Tls {
    fn eq(&self, other: &Tls) -> bool {
        let terms = |tls: &Tls| {
            (tls.cert_path.clone(), tls.key_path.clone(), tls.client_ca_path.clone(), tls.allow_plaintext)
        };
        terms(self) == terms(other) && self.material == other.material
    }
}

impl Eq for Tls {}

/// What a table says about TLS.
pub(super) enum TlsChoice {
    /// Nothing.
    Silent,
    /// `tls_enabled = false`.
    Off,
    On(Box<Tls>),
    /// Something that was reported.
    Wrong,
}

impl TlsChoice {
    /// What holds for a listener whose own table says `self`, in a file whose `[server]` says `common`.
    pub(super) fn or(self, common: &TlsChoice) -> Option<Tls> {
        match (self, common) {
            (TlsChoice::On(tls), _) => Some(*tls),
            (TlsChoice::Silent, TlsChoice::On(tls)) => Some((**tls).clone()),
            _ => None,
        }
    }
}

/// Reads the keys of one table, and the files. With a certificate there is TLS, unless `tls_enabled`
/// says otherwise.
pub(super) fn tls(section: &mut Section) -> TlsChoice {
    let s = section;
    let enabled = s.flag("tls_enabled");
    let cert_path = sections::path(s, "tls_cert_path");
    let key_path = sections::path(s, "tls_key_path");
    let client_ca_path = sections::path(s, "tls_client_ca_path");
    let allow_plaintext = s.flag("allow_plaintext");
    if enabled == Some(false) {
        return TlsChoice::Off;
    }
    let any = cert_path.is_some() || key_path.is_some() || client_ca_path.is_some();
    if enabled.is_none() && !any {
        if allow_plaintext == Some(true) {
            s.problem(
                "allow_plaintext",
                "`allow_plaintext` has no meaning without `tls_cert_path`".to_owned(),
            );
        }
        return TlsChoice::Silent;
    }
    let (Some(cert_path), Some(key_path)) = (cert_path, key_path) else {
        let at = ["tls_enabled", "tls_cert_path", "tls_key_path", "tls_client_ca_path"];
        let at = at.into_iter().find(|key| s.place(key) != Place::Whole).unwrap_or("tls_enabled");
        s.problem(at, "TLS needs both `tls_cert_path` and `tls_key_path`".to_owned());
        return TlsChoice::Wrong;
    };
    let allow_plaintext = allow_plaintext.unwrap_or(false);
    if allow_plaintext && client_ca_path.is_some() {
        let message = "`allow_plaintext` would let in whoever shows no certificate; it cannot stand beside `tls_client_ca_path`";
        s.problem("allow_plaintext", message.to_owned());
        return TlsChoice::Wrong;
    }
    let chain = certificates(s, "tls_cert_path", &cert_path);
    let key = key(s, &key_path);
    let authorities = match &client_ca_path {
        Some(path) => certificates(s, "tls_client_ca_path", path).map(|found| (path, found)).map(Some),
        None => Some(None),
    };
    let (Some(chain), Some(key), Some(authorities)) = (chain, key, authorities) else {
        return TlsChoice::Wrong;
    };
    if !check_validity(s, &cert_path, &chain) {
        return TlsChoice::Wrong;
    }
    let roots = authorities.as_ref().map(|(_, found)| found.as_slice());
    match server_config(chain.clone(), key, roots) {
        Ok(config) => {
            let authorities = authorities.map(|(_, found)| found).unwrap_or_default();
            let material = Material { chain, authorities };
            let config = Arc::new(config);
            TlsChoice::On(Box::new(Tls {
                cert_path,
                key_path,
                client_ca_path,
                allow_plaintext,
                config,
                material,
            }))
        }
        Err(unfit) => {
            let (key, message) = unfit.told(&cert_path, &key_path, client_ca_path.as_deref());
            s.problem(key, message);
            TlsChoice::Wrong
        }
    }
}

fn certificates(
    section: &mut Section,
    key: &'static str,
    path: &Path,
) -> Option<Vec<CertificateDer<'static>>> {
    let (text, _) = read(section, key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let why = match found {
        Ok(found) if found.is_empty() => "holds no certificate in PEM".to_owned(),
        Ok(found) => return Some(found),
        Err(error) => format!("is no PEM file: {}", word(&error)),
    };
    section.problem(key, format!("{} {why}", path.display()));
    None
}

fn key(section: &mut Section, path: &Path) -> Option<PrivateKeyDer<'static>> {
    const KEY: &str = "tls_key_path";
    let (text, metadata) = read(section, KEY, path)?;
    let why = match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => {
            if metadata.mode() & 0o007 != 0 {
                let mode = metadata.mode() & 0o777;
                section.warn(format!(
                    "INSECURE: everyone on this machine can get at the key {} (mode {mode:04o}); `chmod 600` it",
                    path.display()
                ));
            }
            return Some(key);
        }
        Err(PemError::NoItemsFound) if is_encrypted(&text) => {
            "is encrypted; sigmux has no passphrase for it".to_owned()
        }
        Err(PemError::NoItemsFound) => "holds no private key in PEM".to_owned(),
        Err(error) => format!("is no PEM file: {}", word(&error)),
    };
    section.problem(KEY, format!("{} {why}", path.display()));
    None
}

fn is_encrypted(text: &[u8]) -> bool {
    let label = b"ENCRYPTED PRIVATE KEY";
    text.windows(label.len()).any(|window| window == label)
}

/// What is wrong with a PEM file, without a byte of it.
fn word(error: &PemError) -> &'static str {
    match error {
        PemError::MissingSectionEnd { .. } => "a section does not end",
        PemError::IllegalSectionStart { .. } => "a section does not begin as it should",
        PemError::Base64Decode(_) => "a section is not base64",
        PemError::SectionTooLarge => "a section is too long",
        _ => "it cannot be read",
    }
}

fn read(section: &mut Section, key: &'static str, path: &Path) -> Option<(Vec<u8>, Metadata)> {
    let read = || {
        let metadata = fs::metadata(path)?;
        // A pipe or a device might never end.
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Ok(None);
        }
        Ok(Some((fs::read(path)?, metadata)))
    };
    let problem = match read() {
        Ok(Some(found)) => return Some(found),
        Ok(None) => format!("{} is no file of at most 1 MiB", path.display()),
        Err::<_, std::io::Error>(error) => format!("{} cannot be read: {error}", path.display()),
    };
    section.problem(key, problem);
    None
}

/// False when no client would accept the certificate.
fn check_validity(section: &mut Section, path: &Path, chain: &[CertificateDer<'static>]) -> bool {
    const KEY: &str = "tls_cert_path";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
    let path = path.display();
    let validity = chain.first().map(|leaf| Validity::of(leaf));
    let Some(Ok(Validity { not_before, not_after })) = validity else {
        section.problem(KEY, format!("{path} holds no X.509 certificate"));
        return false;
    };
    if not_after < now {
        let days = (now - not_after) / 86_400;
        section.problem(KEY, format!("the certificate in {path} expired {days} days ago"));
        return false;
    }
    if not_before > now {
        section.warn(format!("the certificate in {path} is not valid yet: no client will accept it"));
    } else if not_after - now < RENEWAL_SECONDS {
        let days = (not_after - now) / 86_400;
        section.warn(format!("the certificate in {path} expires in {days} days"));
    }
    true
}

/// Why files that could be read do not make TLS.
enum Unfit {
    Key(Error),
    Mismatch,
    Certificate(Error),
    Authority(String),
    Tickets,
}

impl Unfit {
    /// Which key of the configuration it is about, and the words.
    fn told(self, cert: &Path, key: &Path, ca: Option<&Path>) -> (&'static str, String) {
        let (cert, key) = (cert.display(), key.display());
        match self {
            Unfit::Mismatch => ("tls_key_path", format!("{key} is not the key of the certificate in {cert}")),
            Unfit::Key(error) => ("tls_key_path", format!("the key in {key} cannot be used: {error}")),
            Unfit::Certificate(error) => {
                ("tls_cert_path", format!("the certificate in {cert} cannot be used: {error}"))
            }
            Unfit::Authority(why) => {
                let ca = ca.unwrap_or(Path::new("")).display();
                ("tls_client_ca_path", format!("the certificates in {ca} cannot be used: {why}"))
            }
            Unfit::Tickets => {
                ("tls_cert_path", "no random numbers can be had for session tickets".to_owned())
            }
        }
    }
}

/// TLS 1.2 and 1.3 for HTTP/1.1. Early data stays off: it could be replayed.
fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Option<&[CertificateDer<'static>]>,
) -> Result<ServerConfig, Unfit> {
    // The library that checks tokens too; a second one in the process would be one too many.
    let provider = Arc::new(default_provider());
    let certified = match CertifiedKey::from_der(chain, key, &provider) {
        Ok(certified) => certified,
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => return Err(Unfit::Mismatch),
        Err(error @ Error::InvalidCertificate(_)) => return Err(Unfit::Certificate(error)),
        Err(error) => return Err(Unfit::Key(error)),
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Unfit::Certificate)?;
    let asks_certificate = authorities.is_some();
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(authority.clone()).map_err(|error| Unfit::Authority(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| Unfit::Authority(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let resolver = rustls::sign::SingleCertAndKey::from(certified);
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if asks_certificate {
        // A resumed session would not look at the certificate again.
        config.send_tls13_tickets = 0;
    } else {
        // One for all shards. A reload makes a new one: who was here before shakes hands in full.
        config.ticketer = Ticketer::new().map_err(|_| Unfit::Tickets)?;
    }
    Ok(config)
}

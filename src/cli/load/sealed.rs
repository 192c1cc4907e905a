//! TLS of the generator's sockets.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// What every connection of a run begins with.
#[derive(Clone, Debug)]
pub struct Sealing {
    pub config: Arc<ClientConfig>,
    pub name: ServerName<'static>,
}

/// TLS of one link.
pub struct Seal(ClientConnection);

impl Sealing {
    /// `host` as in the URL. Without a file of certificates any server is believed.
    ///
    /// # Errors
    /// What is wrong with the file or the host, in words.
    pub fn new(host: &str, trusted: Option<&Path>) -> Result<Sealing, String> {
        let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        let name = name.map_or(host, |(name, _)| name).trim_matches(['[', ']']);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("{host}: no name for TLS"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = match trusted {
            Some(path) => builder.with_root_certificates(roots(path)?).with_no_client_auth(),
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
                .with_no_client_auth(),
        };
        let sealing = Sealing { config: Arc::new(config), name };
        sealing.connection().map(|_| sealing)
    }

    pub fn connection(&self) -> Result<ClientConnection, String> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(|error| error.to_string())
    }
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let added = certificate.ok().and_then(|certificate| roots.add(certificate).ok());
        added.ok_or_else(|| format!("{}: a certificate in it cannot be used", path.display()))?;
    }
    if roots.is_empty() {
        return Err(format!("{}: holds no certificate in PEM", path.display()));
    }
    Ok(roots)
}

impl Seal {
    pub fn new(sealing: &Sealing) -> Result<Seal, String> {
        let mut connection = sealing.connection()?;
        // What is written at once is bounded by the pacing.
        connection.set_buffer_limit(None);
        Ok(Seal(connection))
    }

    /// Appends to `plain` what the received bytes hold.
    pub fn open(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), Error> {
        while !bytes.is_empty() {
            // A slice can always be read; it ends where the server has closed.
            if self.0.read_tls(&mut bytes).unwrap_or(0) == 0 {
                break;
            }
            self.0.process_new_packets()?;
            // Ends with WouldBlock when all has been read.
            let _ = self.0.reader().read_to_end(plain);
        }
        Ok(())
    }

    /// The bytes of the next send, in `spare`; `plain` waits until hands are shaken.
    pub fn seal(&mut self, plain: &mut Vec<u8>, mut spare: Vec<u8>) -> Vec<u8> {
        if !self.0.is_handshaking() && !plain.is_empty() {
            // Neither fails: the connection's memory takes all.
            let _ = self.0.writer().write_all(plain);
            plain.clear();
        }
        while self.0.wants_write() && self.0.write_tls(&mut spare).is_ok() {}
        spare
    }

    pub fn has_output(&self) -> bool {
        self.0.wants_write()
    }
}

/// Believes every server, as `--insecure` says. Signatures are checked all the same, so that a
/// handshake costs what it costs.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

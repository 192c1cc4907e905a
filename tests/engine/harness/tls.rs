//! TLS as a client speaks it: certificates that live as long as their test, and a relay that puts TLS
//! between the other clients of this harness and a server, by rustls and tokio.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::server::Setup;
use super::within;

/// Somebody who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate with its key.
pub struct Pair {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// For a server at `localhost` and 127.0.0.1.
    pub fn server(&self) -> Pair {
        self.server_until(2100)
    }

    /// One that ended, or will, with the beginning of this year.
    pub fn server_until(&self, year: i32) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        self.sign(params)
    }

    /// For a client with this common name and these further names.
    pub fn client(&self, common_name: &str, names: Vec<SanType>) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        self.sign(params)
    }

    /// One that has expired.
    pub fn former_client(&self, common_name: &str) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").der().clone();
        Pair { certificate, key: key.serialize_der() }
    }

    /// A client that trusts this authority.
    pub fn terms(&self) -> Terms {
        Terms {
            trusted: self.certificate.clone(),
            identity: None,
            versions: rustls::ALL_VERSIONS.to_vec(),
            protocols: Vec::new(),
        }
    }
}

impl Pair {
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key)
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

impl Setup {
    /// All listeners speak TLS with this certificate.
    pub fn tls(self, pair: &Pair) -> Setup {
        self.file("cert.pem", &pair.certificate_pem())
            .file("key.pem", &pair.key_pem())
            .server("tls_cert_path", "'cert.pem'")
            .server("tls_key_path", "'key.pem'")
    }

    /// Clients have to show a certificate of this authority.
    pub fn mtls(self, authority: &Authority) -> Setup {
        self.file("ca.pem", &authority.pem()).server("tls_client_ca_path", "'ca.pem'")
    }
}

/// How a client speaks TLS.
#[derive(Clone)]
pub struct Terms {
    trusted: CertificateDer<'static>,
    identity: Option<(CertificateDer<'static>, Vec<u8>)>,
    versions: Vec<&'static SupportedProtocolVersion>,
    protocols: Vec<Vec<u8>>,
}

impl Terms {
    pub fn showing(mut self, pair: &Pair) -> Terms {
        self.identity = Some((pair.certificate.clone(), pair.key.clone()));
        self
    }

    pub fn only(mut self, version: &'static SupportedProtocolVersion) -> Terms {
        self.versions = vec![version];
        self
    }

    pub fn offering(mut self, protocols: &[&str]) -> Terms {
        self.protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Sessions are resumed among connections with the same connector.
    pub fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .expect("versions that exist")
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.clone()));
                builder.with_client_auth_cert(vec![certificate.clone()], key).expect("a pair")
            }
        };
        config.alpn_protocols.clone_from(&self.protocols);
        // What a client may ask for; whether it is granted is the server's.
        config.enable_early_data = true;
        TlsConnector::from(Arc::new(config))
    }

    /// # Errors
    /// The handshake failed.
    pub async fn try_connect(&self, addr: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = within("TCP connects", TcpStream::connect(addr)).await.expect("the port is open");
        handshake(&self.connector(), stream).await
    }

    pub async fn connect(&self, addr: SocketAddr) -> TlsStream<TcpStream> {
        self.try_connect(addr).await.expect("the handshake is completed")
    }
}

pub async fn handshake(connector: &TlsConnector, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true).expect("a TCP socket");
    let name = ServerName::try_from("localhost").expect("a name");
    within("the handshake", connector.connect(name, stream)).await
}

/// A port without TLS that leads to one with TLS. Dropping it ends its connections.
pub struct Relay {
    addr: SocketAddr,
    unclean: Arc<AtomicUsize>,
    stalled: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub async fn to(server: SocketAddr, terms: &Terms) -> Relay {
        Relay::open(server, terms, false).await
    }

    /// With little room in the kernel's buffers towards the server, so that a stall is felt after some
    /// ten kilobytes.
    pub async fn narrow(server: SocketAddr, terms: &Terms) -> Relay {
        Relay::open(server, terms, true).await
    }

    async fn open(server: SocketAddr, terms: &Terms, narrow: bool) -> Relay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let unclean = Arc::new(AtomicUsize::new(0));
        let (stalled, stall) = watch::channel(false);
        let (connector, count) = (terms.connector(), Arc::clone(&unclean));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let (connector, count, stall) = (connector.clone(), Arc::clone(&count), stall.clone());
                connections.spawn(async move {
                    near.set_nodelay(true).expect("a TCP socket");
                    let far = connect(server, narrow).await;
                    // Who cannot shake hands is hung up on.
                    let Ok(far) = handshake(&connector, far).await else { return };
                    let (from_near, to_near) = tokio::io::split(near);
                    let (from_far, to_far) = tokio::io::split(far);
                    tokio::join!(upwards(from_near, to_far), downwards(from_far, to_near, stall, &count));
                });
            }
        });
        Relay { addr, unclean, stalled, _tasks: tasks }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Nothing is read from the server any more, or again.
    pub fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    /// Connections that the server ended without close_notify.
    pub fn unclean_ends(&self) -> usize {
        self.unclean.load(Ordering::SeqCst)
    }
}

async fn connect(server: SocketAddr, narrow: bool) -> TcpStream {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).expect("a socket");
    if narrow {
        socket.set_tcp_mss(536).expect("a segment size");
        socket.set_recv_buffer_size(4096).expect("a buffer size");
    }
    socket.set_nonblocking(true).expect("a mode");
    let socket = tokio::net::TcpSocket::from_std_stream(socket.into());
    within("TCP connects", socket.connect(server)).await.expect("the port is open")
}

async fn upwards(mut from: ReadHalf<TcpStream>, mut to: WriteHalf<TlsStream<TcpStream>>) {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        match from.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                if to.write_all(&chunk[..read]).await.is_err() || to.flush().await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = to.shutdown().await;
}

async fn downwards(
    mut from: ReadHalf<TlsStream<TcpStream>>,
    mut to: WriteHalf<TcpStream>,
    mut stall: watch::Receiver<bool>,
    unclean: &AtomicUsize,
) {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        if stall.wait_for(|stalled| !stalled).await.is_err() {
            return;
        }
        match from.read(&mut chunk).await {
            Ok(0) => break,
            Ok(read) => {
                if to.write_all(&chunk[..read]).await.is_err() {
                    return;
                }
            }
            Err(_) => {
                unclean.fetch_add(1, Ordering::SeqCst);
                break;
            }
        }
    }
    let _ = to.shutdown().await;
}

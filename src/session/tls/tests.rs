use std::io::{Read, Write};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::super::outbox::{Outbox, Spares};
use super::*;
use crate::base::{NodeId, PeerKey};
use crate::dialect::MessageRef;

/// A server's end and a client's, with nothing between them.
struct Line {
    client: ClientConnection,
    server: Tls,
    /// What the server has read.
    plain: Vec<u8>,
}

impl Line {
    fn new(version: &'static SupportedProtocolVersion) -> Line {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        let provider = Arc::new(default_provider());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("a pair");
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let terms = TlsTerms { config: Arc::new(config), allow_plaintext: false, asks_certificate: false };
        Line {
            client: ClientConnection::new(Arc::new(client), name).expect("a client"),
            server: Tls::new(&terms),
            plain: Vec::new(),
        }
    }

    fn open(version: &'static SupportedProtocolVersion) -> Line {
        let mut line = Line::new(version);
        line.shake_hands(usize::MAX);
        line
    }

    /// The client's bytes come in pieces of this size.
    fn shake_hands(&mut self, piece: usize) {
        let mut opened = 0;
        while self.client.is_handshaking() || self.server.is_opening() {
            opened += self.upwards(piece);
            self.downwards();
        }
        opened += self.upwards(piece);
        assert_eq!(opened, 1, "the handshake is completed once");
    }

    /// Carries what the client has to say to the server. Returns how often that completed a handshake.
    fn upwards(&mut self, piece: usize) -> usize {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).expect("a vector takes all");
        }
        let mut openings = 0;
        let piece = piece.min(bytes.len().max(1));
        for piece in bytes.chunks_mut(piece) {
            match self.server.receive(piece, &mut self.plain) {
                Received::Records { opened, .. } => openings += usize::from(opened),
                other => panic!("{other:?}"),
            }
        }
        openings
    }

    fn downwards(&mut self) {
        let mut bytes = Vec::new();
        self.server.seal(&[], &mut bytes).expect("nothing to seal");
        self.client_takes(&bytes);
    }

    fn client_takes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).expect("a slice can be read");
            self.client.process_new_packets().expect("good records");
        }
    }

    fn client_read(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        // Ends with WouldBlock, or with the end of the stream.
        let _ = self.client.reader().read_to_end(&mut read);
        read
    }
}

const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn records_may_come_in_pieces_of_any_size() {
    for version in BOTH {
        for piece in [1, 2, 7, 1000, usize::MAX] {
            let mut line = Line::new(version);
            line.shake_hands(piece);
            let sent: Vec<u8> = (0..40_000_u32).map(|n| (n * 7) as u8).collect();
            line.client.writer().write_all(&sent).expect("room");
            line.upwards(piece);
            assert!(line.plain == sent, "{version:?} in pieces of {piece}");
            assert_eq!(line.server.incoming.capacity(), 0, "an idle connection holds no buffer");
        }
    }
}

#[test]
fn what_is_sealed_arrives_in_order_whatever_its_size() {
    for version in BOTH {
        let mut line = Line::open(version);
        line.downwards();
        for length in [1, 100, RECORD_BYTES, RECORD_BYTES + 1, 1 << 20] {
            let sent: Vec<u8> = (0..length).map(|n| (n * 13) as u8).collect();
            let mut sealed = Vec::new();
            line.server.seal(&sent, &mut sealed).expect("an open connection");
            let mut received = Vec::new();
            for piece in sealed.chunks(10_000) {
                line.client_takes(piece);
                received.extend(line.client_read());
            }
            assert!(received == sent, "{version:?}, {length} bytes");
            assert_eq!(line.server.taken(sealed.len()), (length, None));
            assert_eq!(line.server.marks.capacity(), 0, "an idle connection holds no buffer");
        }
    }
}

fn message(n: u8) -> (PeerKey, MessageRef) {
    let from = PeerKey { node: NodeId::shard(0), slot: u32::from(n), generation: 0 };
    (from, MessageRef::Frame { uuid: [n; 16], message_type: 0x10 })
}

/// Three messages of 10 kB in two records: the first ends in the first record, the others in the second.
#[test]
fn a_message_counts_as_delivered_only_with_the_last_byte_of_its_record() {
    for version in BOTH {
        let mut line = Line::open(version);
        line.downwards();
        let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
        for n in 1..=3 {
            let (from, reference) = message(n);
            outbox.out(&mut spares).bytes.extend([n; 10_000]);
            outbox.expect(from, reference, u64::from(n));
        }
        assert_eq!(outbox.queued_bytes(), 30_000);
        let sealed = outbox.start_sealed_send(&mut line.server, &mut spares).expect("open").expect("bytes");
        assert!(sealed.len() > 30_000);
        assert_eq!(outbox.start_sealed_send(&mut line.server, &mut spares), Ok(None), "one send at a time");
        assert_eq!(outbox.queued_bytes(), 30_000);
        let first_record = line.server.marks[0].sealed_end;
        let length = sealed.len();

        // (received, messages) of what is delivered.
        let mut delivered = Vec::new();
        let mut note = |us, messages| delivered.push((us, messages));
        let (plain, rest) =
            outbox.sent_sealed(&mut line.server, sealed, first_record - 1, &mut spares, &mut note);
        let (sealed, offset) = rest.expect("cut short");
        assert_eq!((plain, offset), (0, first_record - 1));
        let (plain, rest) = outbox.sent_sealed(&mut line.server, sealed, 1, &mut spares, &mut note);
        let (sealed, offset) = rest.expect("cut short");
        assert_eq!((plain, offset), (RECORD_BYTES, first_record));
        assert_eq!(outbox.queued_bytes(), 30_000 - RECORD_BYTES);
        let missing_one = length - offset - 1;
        let (plain, rest) = outbox.sent_sealed(&mut line.server, sealed, missing_one, &mut spares, &mut note);
        assert_eq!((plain, rest.expect("cut short").1), (0, length - 1));
        assert_eq!(delivered, [(1, 1)]);

        // The connection is lost here.
        let mut lost = Vec::new();
        outbox.drop_all(&mut spares, |from, reference| lost.push((from, reference)));
        assert_eq!(lost, [message(2), message(3)]);
    }
}

#[test]
fn a_batch_waits_for_the_end_of_the_handshake() {
    let mut line = Line::new(&rustls::version::TLS13);
    let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
    outbox.out(&mut spares).bytes.extend(b"early");
    assert_eq!(outbox.start_sealed_send(&mut line.server, &mut spares), Ok(None));
    line.upwards(usize::MAX);
    let flight = outbox.start_sealed_send(&mut line.server, &mut spares).expect("open").expect("a flight");
    line.client_takes(&flight);
    let length = flight.len();
    assert_eq!(
        outbox.sent_sealed(&mut line.server, flight, length, &mut spares, |_, _| panic!(
            "nothing is delivered"
        )),
        (0, None)
    );
    assert_eq!(outbox.queued_bytes(), 5);
    line.upwards(usize::MAX);
    let sealed = outbox.start_sealed_send(&mut line.server, &mut spares).expect("open").expect("the batch");
    line.client_takes(&sealed);
    assert_eq!(line.client_read(), b"early");
}

#[test]
fn the_end_is_said_once_and_behind_everything_else() {
    for version in BOTH {
        let mut line = Line::open(version);
        line.downwards();
        let mut sealed = Vec::new();
        line.server.seal(b"last words", &mut sealed).expect("open");
        line.server.close_notify();
        line.server.close_notify();
        line.server.seal(&[], &mut sealed).expect("an alert");
        line.client_takes(&sealed);
        let mut read = Vec::new();
        assert!(line.client.reader().read_to_end(&mut read).is_ok(), "a clean end");
        assert_eq!(read, b"last words");
        assert!(!line.server.has_output());

        line.client.send_close_notify();
        let mut bytes = Vec::new();
        line.client.write_tls(&mut bytes).expect("a vector takes all");
        let received = line.server.receive(&mut bytes, &mut line.plain);
        assert!(matches!(received, Received::Records { opened: false, peer_closed: true }), "{received:?}");
    }
}

#[test]
fn before_the_handshake_is_over_nothing_is_said_of_an_end() {
    let mut line = Line::new(&rustls::version::TLS13);
    line.server.close_notify();
    assert!(!line.server.has_output());
}

#[test]
fn a_flipped_bit_breaks_the_connection_off_with_an_alert_and_what_came_before_counts() {
    for version in BOTH {
        let mut line = Line::open(version);
        line.downwards();
        let mut bytes = Vec::new();
        for words in [&b"good"[..], b"bad"] {
            line.client.writer().write_all(words).expect("room");
            line.client.write_tls(&mut bytes).expect("a vector takes all");
        }
        *bytes.last_mut().expect("bytes") ^= 1;
        let received = line.server.receive(&mut bytes, &mut line.plain);
        let Received::Failed(error) = received else { panic!("{received:?}") };
        assert_eq!(error.failure(), TlsFailure::Protocol, "{error}");
        assert_eq!(line.plain, b"good");
        assert!(line.server.has_output() && line.server.is_broken());
        let mut alert = Vec::new();
        assert_eq!(line.server.seal(b"more", &mut Vec::new()), Err(CannotSeal));
        line.server.seal(&[], &mut alert).expect("the alert alone");
    }
}

/// A message of a handshake that never ends is not waited for.
#[test]
fn what_is_kept_of_an_unfinished_handshake_is_bounded() {
    let mut line = Line::new(&rustls::version::TLS13);
    // A ClientHello that claims 65,535 bytes, in records of 4 KiB.
    let mut hello = vec![1, 0, 0xFF, 0xFF];
    hello.resize(65_539, 3);
    let mut most = 0;
    for part in hello.chunks(4096) {
        let mut record = vec![HANDSHAKE, 3, 1];
        record.extend((part.len() as u16).to_be_bytes());
        record.extend(part);
        let received = line.server.receive(&mut record, &mut line.plain);
        most = most.max(line.server.incoming.len());
        if let Received::Failed(error) = received {
            assert_eq!(error, TlsError::TooLong);
            assert!(most <= INCOMING_BYTES_MAX);
            return;
        }
    }
    panic!("all of it was taken");
}

#[test]
fn noise_is_never_more_than_an_error() {
    let mut random = 0x1234_5678_u32;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    };
    for _ in 0..300 {
        let mut line = Line::new(&rustls::version::TLS13);
        let mut bytes: Vec<u8> = (0..600).map(|_| next()).collect();
        bytes[..5].copy_from_slice(&[HANDSHAKE, 3, 1, 0, 200]);
        for piece in bytes.chunks_mut(100) {
            line.server.receive(piece, &mut line.plain);
        }
        assert!(line.plain.is_empty());
        let mut alert = Vec::new();
        line.server.seal(&[], &mut alert).expect("at most an alert");
        assert!(alert.len() < 64, "{alert:02x?}");
    }
}

/// Every bit of a client's flights, flipped: the handshake fails or is completed, and nothing panics.
#[test]
fn a_handshake_with_any_byte_changed_fails_or_is_completed() {
    let mut plain = Vec::new();
    let mut hello = Vec::new();
    Line::new(&rustls::version::TLS13).client.write_tls(&mut hello).expect("a vector takes all");
    for at in 0..hello.len() {
        let mut line = Line::new(&rustls::version::TLS13);
        let mut changed = Vec::new();
        line.client.write_tls(&mut changed).expect("a vector takes all");
        changed[at] = changed[at].wrapping_add(1 + at as u8 % 250);
        line.server.receive(&mut changed, &mut plain);
        let mut flight = Vec::new();
        line.server.seal(&[], &mut flight).expect("a flight or an alert");
    }
    assert!(plain.is_empty());
}

#[test]
fn the_first_byte_tells_whether_it_is_tls() {
    let mut terms = match Line::new(&rustls::version::TLS13).server.link {
        Link::Unseen(terms) => terms,
        _ => unreachable!("nothing was received"),
    };
    for allow_plaintext in [false, true] {
        terms.allow_plaintext = allow_plaintext;
        for first in [0, b'G', 0x15, 0x17, 0xAA] {
            let received = Tls::new(&terms).receive(&mut [first, 1, 2], &mut Vec::new());
            match received {
                Received::Plain => assert!(allow_plaintext),
                Received::PlainRefused => assert!(!allow_plaintext),
                other => panic!("{other:?}"),
            }
        }
        let received = Tls::new(&terms).receive(&mut [HANDSHAKE], &mut Vec::new());
        assert!(matches!(received, Received::Records { .. }), "{received:?}");
    }
}

/// A connection's own share; what rustls keeps on the heap comes on top.
#[test]
fn a_connection_without_tls_pays_a_pointer_for_it() {
    assert_eq!(size_of::<Option<Box<Tls>>>(), size_of::<usize>());
    assert!(size_of::<Tls>() <= 1600, "{}", size_of::<Tls>());
}

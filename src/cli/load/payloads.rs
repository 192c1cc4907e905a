//! What a message consists of: sizes, the text that fills it up, and templates that are patched.

use std::ops::Range;
use std::str::FromStr;

use super::marks::{MARK_BYTES, Mark};

/// From what the size of a message is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Bytes of the whole message.
    Fixed(usize),
    Sdp,
    Ice,
    Mixed,
}

/// What a message pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Offer,
    Answer,
    Candidate,
}

/// The size of one variant of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Whole(usize),
    /// Bytes of the SDP or candidate alone, as they stand in JSON.
    Text(usize),
}

/// Bytes of session descriptions: a data channel alone, audio, and audio with video as small agents
/// (the 4,045 of aiortc) and browsers write them.
const SDP_BYTES: [usize; 6] = [480, 1_650, 2_900, 4_045, 5_600, 7_200];
/// Bytes of candidates with the keys that browsers put around them: host, reflexive, relayed, IPv6.
const ICE_BYTES: [usize; 5] = [148, 166, 183, 207, 231];
const CANDIDATES_PER_DESCRIPTION: usize = 8;

const SIZE_MAX: usize = 65_000;

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        match text {
            "sdp" => Ok(Sizes::Sdp),
            "ice" => Ok(Sizes::Ice),
            "mixed" => Ok(Sizes::Mixed),
            _ => match text.parse() {
                Ok(bytes @ 1..=SIZE_MAX) => Ok(Sizes::Fixed(bytes)),
                Ok(_) => Err(format!("1 to {SIZE_MAX} bytes")),
                Err(_) => Err("a number of bytes, \"sdp\", \"ice\" or \"mixed\"".to_owned()),
            },
        }
    }
}

impl Sizes {
    /// All variants of message, in no particular order.
    pub fn variants(self) -> Vec<(Signal, Length)> {
        let descriptions = || {
            SDP_BYTES.iter().enumerate().map(|(n, &bytes)| {
                (if n % 2 == 0 { Signal::Offer } else { Signal::Answer }, Length::Text(bytes))
            })
        };
        let candidates = || ICE_BYTES.iter().map(|&bytes| (Signal::Candidate, Length::Text(bytes)));
        match self {
            Sizes::Fixed(bytes) => vec![(Signal::Offer, Length::Whole(bytes))],
            Sizes::Sdp => descriptions().collect(),
            Sizes::Ice => candidates().collect(),
            Sizes::Mixed => descriptions().chain(candidates()).collect(),
        }
    }

    /// Which variants to draw from, each as often as its share is.
    pub fn lots(self) -> Vec<u8> {
        let count = self.variants().len();
        let Sizes::Mixed = self else { return (0..count as u8).collect() };
        let descriptions = 0..SDP_BYTES.len();
        let candidates = SDP_BYTES.len()..count;
        let drawn = candidates.cycle().take(SDP_BYTES.len() * CANDIDATES_PER_DESCRIPTION);
        descriptions.chain(drawn).map(|variant| variant as u8).collect()
    }
}

/// Something in a template that differs from message to message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    SenderNumber,
    TargetNumber,
    Session,
    Call,
    /// 16 bytes that tell sender and number.
    Uuid,
}

/// What goes into the slots.
pub struct Parties<'a> {
    pub sender_number: &'a [u8],
    pub target_number: &'a [u8],
    pub session: &'a [u8],
    pub call: &'a [u8],
}

/// One variant of message, ready but for its slots and its mark.
#[derive(Clone, Debug, Default)]
pub struct Template {
    bytes: Vec<u8>,
    slots: Vec<(usize, Slot)>,
    mark_at: usize,
    fill: Range<usize>,
}

impl Template {
    pub fn text(mut self, text: &str) -> Template {
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Template {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Room for what `slot` will hold.
    pub fn slot(mut self, slot: Slot, bytes: usize) -> Template {
        self.slots.push((self.bytes.len(), slot));
        self.bytes.resize(self.bytes.len() + bytes, b'0');
        self
    }

    /// The mark, and behind it `fill_bytes` of text.
    pub fn body(mut self, fill_bytes: usize) -> Template {
        self.mark_at = self.bytes.len();
        self.bytes.resize(self.mark_at + MARK_BYTES, b'0');
        let start = self.bytes.len();
        fill(&mut self.bytes, fill_bytes);
        self.fill = start..self.bytes.len();
        self
    }

    /// A template that has this one behind it.
    pub fn then(mut self, rest: &Template) -> Template {
        let shift = self.bytes.len();
        self.bytes.extend_from_slice(&rest.bytes);
        self.slots.extend(rest.slots.iter().map(|&(at, slot)| (at + shift, slot)));
        self.mark_at = rest.mark_at + shift;
        self.fill = rest.fill.start + shift..rest.fill.end + shift;
        self
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>, mark: Mark, parties: &Parties<'_>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let written = &mut out[start..];
        for &(at, slot) in &self.slots {
            let value = match slot {
                Slot::SenderNumber => parties.sender_number,
                Slot::TargetNumber => parties.target_number,
                Slot::Session => parties.session,
                Slot::Call => parties.call,
                Slot::Uuid => &uuid(mark),
            };
            written[at..at + value.len()].copy_from_slice(value);
        }
        mark.write(&mut written[self.mark_at..]);
    }

    /// Whether the text behind a mark is what was sent.
    pub fn is_whole(&self, behind_mark: &[u8]) -> bool {
        behind_mark.starts_with(&self.bytes[self.fill.clone()])
    }
}

/// Of version 4 and variant 1 (RFC 9562), as far as its look goes.
fn uuid(mark: Mark) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid[..4].copy_from_slice(&mark.sender.to_be_bytes());
    uuid[6] = 0x40;
    uuid[8..].copy_from_slice(&mark.number.to_be_bytes());
    uuid[8] = 0x80;
    uuid
}

/// Lines such as stand in an SDP, in JSON's spelling of their ends: a server that looks for escapes
/// finds as many as in real ones.
const LINES: [&str; 8] = [
    "o=- 4611731400430051336 2 IN IP4 127.0.0.1\\r\\n",
    "a=group:BUNDLE 0 1\\r\\n",
    "m=video 9 UDP-TLS-RTP-SAVPF 96 97 102 122 127\\r\\n",
    "a=ice-ufrag:EsAw\\r\\n",
    "a=fingerprint:sha-256 D2:B9:31:8F:DF:24:D8:0E:ED:D2:EF:25:9E:AF:6F:B8\\r\\n",
    "a=rtcp-fb:96 transport-cc\\r\\n",
    "a=fmtp:97 apt=96\\r\\n",
    "a=candidate:1467250027 1 udp 2122260223 192.0.2.2 46243 typ host generation 0\\r\\n",
];

fn fill(out: &mut Vec<u8>, bytes: usize) {
    let end = out.len() + bytes;
    for line in LINES.iter().cycle() {
        // The end of a line must not be cut in two.
        if out.len() + line.len() > end {
            break;
        }
        out.extend_from_slice(line.as_bytes());
    }
    out.resize(end, b'x');
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark { sender: 3, number: 9, sent_ns: 1, variant: 0 };

    #[test]
    fn a_template_is_patched_where_its_slots_are() {
        let inner = Template::default()
            .text("{\"to\":\"")
            .slot(Slot::TargetNumber, 2)
            .text("\",\"sdp\":\"")
            .body(100);
        let template = Template::default().slot(Slot::Uuid, 16).then(&inner.text("\"}"));
        let parties = Parties { sender_number: b"04", target_number: b"05", session: b"", call: b"" };
        let mut out = b"before".to_vec();
        template.write(&mut out, MARK, &parties);
        assert_eq!(out.len(), 6 + template.len());
        let text = &out[6 + 16..];
        let value: serde_json::Value = serde_json::from_slice(text).expect("JSON");
        assert_eq!(value["to"], "05");
        assert_eq!(out[6..10], 3_u32.to_be_bytes());
        let behind =
            text.windows(MARK_BYTES).position(|at| at.starts_with(b"%smx")).expect("a mark") + MARK_BYTES;
        assert!(template.is_whole(&text[behind..]));
        assert!(!template.is_whole(&text[behind + 1..]));
    }

    #[test]
    fn any_length_of_text_is_whole_escapes() {
        for bytes in 0..700 {
            let mut out = vec![b'"'];
            fill(&mut out, bytes);
            assert_eq!(out.len(), 1 + bytes);
            out.push(b'"');
            assert!(serde_json::from_slice::<String>(&out).is_ok(), "{bytes}");
        }
    }

    #[test]
    fn mixed_has_eight_candidates_for_each_description() {
        let variants = Sizes::Mixed.variants();
        let (candidates, descriptions): (Vec<_>, Vec<_>) = Sizes::Mixed
            .lots()
            .into_iter()
            .partition(|&lot| variants[usize::from(lot)].0 == Signal::Candidate);
        assert_eq!(candidates.len(), 8 * descriptions.len());
    }
}

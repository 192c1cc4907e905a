//! What a client's bytes ask for, by the picture of the frame alone.

const HEADER_BYTES: usize = 21;

/// One thing that wants an answer: a frame, or bytes that are none.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Nil where it cannot be read.
    pub uuid: [u8; 16],
    /// `None` for what is no frame.
    pub message_type: Option<u8>,
    /// Where the next frame would begin is unknown.
    pub loses_framing: bool,
}

impl Asked {
    pub fn is_signal(&self) -> bool {
        matches!(self.message_type, Some(0x10..=0x12))
    }
}

/// A frame that is cut off is only awaited here.
pub fn asked_on_stream(bytes: &[u8]) -> Vec<Asked> {
    let (mut asked, rest) = whole_frames(bytes);
    if rest.first().is_some_and(|first| *first != 0xAA) {
        asked.push(Asked { uuid: [0; 16], message_type: None, loses_framing: true });
    }
    asked
}

/// A frame that is cut off by the end of its message is answered once. So is an empty message.
pub fn asked_in_messages(messages: &[&[u8]]) -> Vec<Asked> {
    let mut all = Vec::new();
    for message in messages {
        let (mut asked, rest) = whole_frames(message);
        if !rest.is_empty() || message.is_empty() {
            let uuid = rest.get(2..18).filter(|_| rest[0] == 0xAA);
            let uuid = uuid.map_or([0; 16], |uuid| uuid.try_into().expect("16 bytes"));
            asked.push(Asked { uuid, message_type: None, loses_framing: false });
        }
        all.append(&mut asked);
    }
    all
}

/// The frames at the front, and the rest, which does not begin with a whole one.
fn whole_frames(bytes: &[u8]) -> (Vec<Asked>, &[u8]) {
    let (mut asked, mut rest) = (Vec::new(), bytes);
    while let Some(header) = rest.get(..HEADER_BYTES)
        && header[0] == 0xAA
        && let length = usize::from(header[19]) << 8 | usize::from(header[20])
        && let Some(behind) = rest.get(HEADER_BYTES + length..)
    {
        let uuid = header[2..18].try_into().expect("16 bytes");
        asked.push(Asked { uuid, message_type: Some(header[1]), loses_framing: false });
        rest = behind;
    }
    (asked, rest)
}

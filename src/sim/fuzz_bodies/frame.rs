//! The 0xAA frame, against its picture.

use crate::wire::frame::{
    Broken, Frame, HEADER_BYTES, PAYLOAD_BYTES_MAX, START_BYTE, TooLong, Unfinished, complete, streaming,
    write_frame, write_header,
};

/// What the picture in the protocol's document says of the bytes at the front.
#[derive(PartialEq, Eq)]
enum Expected<'a> {
    Frame(Frame<'a>),
    BadStartByte,
    /// So many bytes are needed, as far as one can know.
    Cut {
        frame_bytes: usize,
    },
}

/// Any bytes, as a message and as a stream, and as the parts of a frame to be written.
pub fn frame(data: &[u8]) {
    parses_as_its_picture_says(data);
    every_cut_agrees_with_the_whole(data);
    frames_back_to_back_are_found_where_they_lie(data);
    what_is_written_is_read_again(data);
}

fn parses_as_its_picture_says(data: &[u8]) {
    match expected(data) {
        Expected::Frame(frame) => {
            assert!(complete(data) == Ok(frame));
            assert!(streaming(data) == Ok(frame));
        }
        Expected::BadStartByte => {
            assert!(complete(data) == Err(Broken::BadStartByte));
            assert!(streaming(data) == Err(Unfinished::BadStartByte));
        }
        Expected::Cut { frame_bytes } => {
            let uuid = data.get(2..18).and_then(|uuid| uuid.try_into().ok());
            let payload_type = data.get(18).copied();
            assert!(complete(data) == Err(Broken::Cut { uuid, payload_type }));
            assert!(streaming(data) == Err(Unfinished::Incomplete { frame_bytes_min: frame_bytes }));
        }
    }
}

fn every_cut_agrees_with_the_whole(data: &[u8]) {
    let whole = streaming(data);
    for end in 0..data.len() {
        match (streaming(&data[..end]), whole) {
            // More is needed than is there, and never more than will be used.
            (Err(Unfinished::Incomplete { frame_bytes_min }), Ok(frame)) => {
                assert!(end < frame_bytes_min && frame_bytes_min <= frame.frame_bytes());
            }
            (
                Err(Unfinished::Incomplete { frame_bytes_min }),
                Err(Unfinished::Incomplete { frame_bytes_min: most }),
            ) => {
                assert!(end < frame_bytes_min && frame_bytes_min <= most);
            }
            (Err(Unfinished::Incomplete { .. }), Err(Unfinished::BadStartByte)) => assert_eq!(end, 0),
            (cut, whole) => assert!(cut == whole, "cut at {end}"),
        }
    }
}

fn frames_back_to_back_are_found_where_they_lie(data: &[u8]) {
    let mut at = 0;
    while let Ok(frame) = complete(&data[at..]) {
        let end = at + frame.frame_bytes();
        let mut again = Vec::new();
        write_header(&mut again, frame.message_type, frame.uuid, frame.payload_type, frame.payload.len())
            .expect("it came out of a frame");
        again.extend_from_slice(frame.payload);
        assert!(again == data[at..end], "the frame at {at} changes when it is written again");
        at = end;
    }
}

fn what_is_written_is_read_again(data: &[u8]) {
    let Some((head, payload)) = data.split_first_chunk::<18>() else { return };
    let [message_type, payload_type, uuid @ ..] = head;
    let before = b"what stands before".to_vec();
    let mut out = before.clone();
    let written = write_frame(&mut out, *message_type, uuid, *payload_type, |out| {
        out.extend_from_slice(payload);
    });
    let mut header = before.clone();
    let header_written = write_header(&mut header, *message_type, uuid, *payload_type, payload.len());
    assert_eq!(written, header_written);
    if payload.len() > PAYLOAD_BYTES_MAX {
        assert_eq!(written, Err(TooLong));
        assert!(out == before && header == before);
        return;
    }
    header.extend_from_slice(payload);
    assert!(out == header && out.starts_with(&before));
    let frame = Frame { message_type: *message_type, uuid, payload_type: *payload_type, payload };
    assert!(complete(&out[before.len()..]) == Ok(frame));
}

fn expected(data: &[u8]) -> Expected<'_> {
    match data {
        [first, ..] if *first != START_BYTE => Expected::BadStartByte,
        [_, message_type, rest @ ..] if rest.len() >= HEADER_BYTES - 2 => {
            let frame_bytes = HEADER_BYTES + usize::from(rest[17]) * 256 + usize::from(rest[18]);
            let uuid = rest[..16].try_into().expect("16 bytes");
            match data.get(HEADER_BYTES..frame_bytes) {
                Some(payload) => Expected::Frame(Frame {
                    message_type: *message_type,
                    uuid,
                    payload_type: rest[16],
                    payload,
                }),
                None => Expected::Cut { frame_bytes },
            }
        }
        _ => Expected::Cut { frame_bytes: HEADER_BYTES },
    }
}

//! Links that belong to every node: the wrapper's ports say which.

use gridloom_dlms::wrapper::{HEADER_LEN, WPort};

/// Which node, counted from 0, a wrapped frame is for, if it is here. The node is told that it is
/// server 1.
pub(super) fn take_destination(frame: &mut [u8], nodes: usize) -> Option<usize> {
    if frame.len() < HEADER_LEN {
        return None;
    }
    let server = u16::from_be_bytes([frame[4], frame[5]]);
    let slot = usize::from(server).checked_sub(1)?;
    if slot >= nodes {
        return None;
    }
    frame[4..6].copy_from_slice(&WPort::MANAGEMENT.0.to_be_bytes());
    Some(slot)
}

/// Names the node as the server that answers.
///
/// # Panics
///
/// If the frame is not wrapped, or the node beyond what a port can number.
pub(super) fn put_source(frame: &mut [u8], slot: usize) {
    assert!(frame.len() > HEADER_LEN, "a meter wraps what it sends");
    let server = u16::try_from(slot + 1).expect("a frame came to this server");
    frame[2..4].copy_from_slice(&server.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_dlms::wrapper::Frame;

    #[test]
    fn ports_are_nodes_counted_from_one() {
        let cases = [
            (0, None),
            (1, Some(0)),
            (7, Some(6)),
            (10, Some(9)),
            (11, None),
        ];
        for (server, expected) in cases {
            let mut frame = Frame {
                source: WPort(16),
                destination: WPort(server),
                apdu: b"apdu",
            }
            .to_bytes();
            assert_eq!(take_destination(&mut frame, 10), expected, "{server}");
            let Some(slot) = expected else { continue };
            assert_eq!(Frame::decode(&frame).unwrap().destination, WPort(1));
            put_source(&mut frame, slot);
            let answer = Frame::decode(&frame).unwrap();
            assert_eq!((answer.source, answer.apdu), (WPort(server), &b"apdu"[..]));
        }
        assert_eq!(take_destination(&mut [0, 1, 0], 10), None);
    }
}

//! A capture file (pcapng, draft-ietf-opsawg-pcapng) of what an attacker sent and heard.
//!
//! The frames were cut from byte streams, so each is written as the TCP segments that could have
//! carried it: raw IPv4 between two loopback addresses, the target on the port of DLMS.

use std::collections::BTreeMap;
use std::io::Write;

use gridloom_nodes::LinkId;
use gridloom_nodes::attacker::Traffic;

/// IP without a link layer (LINKTYPE_RAW).
const LINK_TYPE: u16 = 101;

/// The registered port of the wrapper (IEC 62056-47).
const DLMS_PORT: u16 = 4059;

/// Bytes of one segment.
const SEGMENT_MAX: usize = 32 * 1024;

const ATTACKER: [u8; 4] = [127, 0, 0, 2];
const TARGET: [u8; 4] = [127, 0, 0, 1];

const IP_HEADER: usize = 20;
const TCP_HEADER: usize = 20;

/// A file being written.
pub(super) struct CaptureFile<W: Write> {
    out: W,
    /// The next sequence number by connection, of what was heard and of what was sent.
    sequences: BTreeMap<LinkId, [u32; 2]>,
}

impl<W: Write> CaptureFile<W> {
    /// Writes the head of a file.
    pub(super) fn begin(mut out: W) -> std::io::Result<Self> {
        // Byte-order magic, version 1.0, length of the section not said.
        let section = [
            &0x1A2B_3C4D_u32.to_le_bytes()[..],
            &[1, 0, 0, 0],
            &[0xFF; 8],
        ]
        .concat();
        block(&mut out, 0x0A0D_0D0A, &section)?;
        // No limit on a packet's length; times are microseconds by default.
        let interface = [&LINK_TYPE.to_le_bytes()[..], &[0; 2], &[0; 4]].concat();
        block(&mut out, 1, &interface)?;
        Ok(Self {
            out,
            sequences: BTreeMap::new(),
        })
    }

    /// Writes a frame.
    pub(super) fn put(&mut self, traffic: &Traffic) -> std::io::Result<()> {
        let micros = u64::try_from(traffic.time.as_millis()).unwrap_or(0) * 1_000;
        for piece in traffic.frame.chunks(SEGMENT_MAX) {
            let packet = self.packet(traffic.link, traffic.is_sent, piece);
            let length = u32::try_from(packet.len()).expect("a segment is short");
            let (high, low) = (micros >> 32, micros & u64::from(u32::MAX));
            let word = |half: u64| u32::try_from(half).expect("half of 64 bits");
            let mut body = Vec::with_capacity(packet.len() + 24);
            for field in [0, word(high), word(low), length, length] {
                body.extend(field.to_le_bytes());
            }
            body.extend(packet);
            block(&mut self.out, 6, &body)?;
        }
        Ok(())
    }

    /// Writes what is still in a buffer.
    pub(super) fn end(mut self) -> std::io::Result<()> {
        self.out.flush()
    }

    fn packet(&mut self, link: LinkId, is_sent: bool, payload: &[u8]) -> Vec<u8> {
        let port = 1_024 + u16::try_from(link.0 % 60_000).expect("below 60 000");
        let sequences = self.sequences.entry(link).or_insert([1, 1]);
        let (own, other) = (usize::from(is_sent), usize::from(!is_sent));
        let (sequence, acknowledged) = (sequences[own], sequences[other]);
        let length = u32::try_from(payload.len()).expect("a segment is short");
        sequences[own] = sequence.wrapping_add(length);
        let ((from, from_port), (to, to_port)) = if is_sent {
            ((ATTACKER, port), (TARGET, DLMS_PORT))
        } else {
            ((TARGET, DLMS_PORT), (ATTACKER, port))
        };
        let total = u16::try_from(IP_HEADER + TCP_HEADER + payload.len()).expect("a short packet");
        let mut ip = vec![0x45, 0];
        ip.extend(total.to_be_bytes());
        ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        ip.extend(from);
        ip.extend(to);
        let sum = checksum(&[&ip]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut tcp = Vec::with_capacity(TCP_HEADER + payload.len());
        tcp.extend(from_port.to_be_bytes());
        tcp.extend(to_port.to_be_bytes());
        tcp.extend(sequence.to_be_bytes());
        tcp.extend(acknowledged.to_be_bytes());
        // Five words of header, PSH and ACK, the largest window.
        tcp.extend([0x50, 0x18, 0xFF, 0xFF, 0, 0, 0, 0]);
        tcp.extend_from_slice(payload);
        let length = u16::try_from(tcp.len()).expect("a short segment");
        let pseudo = [&from[..], &to, &[0, 6], &length.to_be_bytes()].concat();
        let sum = checksum(&[&pseudo, &tcp]);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        [ip, tcp].concat()
    }
}

fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> std::io::Result<()> {
    let padded = body.len().next_multiple_of(4);
    let total = u32::try_from(12 + padded).expect("a short block");
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&total.to_le_bytes())?;
    out.write_all(body)?;
    out.write_all(&[0; 3][..padded - body.len()])?;
    out.write_all(&total.to_le_bytes())
}

/// The ones' complement of the ones' complement sum (RFC 1071). Each part but the last has an even
/// length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridloom_core::UtcTime;

    #[test]
    fn a_file_has_its_blocks_and_every_sum_is_right() {
        let mut bytes = Vec::new();
        let mut file = CaptureFile::begin(&mut bytes).unwrap();
        let frame = |is_sent, length| Traffic {
            time: UtcTime::from_millis(1_777_593_600_123),
            link: LinkId(7),
            is_sent,
            frame: vec![0xAB; length],
        };
        for (is_sent, length) in [(true, 13), (false, 5), (true, SEGMENT_MAX + 2)] {
            file.put(&frame(is_sent, length)).unwrap();
        }
        file.end().unwrap();
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (mut at, mut kinds, mut sequences) = (0, Vec::new(), Vec::new());
        while at < bytes.len() {
            let length = usize::try_from(word(at + 4)).unwrap();
            assert_eq!(
                word(at + length - 4),
                word(at + 4),
                "both lengths of a block"
            );
            kinds.push(word(at));
            if word(at) == 6 {
                let captured = usize::try_from(word(at + 20)).unwrap();
                let packet = &bytes[at + 28..at + 28 + captured];
                let (ip, tcp) = packet.split_at(IP_HEADER);
                assert_eq!(checksum(&[ip]), 0);
                let tcp_length = u16::try_from(tcp.len()).unwrap().to_be_bytes();
                let pseudo = [&ip[12..20], &[0, 6], &tcp_length].concat();
                assert_eq!(checksum(&[&pseudo, tcp]), 0);
                sequences.push(u32::from_be_bytes(tcp[4..8].try_into().unwrap()));
            }
            at += length;
        }
        assert_eq!(kinds, [0x0A0D_0D0A, 1, 6, 6, 6, 6]);
        let segment = u32::try_from(SEGMENT_MAX).unwrap();
        assert_eq!(sequences, [1, 1, 14, 14 + segment]);
    }
}

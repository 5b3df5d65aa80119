//! The 16-bit check of HDLC (ISO/IEC 13239, the same as X.25): both the header check and the
//! frame check.

const POLYNOMIAL: u16 = 0x8408;

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut index: u16 = 0;
    while index < 256 {
        let mut rest = index;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 1 {
                (rest >> 1) ^ POLYNOMIAL
            } else {
                rest >> 1
            };
            bit += 1;
        }
        table[index as usize] = rest;
        index += 1;
    }
    table
}

/// The check over `bytes`, in the order of the line: the low byte first.
pub(super) fn checksum(bytes: &[u8]) -> [u8; 2] {
    let rest = bytes.iter().fold(0xFFFF_u16, |rest, byte| {
        (rest >> 8) ^ TABLE[usize::from(rest.to_le_bytes()[0] ^ byte)]
    });
    (!rest).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(checksum(b"123456789"), 0x906E_u16.to_le_bytes());
        assert_eq!(checksum(&[]), [0, 0]);
    }
}

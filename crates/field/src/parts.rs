//! Optional parts of a cell: each under its number, with its length, so that a newer program may
//! have more of them.

use gridloom_core::bytes::Reader;

use crate::objects::retained::RetainedError;

/// Appends the part `number`, which `encode` writes.
///
/// # Panics
///
/// If it has 4 GiB: parts are small.
pub(crate) fn put(out: &mut Vec<u8>, number: u8, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    out.push(number);
    let length = u32::try_from(bytes.len()).expect("parts are small");
    out.extend(length.to_be_bytes());
    out.extend(bytes);
}

/// Gives every part of `object` to `take`, in the order of `bytes`; it answers `false` for
/// a number that it does not know.
///
/// # Errors
///
/// Bytes that [`put`] did not write, a number that nobody knows, or the part's own error.
pub(crate) fn read(
    object: &'static str,
    bytes: &[u8],
    mut take: impl FnMut(u8, &[u8]) -> Result<bool, RetainedError>,
) -> Result<(), RetainedError> {
    let truncated = |source| RetainedError::Truncated { object, source };
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let number = reader.u8().map_err(truncated)?;
        let length = reader.u32().map_err(truncated)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let part = reader.take(length).map_err(truncated)?;
        if !take(number, part)? {
            return Err(RetainedError::Version {
                object,
                version: number,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_strange_ones_are_named() {
        let mut bytes = Vec::new();
        put(&mut bytes, 1, |out| out.extend([7, 8]));
        put(&mut bytes, 3, |_| {});
        let mut seen = Vec::new();
        read("test", &bytes, |number, part| {
            seen.push((number, part.to_vec()));
            Ok(true)
        })
        .unwrap();
        assert_eq!(seen, [(1, vec![7, 8]), (3, vec![])]);
        let known = |number, _: &[u8]| Ok(number == 1);
        assert!(matches!(
            read("test", &bytes, known),
            Err(RetainedError::Version { version: 3, .. })
        ));
        for cut in [1, 4, 6, 9] {
            assert!(
                matches!(
                    read("test", &bytes[..cut], |_, _| Ok(true)),
                    Err(RetainedError::Truncated { .. })
                ),
                "{cut}"
            );
        }
    }
}

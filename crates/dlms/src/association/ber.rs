//! The little BER that ACSE needs: tag, definite length, content.

use gridloom_core::SystemTitle;

use super::error::AcseError;
use super::secret::{SECRET_LEN_MAX, Secret};
use crate::axdr::{Decoder, Encoder};

/// Opens the one field that is all of `bytes`, whose tag must be `wanted`.
pub(super) fn only(wanted: u8, bytes: &[u8]) -> Result<Decoder<'_>, AcseError> {
    let mut decoder = Decoder::new(bytes);
    let found = decoder.byte()?;
    if found != wanted {
        return Err(AcseError::WrongTag { wanted, found });
    }
    let content = decoder.octets()?;
    decoder.finish()?;
    Ok(Decoder::new(content))
}

/// The next field, `None` at the end.
pub(super) fn next<'a>(decoder: &mut Decoder<'a>) -> Result<Option<(u8, &'a [u8])>, AcseError> {
    if decoder.rest().is_empty() {
        return Ok(None);
    }
    Ok(Some((decoder.byte()?, decoder.octets()?)))
}

/// The content of the field `tag` that is all of `content`.
pub(super) fn inner<'a>(
    field: &'static str,
    tag: u8,
    content: &'a [u8],
) -> Result<&'a [u8], AcseError> {
    let mut decoder = Decoder::new(content);
    let malformed = AcseError::Malformed { field };
    if decoder.byte().map_err(|_| malformed)? != tag {
        return Err(malformed);
    }
    let inner = decoder.octets().map_err(|_| malformed)?;
    decoder.finish().map_err(|_| malformed)?;
    Ok(inner)
}

/// A one-byte integer wrapped in its universal tag.
pub(super) fn integer(field: &'static str, content: &[u8]) -> Result<u8, AcseError> {
    match inner(field, INTEGER, content)? {
        [value] => Ok(*value),
        _ => Err(AcseError::Malformed { field }),
    }
}

/// A system title in an AP-title field.
pub(super) fn title(content: &[u8]) -> Result<SystemTitle, AcseError> {
    let bytes = inner("AP-title", OCTET_STRING, content)?;
    bytes
        .try_into()
        .map(SystemTitle)
        .map_err(|_| AcseError::TitleLength { bytes: bytes.len() })
}

/// A character string in an authentication-value field.
pub(super) fn secret(content: &[u8]) -> Result<Secret, AcseError> {
    let bytes = inner("authentication-value", CHARSTRING, content)?;
    if bytes.len() > SECRET_LEN_MAX {
        return Err(AcseError::SecretTooLong { bytes: bytes.len() });
    }
    Ok(Secret::new(bytes))
}

/// Appends the field `tag` with `content`.
pub(super) fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    Encoder::new(out).octets(content);
}

/// Appends the field `outer` that holds only the field `tag` with `content`.
pub(super) fn put_nested(out: &mut Vec<u8>, outer: u8, tag: u8, content: &[u8]) {
    let mut field = Vec::with_capacity(content.len() + 6);
    put(&mut field, tag, content);
    put(out, outer, &field);
}

/// INTEGER.
pub(super) const INTEGER: u8 = 0x02;
/// OCTET STRING.
pub(super) const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
/// The `charstring` alternative of an authentication value.
pub(super) const CHARSTRING: u8 = 0x80;
/// Association-information, explicitly tagged.
pub(super) const USER_INFORMATION: u8 = 0xBE;
/// ACSE requirements: one bit string of one used bit, authentication.
pub(super) const REQUIREMENTS: [u8; 2] = [0x07, 0x80];

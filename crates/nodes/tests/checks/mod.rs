//! What holds for any bytes that reach the envelope's decoder. The fuzz target and the corpus
//! replay run the same check.

use gridloom_nodes::envelope::Message;

/// Whatever decodes is written as the same bytes: every message has one form.
pub(crate) fn envelope(bytes: &[u8]) -> bool {
    match Message::decode(bytes) {
        Ok(message) => {
            assert_eq!(message.encode(), bytes, "{message:?}");
            true
        }
        Err(_) => false,
    }
}

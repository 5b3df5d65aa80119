//! The key that a head-end shares with its edges, under which they learn changed keys of meters.

use std::path::Path;

use anyhow::Context;
use gridloom_headend::EdgeKey;
use gridloom_host::entropy;
use zeroize::Zeroizing;

use crate::founding::write_durably;
use crate::hex;

/// In the data directory. An edge on another machine gets a copy of it.
const FILE: &str = "edge.key";

/// Reads the key, or makes one.
pub(crate) fn read(data: &Path) -> anyhow::Result<EdgeKey> {
    let path = data.join(FILE);
    if !path.exists() {
        let key = Zeroizing::new(entropy::bytes::<32>()?);
        let text = Zeroizing::new(format!("{}\n", hex::text(&*key)));
        write_durably(&path, text.as_bytes())?;
    }
    let text = std::fs::read_to_string(&path)
        .map(Zeroizing::new)
        .with_context(|| format!("edge key: failed to read {}", path.display()))?;
    let bytes = gridloom_headend::Secret::parse_hex(text.trim());
    bytes
        .and_then(|bytes| EdgeKey::new(bytes.expose()))
        .with_context(|| {
            format!(
                "edge key: {} holds no key of 64 hexadecimal digits; copy the file of the head-end",
                path.display()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_a_damaged_one_is_named_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        read(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        let made = std::fs::read(&path).unwrap();
        read(folder.path()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), made);
        std::fs::write(&path, "5EC2E7").unwrap();
        let words = format!("{:#}", read(folder.path()).unwrap_err());
        assert!(
            words.contains("edge.key") && !words.contains("5EC2E7"),
            "{words}"
        );
    }
}

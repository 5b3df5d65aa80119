//! Firmware images of campaigns, kept in the data directory under their SHA-256, and the makers
//! whose signatures they must have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use gridloom_dlms::security::{Curve, PublicKey};
use gridloom_headend::campaign::{IMAGE_BYTES_MAX, Image};
use sha2::{Digest, Sha256};

use crate::founding::write_durably;
use crate::hex;

const FOLDER: &str = "firmware";

/// Public keys of makers, one in a line, as hexadecimal digits of the point of P-256.
const MAKERS: &str = "firmware-makers";

/// Makers of one head-end; more are refused.
const MAKERS_MAX: usize = 64;

/// The first bytes of the images of our own meters, which end with their signature.
const OWN: &[u8; 4] = b"GLFW";

const SIGNATURE_LEN: usize = 64;

/// Where images lie.
#[derive(Debug, Clone)]
pub(crate) struct Firmware {
    data: PathBuf,
}

impl Firmware {
    pub(crate) fn new(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
        }
    }

    fn path(&self, digest: &[u8; 32]) -> PathBuf {
        self.data
            .join(FOLDER)
            .join(format!("{}.img", hex::text(digest)))
    }

    /// The images that campaigns under way need; others are removed.
    pub(crate) fn load(
        &self,
        wanted: &BTreeSet<[u8; 32]>,
    ) -> anyhow::Result<BTreeMap<[u8; 32], Arc<[u8]>>> {
        let mut images = BTreeMap::new();
        for digest in wanted {
            let path = self.path(digest);
            let bytes = std::fs::read(&path).with_context(|| {
                format!(
                    "firmware: {} is missing, and a campaign under way needs it; restore it from \
                     a backup",
                    path.display()
                )
            })?;
            let found: [u8; 32] = Sha256::digest(&bytes).into();
            ensure!(
                found == *digest,
                "firmware: {} is damaged; restore it from a backup",
                path.display()
            );
            images.insert(*digest, bytes.into());
        }
        let kept: BTreeSet<PathBuf> = wanted.iter().map(|digest| self.path(digest)).collect();
        let folder = self.data.join(FOLDER);
        if folder.is_dir() {
            for entry in std::fs::read_dir(&folder)? {
                let path = entry?.path();
                if !kept.contains(&path) {
                    std::fs::remove_file(&path).with_context(|| {
                        format!("firmware: failed to remove {}", path.display())
                    })?;
                }
            }
        }
        Ok(images)
    }

    /// Checks an image's signature and makes it durable. The words say what is wrong with it.
    pub(crate) fn take(
        &self,
        bytes: &[u8],
        version: &str,
        identifier: Option<&str>,
        signature: Option<&str>,
    ) -> anyhow::Result<Image> {
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        ensure!(
            (1..=IMAGE_BYTES_MAX).contains(&size),
            "image: {} bytes; give 1 to {IMAGE_BYTES_MAX}",
            bytes.len()
        );
        let (signed, signature) = match signature {
            Some(digits) => (bytes, hex::bytes("signature", digits)?),
            None if bytes.starts_with(OWN) && bytes.len() > SIGNATURE_LEN => {
                let (signed, signature) = bytes.split_at(bytes.len() - SIGNATURE_LEN);
                (signed, signature.to_vec())
            }
            None => anyhow::bail!(
                "signature: the image has none of its own; give the maker's over its bytes"
            ),
        };
        let makers = self.makers()?;
        ensure!(
            makers
                .iter()
                .any(|maker| maker.verify(signed, &signature).is_ok()),
            "signature: no maker in {} signed this image; take the file as the maker gave it, or \
             add the maker's public key",
            self.data.join(MAKERS).display()
        );
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let path = self.path(&digest);
        std::fs::create_dir_all(self.data.join(FOLDER))
            .with_context(|| format!("firmware: failed to make {}", self.data.display()))?;
        write_durably(&path, bytes)?;
        Ok(Image {
            identifier: identifier.unwrap_or(version).as_bytes().to_vec(),
            size,
            digest,
            signature,
            version: version.to_owned(),
        })
    }

    fn makers(&self) -> anyhow::Result<Vec<PublicKey>> {
        let path = self.data.join(MAKERS);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => anyhow::bail!(
                "signature: no maker of firmware is known; write the makers' public keys (P-256, \
                 128 hexadecimal digits in a line) into {}",
                path.display()
            ),
            Err(error) => {
                return Err(error).with_context(|| format!("failed to read {}", path.display()));
            }
        };
        let lines = (1..).zip(text.lines().map(str::trim));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let mut makers = Vec::new();
        for (number, line) in lines {
            ensure!(
                makers.len() < MAKERS_MAX,
                "{}: more than {MAKERS_MAX} makers; remove old ones",
                path.display()
            );
            let key = hex::bytes("public key", line)
                .ok()
                .and_then(|point| PublicKey::from_bytes(Curve::P256, &point).ok());
            makers.push(key.with_context(|| {
                format!(
                    "{}, line {number}: no point of P-256; give 128 hexadecimal digits",
                    path.display()
                )
            })?);
        }
        Ok(makers)
    }
}

#[cfg(test)]
mod tests {
    use gridloom_dlms::security::PrivateKey;
    use gridloom_field::objects::firmware::sign_image;

    use super::*;

    fn maker(byte: u8) -> PrivateKey {
        PrivateKey::generate(Curve::P256, &mut |bytes| bytes.fill(byte))
    }

    #[test]
    fn only_what_a_maker_signed_is_taken_and_it_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let firmware = Firmware::new(folder.path());
        let own = sign_image(*b"GLMETER1", 9, b"a program", &maker(7));
        let foreign = b"another kind of image".to_vec();
        let detached = hex::text(&maker(7).sign(&foreign));
        let words = |taken: anyhow::Result<Image>| format!("{:#}", taken.unwrap_err());
        let said = words(firmware.take(&own, "9", None, None));
        assert!(said.contains("no maker of firmware is known"), "{said}");
        let listed = hex::text(&maker(7).public_key().to_bytes());
        std::fs::write(folder.path().join(MAKERS), format!("# ours\n{listed}\n")).unwrap();
        let mut damaged = own.clone();
        damaged[20] ^= 1;
        let stranger = sign_image(*b"GLMETER1", 9, b"a program", &maker(8));
        for (bytes, signature, wanted) in [
            (&damaged, None, "no maker in"),
            (&stranger, None, "no maker in"),
            (&foreign, None, "none of its own"),
            (&foreign, Some("00"), "no maker in"),
            (&foreign, Some("xx"), "hexadecimal"),
            (&Vec::new(), None, "0 bytes"),
        ] {
            let said = words(firmware.take(bytes, "9", None, signature));
            assert!(said.contains(wanted), "{said}");
        }
        let image = firmware.take(&own, "9.0.1", None, None).unwrap();
        assert_eq!(image.identifier, b"9.0.1");
        let other = firmware
            .take(&foreign, "1", Some("it"), Some(&detached))
            .unwrap();
        assert_eq!(other.identifier, b"it");
        // What no campaign needs goes at the next start, what one needs is checked.
        let loaded = firmware.load(&BTreeSet::from([image.digest])).unwrap();
        assert_eq!(*loaded[&image.digest], own);
        let said = format!(
            "{:#}",
            firmware.load(&BTreeSet::from([other.digest])).unwrap_err()
        );
        assert!(said.contains("is missing"), "{said}");
        std::fs::write(firmware.path(&image.digest), b"changed").unwrap();
        let said = format!(
            "{:#}",
            firmware.load(&BTreeSet::from([image.digest])).unwrap_err()
        );
        assert!(said.contains("is damaged"), "{said}");
    }
}

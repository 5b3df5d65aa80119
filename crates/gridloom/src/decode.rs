//! `gridloom decode`: takes a DLMS frame apart, layer by layer.

use std::io::Write;

use anyhow::Context;
use gridloom_dlms::apdu::Apdu;
use gridloom_dlms::push::IntervalPush;
use gridloom_dlms::security::{CipherContext, CipheredApdu, GENERAL_GLO, Keys, Policy};

use crate::hex;

/// Takes a DLMS frame apart
#[derive(clap::Args)]
pub(crate) struct Decode {
    /// The frame as hexadecimal digits: a wrapper frame, a general-glo APDU or a plain APDU
    frame: String,
    /// Encryption key (EK), 32 hexadecimal digits
    #[arg(long, requires = "ak")]
    ek: Option<String>,
    /// Authentication key (AK), 32 hexadecimal digits
    #[arg(long, requires = "ek")]
    ak: Option<String>,
}

impl Decode {
    pub(crate) fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let bytes = hex::bytes("frame", &self.frame)?;
        let apdu = match bytes.as_slice() {
            [0, 1, rest @ ..] if rest.len() >= 6 => {
                let mut deframer = gridloom_dlms::wrapper::Deframer::new(u16::MAX);
                deframer.push(&bytes).context("link")?;
                let frame = deframer.pull().context("link")?.context(
                    "link: the wrapper announces more bytes than there are: give the whole frame",
                )?;
                writeln!(
                    out,
                    "wrapper      wPort {} to {}",
                    frame.source.0, frame.destination.0
                )?;
                frame.apdu.to_vec()
            }
            _ => bytes,
        };
        if apdu.first() != Some(&GENERAL_GLO) {
            return plain(&apdu, out);
        }
        let ciphered = CipheredApdu::decode(&apdu).context("security")?;
        writeln!(
            out,
            "general-glo  title {}, {}, counter {}",
            ciphered.title, ciphered.control, ciphered.counter
        )?;
        let (Some(ek), Some(ak)) = (&self.ek, &self.ak) else {
            writeln!(out, "             give --ek and --ak to open it")?;
            return Ok(());
        };
        let context = CipherContext::new(&Keys::new(hex::key("--ek", ek)?, hex::key("--ak", ak)?));
        let mut buffer = Vec::new();
        let opened = context
            .open(&ciphered, Policy::AuthenticatedEncryption, &mut buffer)
            .context("security")?;
        plain(opened, out)
    }
}

fn plain(apdu: &[u8], out: &mut impl Write) -> anyhow::Result<()> {
    let decoded = Apdu::decode(apdu).context("apdu")?;
    if let Apdu::DataNotification(notification) = &decoded
        && let Ok(push) = IntervalPush::decode(notification.body)
    {
        writeln!(out, "push         {push:#?}")?;
        return Ok(());
    }
    if let Apdu::DataNotification(notification) = &decoded {
        let data = notification.data().context("object")?;
        writeln!(out, "notification {:?}\n{data:#?}", notification.invoke_id)?;
        return Ok(());
    }
    writeln!(out, "apdu         {decoded:#?}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(frame: &str, keys: bool) -> anyhow::Result<String> {
        let mut out = Vec::new();
        let key = |text: &str| keys.then(|| text.to_owned());
        Decode {
            frame: frame.to_owned(),
            ek: key("000102030405060708090A0B0C0D0E0F"),
            ak: key("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"),
        }
        .run(&mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn layers_are_named() {
        let shown = run("C0 01 00 0008 0000010000FF 02 00", false).unwrap();
        assert!(shown.contains("GetRequestNormal"), "{shown}");
        let cases = [
            ("0", "hexadecimal"),
            ("DB", "security"),
            ("FF00", "apdu"),
            ("0001000100010010C0", "link"),
        ];
        for (frame, layer) in cases {
            let error = format!("{:#}", run(frame, true).unwrap_err());
            assert!(error.contains(layer), "{frame} gave {error:?}");
        }
    }
}

//! What a rotation remembers beside the keys themselves.

use gridloom_core::bytes::Reader;

const VERSION: u8 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DurableState {
    pub(super) stage: DurableStage,
    pub(super) transfers: u32,
    pub(super) actor: String,
    pub(super) refused: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DurableStage {
    /// Nothing was sent: the old keys are the meter's.
    Prepared,
    /// A transfer may have been sent.
    Sending,
}

impl DurableState {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.push(match self.stage {
            DurableStage::Prepared => 0,
            DurableStage::Sending => 1,
        });
        out.extend(self.transfers.to_be_bytes());
        out.push(u8::from(self.refused.is_some()));
        for text in [self.actor.as_str(), self.refused.as_deref().unwrap_or("")] {
            let text = &text[..text.floor_char_boundary(1_000)];
            let length = u16::try_from(text.len()).expect("a cut text is short");
            out.extend(length.to_be_bytes());
            out.extend(text.as_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let short = |_| "it ends early";
        let mut reader = Reader::new(bytes);
        if reader.u8().map_err(short)? != VERSION {
            return Err("a newer gridloom wrote it");
        }
        let stage = match reader.u8().map_err(short)? {
            0 => DurableStage::Prepared,
            1 => DurableStage::Sending,
            _ => return Err("its stage is unknown"),
        };
        let transfers = reader.u32().map_err(short)?;
        let is_refused = reader.u8().map_err(short)? != 0;
        let mut text = || {
            let length = reader.u16().map_err(short)?;
            let bytes = reader.take(usize::from(length)).map_err(short)?;
            let text = core::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")?;
            Ok::<_, &'static str>(text.to_owned())
        };
        let (actor, reason) = (text()?, text()?);
        if !reader.is_empty() {
            return Err("something follows it");
        }
        Ok(Self {
            stage,
            transfers,
            actor,
            refused: is_refused.then_some(reason),
        })
    }
}

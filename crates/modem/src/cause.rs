//! Why a modem said no: the numbers of `+CMS ERROR` and `+CME ERROR` in words.

use core::fmt;

/// A `+CMS ERROR` number: TS 27.005 §3.2.5, with the network's causes of TS 24.011 §E-2
/// (0–127) and TS 23.040 §9.2.3.22 (128–255).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CmsCause(pub u16);

impl CmsCause {
    /// The standard's words.
    pub const fn words(self) -> &'static str {
        match self.0 {
            1 => "unassigned number",
            8 => "operator determined barring",
            10 => "call barred",
            21 => "short message transfer rejected",
            27 => "destination out of service",
            28 => "unidentified subscriber",
            29 => "facility rejected",
            30 => "unknown subscriber",
            38 => "network out of order",
            41 => "temporary failure",
            42 => "congestion",
            47 => "resources unavailable",
            50 => "requested facility not subscribed",
            69 => "requested facility not implemented",
            81 => "invalid transfer reference",
            95..=99 | 111 => "protocol error in the network",
            127 => "interworking",
            128 => "telematic interworking not supported",
            129 => "short message type 0 not supported",
            130 => "short message cannot be replaced",
            143 => "unspecified protocol identifier error",
            144 => "data coding scheme not supported",
            145 => "message class not supported",
            159 => "unspecified data coding scheme error",
            160 => "command cannot be actioned",
            161 => "command unsupported",
            175 => "unspecified command error",
            176 => "transfer unit not supported",
            192 => "service centre busy",
            193 => "no service centre subscription",
            194 => "service centre system failure",
            195 => "invalid destination address",
            196 => "destination barred",
            197 => "duplicate short message rejected",
            198 => "validity period format not supported",
            199 => "validity period not supported",
            208 => "SIM storage full",
            209 => "no storage capability in SIM",
            210 => "error in mobile station",
            211 => "memory capacity exceeded",
            212 => "SIM application toolkit busy",
            213 => "SIM data download error",
            255 => "unspecified error",
            300 => "modem failure",
            301 => "message service of the modem reserved",
            302 => "operation not allowed",
            303 => "operation not supported",
            304 => "invalid PDU mode parameter",
            305 => "invalid text mode parameter",
            310 => "SIM not inserted",
            311 => "SIM PIN required",
            312 => "phone-to-SIM PIN required",
            313 => "SIM failure",
            314 => "SIM busy",
            315 => "SIM wrong",
            316 => "SIM PUK required",
            317 => "SIM PIN2 required",
            318 => "SIM PUK2 required",
            320 => "memory failure",
            321 => "invalid memory index",
            322 => "memory full",
            330 => "service centre address unknown; set it with AT+CSCA",
            331 => "no network service",
            332 => "network timeout",
            340 => "no acknowledgement expected",
            500 => "unknown error",
            512.. => "manufacturer's own error; see the modem's manual",
            _ => "reserved error number",
        }
    }

    /// Whether the same text may pass later without anybody's help.
    pub const fn is_transient(self) -> bool {
        matches!(
            self.0,
            27 | 38
                | 41
                | 42
                | 47
                | 192
                | 194
                | 210
                | 212
                | 255
                | 300
                | 301
                | 311
                | 314
                | 320
                | 331
                | 332
                | 500
        )
    }
}

/// A `+CME ERROR` number, TS 27.007 §9.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CmeCause(pub u16);

impl CmeCause {
    /// `incorrect password`: the PIN is wrong.
    pub const INCORRECT_PASSWORD: Self = Self(16);
    /// `SIM PUK required`.
    pub const PUK_REQUIRED: Self = Self(12);

    /// The standard's words.
    pub const fn words(self) -> &'static str {
        match self.0 {
            0 => "phone failure",
            1 => "no connection to phone",
            2 => "phone adaptor link reserved",
            3 => "operation not allowed",
            4 => "operation not supported",
            5 => "phone-to-SIM PIN required",
            6 => "phone-to-first-SIM PIN required",
            7 => "phone-to-first-SIM PUK required",
            10 => "SIM not inserted",
            11 => "SIM PIN required",
            12 => "SIM PUK required",
            13 => "SIM failure",
            14 => "SIM busy",
            15 => "SIM wrong",
            16 => "incorrect password",
            17 => "SIM PIN2 required",
            18 => "SIM PUK2 required",
            20 => "memory full",
            21 => "invalid index",
            22 => "not found",
            23 => "memory failure",
            24 => "text string too long",
            25 => "invalid characters in text string",
            26 => "dial string too long",
            27 => "invalid characters in dial string",
            30 => "no network service",
            31 => "network timeout",
            32 => "network not allowed, emergency calls only",
            40..=47 => "SIM lock: personalisation code required",
            100 => "unknown error",
            103 => "illegal mobile station",
            106 => "illegal modem",
            107 => "service not allowed",
            111 => "network not allowed here",
            112 => "location area not allowed",
            113 => "roaming not allowed in this location area",
            _ => "error number outside the general set; see the modem's manual",
        }
    }

    /// Whether the same request may pass later without anybody's help.
    pub const fn is_transient(self) -> bool {
        matches!(self.0, 0 | 2 | 11 | 13 | 14 | 23 | 30 | 31 | 100)
    }
}

/// How a modem refused a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// `ERROR`, without a reason.
    Error,
    /// `+CMS ERROR: n`.
    Cms(CmsCause),
    /// `+CME ERROR: n`.
    Cme(CmeCause),
}

impl Cause {
    /// Whether the same request may pass later without anybody's help. A bare `ERROR` may mean
    /// anything, so it counts as transient; attempts are bounded anyway.
    pub const fn is_transient(self) -> bool {
        match self {
            Self::Error => true,
            Self::Cms(cause) => cause.is_transient(),
            Self::Cme(cause) => cause.is_transient(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error => f.write_str("ERROR without a reason"),
            Self::Cms(cause) => write!(f, "CMS {}: {}", cause.0, cause.words()),
            Self::Cme(cause) => write!(f, "CME {}: {}", cause.0, cause.words()),
        }
    }
}

/// Why the driver does not go on by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HaltReason {
    /// The SIM wants a PIN and none is configured.
    #[error("SIM PIN is required but not configured; configure it")]
    PinMissing,
    /// The configured PIN was refused. Two more wrong ones lock the SIM.
    #[error("SIM refused the configured PIN ({0}); correct it, it is not tried again")]
    PinRefused(Cause),
    /// Whether the PIN was right is unknown, so it is not tried again.
    #[error("SIM still asks after the PIN was entered once; check the configured PIN")]
    PinUncertain,
    /// The SIM wants its PUK.
    #[error("SIM is locked and wants its PUK; unlock it in a telephone")]
    PukRequired,
    /// The SIM or the modem wants another code.
    #[error("modem asks for {0}; unlock it with its maker's tool")]
    OtherLock(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_words_and_a_next_move() {
        let cases = [
            (Cause::Cms(CmsCause(41)), "CMS 41: temporary failure", true),
            (Cause::Cms(CmsCause(1)), "CMS 1: unassigned number", false),
            (
                Cause::Cms(CmsCause(331)),
                "CMS 331: no network service",
                true,
            ),
            (
                Cause::Cms(CmsCause(207)),
                "CMS 207: reserved error number",
                false,
            ),
            (Cause::Cme(CmeCause(14)), "CME 14: SIM busy", true),
            (Cause::Cme(CmeCause(10)), "CME 10: SIM not inserted", false),
            (
                Cause::Cme(CmeCause(16)),
                "CME 16: incorrect password",
                false,
            ),
            (Cause::Error, "ERROR without a reason", true),
        ];
        for (cause, words, transient) in cases {
            assert_eq!(cause.to_string(), words);
            assert_eq!(cause.is_transient(), transient, "{words}");
        }
    }
}

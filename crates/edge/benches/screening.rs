//! The whole screening with a million meters registered: bytes per meter, packets per second of
//! one core, and what a hostile packet costs while honest ones pass.
//!
//! Plain loops over one long-lived edge: a set-up of a million meters for every sample would
//! measure the set-up.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant as Stopwatch};

use divan::AllocProfiler;
use gridloom_core::{
    Instant, IntervalValues, MeterId, MillivarHours, MillivoltAmpereHours, Millivolts,
    MilliwattHours, Now, Period, ReadingStatus, SystemTitle, UtcTime, Watts,
};
use gridloom_dlms::push::{BillingStatus, IntervalPush};
use gridloom_dlms::security::{CipherContext, Keys, Protection};
use gridloom_edge::{
    Edge, EdgeConfig, EdgeMemory, HashKey, Path, Reason, Registration, Registry, ScreeningConfig,
    Site, Verdict,
};

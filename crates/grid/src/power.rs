//! The power triangle.

/// Rounds to the nearest integer, halves away from zero. Saturates, and NaN becomes 0.
pub(crate) fn round_to_i64(value: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounded before, saturation is documented"
    )]
    let rounded = libm::round(value) as i64;
    rounded
}

/// Rounds a time within a day to milliseconds, at most a day's last one.
pub(crate) fn round_to_ms(value: f64) -> u32 {
    u32::try_from(round_to_i64(value))
        .unwrap_or(0)
        .min(crate::load::MS_PER_DAY - 1)
}

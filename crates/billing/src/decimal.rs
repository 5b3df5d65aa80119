//! Integers of a fixed scale as decimals for people.

/// `value` / 10^`scale` with `shown` decimals, never rounded.
///
/// # Panics
///
/// If `shown` would cut off a digit that is not zero, or is above `scale`.
pub(crate) fn decimal(value: i128, scale: u32, shown: u32) -> String {
    assert!(shown <= scale, "only digits there are can be shown");
    let cut = 10_u128.pow(scale - shown);
    assert!(
        value.unsigned_abs().is_multiple_of(cut),
        "a decimal for people is exact"
    );
    let digits = value.unsigned_abs() / cut;
    let unit = 10_u128.pow(shown);
    let sign = if value < 0 { "-" } else { "" };
    if shown == 0 {
        return format!("{sign}{digits}");
    }
    let width = shown as usize;
    format!("{sign}{}.{:0width$}", digits / unit, digits % unit)
}

/// The fewest decimals, at least `shown_min`, that show every value exactly.
pub(crate) fn decimals_needed(
    values: impl IntoIterator<Item = i128>,
    scale: u32,
    shown_min: u32,
) -> u32 {
    values.into_iter().fold(shown_min, |mut shown, value| {
        while shown < scale
            && !value
                .unsigned_abs()
                .is_multiple_of(10_u128.pow(scale - shown))
        {
            shown += 1;
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_and_as_short_as_asked() {
        let cases = [
            (12_340_000, 6, 3, "12.340"),
            (-12_340_000, 6, 2, "-12.34"),
            (-5, 6, 6, "-0.000005"),
            (0, 6, 3, "0.000"),
            (7_000_000, 6, 0, "7"),
        ];
        for (value, scale, shown, expected) in cases {
            assert_eq!(decimal(value, scale, shown), expected, "{value}");
        }
        assert_eq!(decimals_needed([12_340_000, 0], 6, 1), 2);
        assert_eq!(decimals_needed([12_340_000, 5], 6, 1), 6);
        assert_eq!(decimals_needed([], 6, 3), 3);
    }
}

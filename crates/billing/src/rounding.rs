//! The one rounding rule of this crate for integers.

/// `numerator / denominator`, rounded to the nearest integer, halves away from zero.
///
/// # Panics
///
/// If `denominator` is not positive.
pub(crate) fn half_away(numerator: i128, denominator: i128) -> i128 {
    assert!(
        denominator > 0,
        "a quotient is rounded over a positive number"
    );
    let half = denominator / 2;
    let away = if numerator < 0 {
        // For an odd denominator there is no exact half; truncation towards zero does the rest.
        numerator - half
    } else {
        numerator + half
    };
    away / denominator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_away_from_zero() {
        let cases = [
            (5, 10, 1),
            (4, 10, 0),
            (-5, 10, -1),
            (-4, 10, 0),
            (15, 10, 2),
            (1, 3, 0),
            (2, 3, 1),
            (-2, 3, -1),
            (7, 1, 7),
            (0, 7, 0),
        ];
        for (numerator, denominator, expected) in cases {
            assert_eq!(
                half_away(numerator, denominator),
                expected,
                "{numerator} / {denominator}"
            );
        }
    }
}

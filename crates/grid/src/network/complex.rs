//! Phasors: complex numbers in volts, amperes, ohms, siemens or volt-amperes.

/// A phasor; its unit stands where it is kept.
pub type Phasor = num_complex::Complex64;

/// Nothing.
pub const ZERO: Phasor = Phasor::new(0.0, 0.0);

/// One, at angle zero.
pub const ONE: Phasor = Phasor::new(1.0, 0.0);

/// √3, between a voltage to neutral and one between phases.
pub const SQRT_3: f64 = 1.732_050_807_568_877_2;

/// A phasor from its magnitude and its angle in degrees.
pub fn polar(magnitude: f64, degrees: f64) -> Phasor {
    let angle = degrees.to_radians();
    Phasor::new(magnitude * libm::cos(angle), magnitude * libm::sin(angle))
}

/// The magnitude. Squares and a root round the same way on every machine.
pub fn magnitude(value: Phasor) -> f64 {
    (value.re * value.re + value.im * value.im).sqrt()
}

/// The angle in degrees, above −180 and up to 180.
pub fn degrees(value: Phasor) -> f64 {
    libm::atan2(value.im, value.re).to_degrees()
}

/// The principal natural logarithm.
pub(crate) fn logarithm(value: Phasor) -> Phasor {
    Phasor::new(libm::log(magnitude(value)), libm::atan2(value.im, value.re))
}

/// The principal square root.
pub(crate) fn square_root(value: Phasor) -> Phasor {
    let length = magnitude(value).sqrt();
    let angle = libm::atan2(value.im, value.re) / 2.0;
    Phasor::new(length * libm::cos(angle), length * libm::sin(angle))
}

/// `1 / value`.
pub(crate) fn inverse(value: Phasor) -> Phasor {
    let square = value.re * value.re + value.im * value.im;
    Phasor::new(value.re / square, -value.im / square)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polar_and_back() {
        for (size, angle) in [(1.0, 0.0), (240.0, 30.0), (0.5, -150.0), (7.2, 180.0)] {
            let value = polar(size, angle);
            assert!((magnitude(value) - size).abs() < 1e-12, "{size} {angle}");
            assert!((degrees(value) - angle).abs() < 1e-9, "{size} {angle}");
            let root = square_root(value);
            assert!(magnitude(root * root - value) < 1e-12, "{size} {angle}");
            assert!(
                magnitude(inverse(value) * value - ONE) < 1e-12,
                "{size} {angle}"
            );
        }
    }
}

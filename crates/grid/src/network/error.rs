//! Why a network cannot be solved.

/// What is wrong with a network or its solution.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// No source is in service.
    #[error("network: no source is in service; nothing can be energised")]
    NoSource,
    /// More than the bound.
    #[error("network: {count} {what}, at most {max} are taken; split the network")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// Two elements of one name.
    #[error("network: {name} is there already; give one of the two another name")]
    Duplicate {
        /// Class and name.
        name: String,
    },
    /// The number of conductors does not fit.
    #[error("network: {name} has {got} conductors, its kind has {expected}; name each of them")]
    Conductors {
        /// Class and name.
        name: String,
        /// Conductors given.
        got: usize,
        /// Conductors of its kind.
        expected: usize,
    },
    /// An impedance without an inverse.
    #[error("network: the impedance of {name} has no inverse; give it more than zero ohms")]
    Impedance {
        /// Class and name.
        name: String,
    },
    /// The admittance matrix is singular.
    #[error("network: the voltage at {node} is not determined; ground the part around it")]
    Singular {
        /// A node in that part.
        node: String,
    },
    /// The matrix could not be factorised for a reason of its size.
    #[error("network: the admittance matrix cannot be factorised: {reason}")]
    Factorisation {
        /// What the factorisation says.
        reason: String,
    },
    /// No solution was found.
    #[error(
        "network: no solution after {iterations} iterations: {node} still moves by {change_pu:.2e} \
         per unit (tolerance {tolerance_pu:.0e}) at {volts_pu:.3} per unit; less load near it, or \
         more iterations"
    )]
    Diverged {
        /// The node that moves most.
        node: String,
        /// Iterations made.
        iterations: usize,
        /// How much it moved last, per unit of its nominal voltage.
        change_pu: f64,
        /// Its voltage, per unit.
        volts_pu: f64,
        /// What was asked for.
        tolerance_pu: f64,
    },
    /// Regulators or capacitor controls do not settle.
    #[error("network: {control} still acts after {steps} control steps; widen its band")]
    Restless {
        /// One that still acts.
        control: String,
        /// Control steps made.
        steps: usize,
    },
    /// A control that refers to something it cannot act on.
    #[error("network: {control} refers to {what}")]
    Control {
        /// The control.
        control: String,
        /// What is wrong.
        what: String,
    },
    /// A number that is not finite, or not positive where it must be.
    #[error("network: {name}: {what} is {got}; expected {expected}")]
    Value {
        /// Class and name.
        name: String,
        /// Which value.
        what: &'static str,
        /// Its value.
        got: f64,
        /// What it must be.
        expected: &'static str,
    },
}

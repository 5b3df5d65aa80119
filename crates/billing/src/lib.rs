//! Prices and bills from validated intervals, exact to the last digit.

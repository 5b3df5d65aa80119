//! Meter data management: the only maker of a validated interval.

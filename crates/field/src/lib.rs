//! Emulated field devices: the meter and its display.

//! The edge's decisions: identity, integrity, freshness, and what goes back to the meter.

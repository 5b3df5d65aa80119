//! Durable readings: journal, open days, sealed meter-day blocks, and the tables beside them.

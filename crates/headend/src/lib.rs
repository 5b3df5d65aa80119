//! The head-end's decisions: collects readings, settles prices, closes months.

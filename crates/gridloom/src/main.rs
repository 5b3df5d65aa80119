//! The gridloom program.

fn main() {}

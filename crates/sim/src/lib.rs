//! Virtual time: links, faults, checkers around the same nodes.

//! The loader on a simulated machine with a partition and variables.

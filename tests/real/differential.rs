//! The differential test: random histories come out the same on the simulator
//! and on real ZFS, with the same class of error at every step.
//!
//! Two levels. `engine`: calls of the trait [`beadm_rs::zfs::Zfs`], valid and
//! invalid. `commands`: the program itself, `--sim` beside the real pools,
//! compared to the letter of what it prints.
//!
//! The seeds are fixed. A history that comes out differently is made shorter by
//! leaving operations out, and printed as the lines of a regression test.

mod commands;
mod difference;
mod engine;
mod generate;
mod operation;
mod picture;
#[path = "../cli/redact.rs"]
mod redact;
mod regressions;
mod settings;
mod shrink;
mod side;
mod tally;

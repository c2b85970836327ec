//! Every command as typed, on a simulated machine, through the real program:
//! command lines with all they print and their exit codes, in `*.txt` beside
//! this. `SNAPSHOTS=overwrite cargo test --test cli` writes those anew, so that
//! `git diff` shows what a change does to what people and scripts read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod archive;
mod archive_boot;
mod around;
mod asked;
mod carried;
mod changes;
mod checks;
mod dialects;
mod diff;
mod failback;
mod grub;
mod init;
mod labelled;
mod layout;
mod listing;
mod machine;
mod names;
mod redact;
mod refusals;
mod run;
mod share;
mod sync;
mod terminal;
mod transcript;
mod trials;
mod unfinished;
mod upgrades;

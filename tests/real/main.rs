//! Tests on real ZFS, run as root inside the lab's workbench guest
//! (`tests/lab/run`); ignored elsewhere. Each makes pools of its own out of
//! files, so that they disturb neither the machine nor each other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where something fails"
)]

mod disks;
mod edits;
mod fakes;
mod machine;
mod oracle;
mod picture;
mod ran;
mod recorded;
mod replay;

mod archive;
mod archive_boot;
mod blocked;
mod carried;
mod check;
mod concurrency;
mod contents;
mod crash;
mod crash_calls;
mod crash_examine;
mod crash_full;
mod crash_replay;
mod crash_table;
mod create;
mod destroy;
mod dialects;
mod diff;
mod differential;
mod encryption;
mod engine;
mod init;
mod interruption;
mod labels;
mod lifecycle;
mod mounts;
mod names;
mod partition;
mod pools;
mod records;
mod rename;
mod rollback;
mod run;
mod share;
mod share_ends;
mod streams;
mod sync;
mod tally;
mod tools;
mod trial;
mod upgrade;

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
mod fakes;
mod machine;
mod picture;
mod ran;

mod blocked;
mod concurrency;
mod contents;
mod create;
mod destroy;
mod encryption;
mod engine;
mod interruption;
mod labels;
mod lifecycle;
mod mounts;
mod names;
mod pools;
mod records;
mod rename;
mod rollback;
mod run;
mod tools;

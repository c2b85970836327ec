//! Planners on surveys made by hand, where the simulator does not go: what
//! another loader, another namespace, a key that is not there, or hundreds of
//! datasets make of a plan.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod archive;
mod archive_boot;
mod carried;
mod failback;
mod init;
mod limits;
mod made;
mod promotions;
mod pruned;
mod recovered;
mod refused;
mod space;
mod sync;
mod trials;
mod upgraded;

//! Boot environments for ZFS: change a machine as one move, with a proven way
//! back.
//!
//! The way through the program: the command line becomes a typed request
//! (`cli`), a survey reads what is there (`survey`), a planner that does no
//! I/O turns both into a plan or a refusal (`plan`), and the executor carries
//! it out under a lock, undoing what it did where a step fails (`execute`).
//! `ARCHITECTURE.md` has the picture and the invariants.
//!
//! # Module index
//!
//! What there is:
//! - [`be`]: boot environments, their names, their space, the names in their files
//! - [`adopt`]: a system that is there already: the table of known layouts
//! - [`own`]: what of the running environment has to be mounted, and systemd's generator for it
//! - [`check`]: whether an environment can boot: a list of named findings
//! - [`survey`]: one picture of pools, datasets, mounts, loader, unfinished work
//! - [`marker`], [`intent`]: what this program writes into a pool
//! - [`health`]: whether the running system does what it is there for
//! - [`diff`]: what differs between two environments
//! - [`share`]: what all environments have in common: the shared dataset, its record, its files
//! - [`archive`]: trees of datasets as one file: its format, and the streams of ZFS
//! - [`packages`]: what packages are installed in a tree, the order of versions
//! - [`sync`]: what is carried from one environment to another
//!
//! What is done:
//! - [`plan`]: pure planners, one per request, and recovery
//! - [`execute`]: steps, undoing, fail points
//!
//! On what:
//! - [`host`]: the machine: its ZFS, operating system and loader
//! - [`config`]: what the administrator wants of it
//! - [`zfs`]: the engine trait, the engine over `zfs` and `zpool`, the simulator
//! - [`os`]: mounts and the lock
//! - [`boot`]: boot loaders
//! - [`sys`]: child processes, the lock file
//!
//! For people:
//! - [`cli`]: commands, listings, errors and exit codes

pub mod adopt;
pub mod archive;
pub mod be;
pub mod boot;
pub mod check;
pub mod cli;
pub mod config;
pub mod diff;
pub mod execute;
pub mod health;
pub mod host;
pub mod intent;
pub mod marker;
pub mod os;
pub mod own;
pub mod packages;
pub mod plan;
pub mod share;
pub mod survey;
pub mod sync;
pub mod sys;
pub mod zfs;

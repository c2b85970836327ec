//! What is carried from one environment to another when the machine goes over
//! to it: which files, and what becomes of each.
//!
//! Pure, contents in, decisions and contents out:
//!
//! - [`list`]: the synclist, which files there are and by which rule each is carried
//! - [`decide`]: what happens to one file, three-way, contents and metadata apart
//! - [`settle`]: files lie in directories: decisions seen together
//! - [`content`]: the contents where both sides have their say
//! - [`records`]: passwd, shadow, group, gshadow, subuid and subgid, record by record
//! - [`text`]: any other text, line by line
//! - [`append`]: logs, of which what was added is carried
//!
//! What reads both environments:
//!
//! - [`sides`]: the four trees, and which snapshots are the bases
//! - [`bases`]: the pairs of snapshots that are there, and which of them are kept
//! - [`version`], [`read`], [`walk`], [`resolve`]: what there is, what was decided about
//!   each path; [`answer`]: what somebody said who was asked
//! - [`kept`]: what lost a conflict where nobody is asked, and is kept beside
//! - [`change`]: what becomes of the target's files, as data; `plan::sync` has the
//!   steps, `execute::carry` writes
//!
//! The base is a pair of snapshots, one of each environment, taken after the last
//! time; each side is compared with its own. Of a file there are therefore four
//! versions: the base of the source, the source, the base of the target, the target.

pub mod answer;
pub mod append;
pub mod bases;
pub mod change;
pub mod content;
pub mod decide;
pub mod kept;
pub mod list;
pub mod read;
pub mod records;
mod resolve;
pub mod settle;
pub mod sides;
pub mod text;
pub mod version;
mod walk;

/// A larger file is never merged, bytes: it is carried whole or in conflict.
pub const LARGEST: u64 = 16 << 20;

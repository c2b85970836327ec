//! Below the operating system's concepts: child processes and the lock file.

pub mod command;
pub mod limited;
pub mod lock;

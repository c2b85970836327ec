//! GRUB, with a menu of this program's own.

pub mod block;
pub mod envblock;
pub mod menu;
mod script;
pub mod stub;

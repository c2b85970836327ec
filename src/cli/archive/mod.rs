//! `export` and `import`.

pub mod export;
pub mod import;
mod inlet;
mod outlet;
mod print;

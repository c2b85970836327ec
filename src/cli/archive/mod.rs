//! `export` and `import`.

pub mod export;
pub mod import;
pub mod inlet;
pub mod outlet;
mod print;

use camino::Utf8Path;

use super::interruption::Interruption;

/// Says what is in an archive or stream.
///
/// # Errors
/// Where it is none.
pub(super) fn info(file: Option<&Utf8Path>, json: bool) -> anyhow::Result<()> {
    let input = inlet::open(file, Interruption::watch()?.asked())?;
    print::info(json, &input)
}

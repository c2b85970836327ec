//! The dead man's switch, seen from the running system: its program, its process,
//! and the hardware watchdogs that it could use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::os::{Error, Result};

/// Where it is installed, from the prefix (`make install`).
const INSTALLED: &str = "lib/beadm-rs/watch";

/// The prefixes it is looked for in: that of this program, then the usual ones.
fn places() -> Vec<PathBuf> {
    let own = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.to_owned()));
    own.into_iter()
        .chain(["/usr/local".into(), "/usr".into()])
        .map(|prefix: PathBuf| prefix.join(INSTALLED))
        .collect()
}

/// The program.
pub(super) fn program() -> Result<Option<Vec<u8>>> {
    for place in places() {
        match fs::read(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => {
                let attempted = format!("read {}", place.display());
                return other.map(Some).map_err(Error::io(attempted));
            }
        }
    }
    Ok(None)
}

/// A watchdog that can be stopped again is there: another one would restart the
/// machine after its boot was confirmed.
pub(super) fn has_watchdog(class: &Path) -> bool {
    fs::read_to_string(class.join("watchdog0/nowayout")).is_ok_and(|text| text.trim() == "0")
}

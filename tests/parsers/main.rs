//! Every parser of text from outside: on what `zfs` and `zpool` of each release
//! print (`tests/fixtures/zfs/RELEASE/COMMAND.txt`), and on the inputs the
//! fuzzer found interesting (`fuzz/corpus/`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod corpus;
mod engine;
mod releases;
mod traps;

/// The same functions as the fuzz targets run.
#[path = "../../fuzz/src/lib.rs"]
mod properties;

use std::path::PathBuf;

/// The releases there are fixtures of.
const RELEASES: [&str; 6] = ["2.1", "2.2", "2.3", "2.4", "illumos-2016", "illumos-2019"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A fixture; `None` where the release has none of that command.
fn fixture(release: &str, command: &str) -> Option<String> {
    let path = root().join(format!("tests/fixtures/zfs/{release}/{command}.txt"));
    std::fs::read_to_string(path).ok()
}

/// A fixture every OpenZFS release has.
fn openzfs(command: &str) -> Vec<(&'static str, String)> {
    RELEASES[..4]
        .iter()
        .map(|release| {
            let text = fixture(release, command);
            (
                *release,
                text.unwrap_or_else(|| panic!("no {command} of {release}")),
            )
        })
        .collect()
}

/// The columns `zfs list` of the release does not know.
fn lacking(release: &str) -> &'static [&'static str] {
    match release {
        "illumos-2016" => &["encryptionroot", "keystatus", "receive_resume_token"],
        _ => &[],
    }
}

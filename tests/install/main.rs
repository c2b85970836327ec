//! `make install` and `make uninstall`, as a user, into a directory: every file
//! with its mode, in `installed.txt` beside this. `SNAPSHOTS=overwrite cargo test
//! --test install` writes it anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

fn make(target: &str, into: &Path, more: &[&str]) {
    let output = Command::new("make")
        .arg("--no-print-directory")
        .arg(target)
        .arg(format!("DESTDIR={}", into.display()))
        .arg(format!("BINARY={}", env!("CARGO_BIN_EXE_beadm-rs")))
        // Some file: where it goes is all there is to see here.
        .arg("WATCH=README.md")
        .args(more)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("MAKEFLAGS")
        .output()
        .expect("make is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "make {target}: {said}");
    assert!(
        output.stdout.is_empty() && said.is_empty(),
        "make {target}: {said}"
    );
}

/// "0644 /path", or "link /path -> target", in order.
fn listed(root: &Path, below: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let shown = format!("/{}", path.strip_prefix(root).unwrap().display());
        let found = fs::symlink_metadata(&path).unwrap();
        if found.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            lines.push(format!("link {shown} -> {}", target.display()));
        } else if found.is_dir() {
            listed(root, &path, lines);
        } else {
            let mode = found.permissions().mode() & 0o7777;
            lines.push(format!("{mode:04o} {shown}"));
        }
    }
}

fn files(root: &Path) -> String {
    let mut lines = Vec::new();
    listed(root, root, &mut lines);
    lines.sort_by_key(|line| line.split_once(' ').map(|(_, path)| path.to_owned()));
    lines.into_iter().map(|line| line + "\n").collect()
}

#[test]
fn everything_is_installed_where_packagers_expect_it() {
    let into = tempfile::tempdir().unwrap();
    make("install", into.path(), &[]);
    let installed = files(into.path());
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/install/installed.txt");
    if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        fs::write(&kept, &installed).unwrap();
    }
    assert_eq!(installed, fs::read_to_string(&kept).unwrap());
    let program = into.path().join("usr/sbin/beadm-rs");
    let generator = into
        .path()
        .join("usr/lib/systemd/system-generators/beadm-rs-generator");
    assert_eq!(
        fs::canonicalize(generator).unwrap(),
        fs::canonicalize(&program).unwrap()
    );
    let said = Command::new(program).arg("--version").output().unwrap();
    assert!(said.stdout.starts_with(b"beadm-rs "));

    // A second time over the first.
    make("install", into.path(), &[]);
    assert_eq!(files(into.path()), installed);
    make("uninstall", into.path(), &[]);
    assert_eq!(files(into.path()), "");
}

#[test]
fn units_start_the_program_where_it_was_installed() {
    let into = tempfile::tempdir().unwrap();
    make("install", into.path(), &["PREFIX=/usr/local"]);
    let units = into.path().join("usr/local/lib/systemd/system");
    let mut seen = 0;
    for unit in fs::read_dir(units).unwrap() {
        let text = fs::read_to_string(unit.unwrap().path()).unwrap();
        for line in text.lines().filter(|line| line.starts_with("Exec")) {
            assert!(line.contains("=/usr/local/sbin/beadm-rs "), "{line}");
            seen += 1;
        }
    }
    assert!(seen > 0);
}

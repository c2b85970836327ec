//! What a boot leaves for others to see until the next one, and the reboot.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::Linux;
use crate::os::{Booted, Error, Result};

/// The message of the day, for what pam_motd(8) and others show at a login.
const MOTD: &str = "motd.d/beadm-rs";

/// The same about files.
const MOTD_FILES: &str = "motd.d/beadm-rs-files";

/// What the conditions of the units look for.
const RECORDS: &str = "records";
const TRIAL: &str = "trial";

impl Linux {
    /// The file of the message of the day.
    fn motd(&self) -> Utf8PathBuf {
        self.run.with_file_name(MOTD)
    }

    pub(super) fn leave(&self, booted: &Booted) -> Result<()> {
        self.file(&self.run.join(RECORDS), booted.records.then_some(""))?;
        self.file(&self.run.join(TRIAL), booted.trial.then_some(""))?;
        let text = booted.message.as_ref().map(|text| format!("{text}\n"));
        self.file(&self.motd(), text.as_deref())
    }

    pub(super) fn tell_of_files(&self, message: Option<&str>) -> Result<()> {
        let text = message.map(|text| format!("{text}\n"));
        self.file(&self.run.with_file_name(MOTD_FILES), text.as_deref())
    }

    /// A file that is there whole, or not at all.
    fn file(&self, path: &Utf8Path, text: Option<&str>) -> Result<()> {
        let Some(text) = text else {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(Error::io(format!("remove {path}"))(error))
                }
                _ => Ok(()),
            };
        };
        let directory = path.parent().unwrap_or(path);
        self.directory(directory)?;
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(text.as_bytes())?;
            fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(Error::io(format!("write {path}")))
    }
}

/// Asks init for a reboot, with all that a shutdown does; returns at once.
pub(super) fn reboot() -> Result<()> {
    // sd_booted(3).
    let systemd = Utf8Path::new("/run/systemd/system").is_dir();
    let (program, arguments) = if systemd {
        ("systemctl", ["--no-block", "reboot"].as_slice())
    } else {
        ("shutdown", ["-r", "now"].as_slice())
    };
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    super::succeed("reboot the machine", program, &arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_boot_leaves_is_whole_and_goes_with_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(directory.path()).unwrap();
        let platform = Linux {
            run: root.join("beadm-rs"),
            ..Linux::default()
        };
        let files = || -> Vec<String> {
            ["beadm-rs/records", "beadm-rs/trial", "motd.d/beadm-rs"]
                .into_iter()
                .filter_map(|path| {
                    let text = fs::read_to_string(root.join(path)).ok()?;
                    Some(format!("{path}: {text:?}"))
                })
                .collect()
        };
        let mut booted = Booted {
            records: true,
            trial: false,
            message: Some("it went back".to_owned()),
        };
        for _ in 0..2 {
            platform.leave(&booted).unwrap();
            assert_eq!(
                files(),
                [
                    r#"beadm-rs/records: """#,
                    r#"motd.d/beadm-rs: "it went back\n""#
                ]
            );
        }
        let mode = fs::metadata(platform.motd()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        booted.trial = true;
        booted.message = None;
        platform.leave(&booted).unwrap();
        assert_eq!(
            files(),
            [r#"beadm-rs/records: """#, r#"beadm-rs/trial: """#]
        );
        assert_eq!(fs::read_dir(root.join("motd.d")).unwrap().count(), 0);
    }
}

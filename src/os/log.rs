//! Files for what long commands say.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{Mode, OFlags};

use super::{Error, Result};

/// Makes a file that its owner alone reads, in a directory that its owner alone
/// enters, which is made where it is not there.
///
/// `/var/log` is writable for a group on some systems, so the directory may be a
/// link that somebody put there, or somebody else's.
///
/// # Errors
/// The directory is no directory of this user's alone; the file is there.
pub fn create(directory: &Utf8Path, name: &str) -> Result<(Utf8PathBuf, File)> {
    let path = directory.join(name);
    let create = || -> io::Result<File> {
        match fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(directory.as_std_path(), flags, Mode::empty())?;
        let found = rustix::fs::fstat(&opened)?;
        if found.st_uid != rustix::process::geteuid().as_raw() || found.st_mode & 0o022 != 0 {
            return Err(io::Error::other(format!(
                "{directory} is not a directory of root's that nobody else can write to"
            )));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&opened, name, flags | OFlags::CLOEXEC, mode)?.into())
    };
    match create() {
        Ok(file) => Ok((path, file)),
        Err(error) => Err(Error::io(format!("make the log {path}"))(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_log_is_its_owners_alone_and_never_behind_a_link() {
        let scratch = tempfile::tempdir().unwrap();
        let base = Utf8PathBuf::from_path_buf(scratch.path().to_owned()).unwrap();
        let logs = base.join("logs");
        let mode = |path: &Utf8Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (path, _file) = create(&logs, "one.log").unwrap();
        assert_eq!((mode(&logs), mode(&path)), (0o700, 0o600));
        // Another time another file.
        assert!(create(&logs, "one.log").is_err());
        let elsewhere = base.join("elsewhere");
        symlink(&elsewhere, logs.join("two.log")).unwrap();
        assert!(create(&logs, "two.log").is_err());
        assert!(!elsewhere.exists());
        symlink(&logs, base.join("link")).unwrap();
        assert!(create(&base.join("link"), "three.log").is_err());
        fs::set_permissions(&logs, fs::Permissions::from_mode(0o770)).unwrap();
        let error = create(&logs, "three.log").unwrap_err().to_string();
        assert!(error.contains("nobody else can write to"), "{error}");
    }
}

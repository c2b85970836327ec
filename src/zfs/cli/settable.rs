//! Which native properties can be set on this release.

use std::fs;
use std::path::Path;

/// The kernel module's own table of them, on Linux (`zfs_sysfs.c`): a directory for each
/// property, a file for each of its attributes. Reading it takes a fifth of the time of a
/// process.
const TABLE: &str = "/sys/module/zfs/properties.dataset";

/// What the kernel says; `None` where it has no such table. It is `zfs get` that is
/// asked for their values then, and that refuses a name it does not know.
pub(super) fn by_the_kernel() -> Option<Vec<String>> {
    read(Path::new(TABLE))
}

fn read(table: &Path) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(table).ok()? {
        let entry = entry.ok()?;
        let path = entry.path();
        let is = |attribute: &str, wanted: &str| {
            let text = fs::read_to_string(path.join(attribute)).ok()?;
            Some(text.trim_end() == wanted)
        };
        let name = entry.file_name().into_string().ok()?;
        if is("readonly", "0")? && is("setonce", "0")? && is("visible", "1")? {
            names.push(name);
        }
    }
    // A clone has its origin's, and asking for it is slow.
    names.retain(|name| name != "version");
    names.sort_unstable();
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(properties: &[(&str, [&str; 3])]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, values) in properties {
            let property = directory.path().join(name);
            fs::create_dir(&property).unwrap();
            for (attribute, value) in ["readonly", "setonce", "visible"].iter().zip(values) {
                if !value.is_empty() {
                    fs::write(property.join(attribute), format!("{value}\n")).unwrap();
                }
            }
        }
        directory
    }

    #[test]
    fn what_can_be_set_at_any_time_and_is_shown_is_told() {
        let directory = table(&[
            ("sync", ["0", "0", "1"]),
            ("atime", ["0", "0", "1"]),
            ("used", ["1", "0", "1"]),
            ("utf8only", ["0", "1", "1"]),
            ("stmf_shareinfo", ["0", "0", "0"]),
            ("version", ["0", "0", "1"]),
        ]);
        let names = read(directory.path()).unwrap();
        assert_eq!(names, ["atime", "sync"]);
    }

    #[test]
    fn half_a_table_is_none() {
        let directory = table(&[("sync", ["0", "0", "1"]), ("atime", ["0", "", "1"])]);
        assert_eq!(read(directory.path()), None);
        assert_eq!(read(&directory.path().join("missing")), None);
        assert_eq!(read(table(&[]).path()), None);
    }
}

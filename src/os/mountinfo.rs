//! mountinfo (proc_pid_mountinfo(5)): a pure, total reader.
//!
//! Bytes, not text: a directory's name need not be UTF-8, and anybody who may
//! mount somewhere could else hide all mounts of a namespace.

use camino::Utf8PathBuf;

use crate::zfs::DatasetName;

/// A ZFS file system mounted somewhere, whole or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub dataset: DatasetName,
    /// Where; what is not UTF-8 in it is replaced.
    pub directory: Utf8PathBuf,
}

/// A line that is not of mountinfo's shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of mountinfo is not understood: {text:?}")]
pub struct MountinfoError {
    /// Counted from 1.
    pub line: usize,
    /// The line, at most 200 characters of it.
    pub text: String,
}

/// Decodes the three octal digits after a backslash by which mountinfo and
/// fstab(5) write spaces, tabs, newlines and backslashes. What is not such a
/// number of one byte stays as it is.
#[must_use]
pub fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = match code {
            Some(_) => rest.get(4..).unwrap_or_default(),
            None => after,
        };
    }
    bytes
}

/// What a line says: the mounted directory, the type and the source, escaped.
fn fields(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut fields = line.split(|byte| *byte == b' ');
    let directory = fields.nth(4)?;
    // After the options a number of tags, then a dash.
    fields.next()?;
    fields.by_ref().find(|field| *field == b"-")?;
    Some((directory, fields.next()?, fields.next()?))
}

fn lines(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    text.strip_suffix(b"\n")
        .unwrap_or(text)
        .split(|byte| *byte == b'\n')
        .filter(move |_| !text.is_empty())
}

fn entry((directory, kind, source): (&[u8], &[u8], &[u8])) -> Option<Entry> {
    if kind != b"zfs" {
        return None;
    }
    let dataset = String::from_utf8(unescape(source)).ok()?.parse().ok()?;
    let directory = String::from_utf8_lossy(&unescape(directory)).into_owned();
    Some(Entry {
        dataset,
        directory: directory.into(),
    })
}

/// The ZFS mounts, in their order; snapshots, which are mounted by themselves
/// under `.zfs`, are not datasets.
///
/// # Errors
/// A line that is not of mountinfo's shape.
pub fn entries(text: &[u8]) -> Result<Vec<Entry>, MountinfoError> {
    let mut found = Vec::new();
    for (index, line) in lines(text).enumerate() {
        let fields = fields(line).ok_or_else(|| MountinfoError {
            line: index + 1,
            text: String::from_utf8_lossy(line).chars().take(200).collect(),
        })?;
        found.extend(entry(fields));
    }
    Ok(found)
}

/// The directories on which anything is mounted, in the order it was; what is
/// not UTF-8 in them is replaced, and what is no line of mountinfo passed over.
#[must_use]
pub fn directories(text: &[u8]) -> Vec<Utf8PathBuf> {
    lines(text)
        .filter_map(fields)
        .map(|(directory, _, _)| {
            String::from_utf8_lossy(&unescape(directory))
                .into_owned()
                .into()
        })
        .collect()
}

/// The dataset `/` is mounted from; `None` where that is no ZFS.
#[must_use]
pub fn root(text: &[u8]) -> Option<DatasetName> {
    // The last mount on a directory is the one that is seen.
    let last = lines(text)
        .filter_map(fields)
        .rfind(|(directory, _, _)| *directory == b"/")?;
    entry(last).map(|entry| entry.dataset)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &[u8] = b"\
22 1 0:20 / / rw,relatime shared:1 - zfs rpool/ROOT/de\\040bian rw,xattr,posixacl
23 22 0:21 / /var rw,relatime shared:2 - zfs rpool/ROOT/de\\040bian/var rw
24 22 0:22 / /home/a\\134b rw master:1 propagate_from:2 - zfs rpool/home rw
25 22 0:23 / /proc rw - proc proc rw
26 22 0:24 / /.zfs/snapshot/x ro - zfs rpool/ROOT/debian@x ro
27 22 8:1 / /boot/efi\xff rw - vfat /dev/vda1 rw
28 22 0:25 / /\xff rw - zfs rpool/srv rw
";

    fn shown(text: &[u8]) -> Vec<(String, String)> {
        entries(text)
            .unwrap()
            .into_iter()
            .map(|entry| (entry.dataset.to_string(), entry.directory.to_string()))
            .collect()
    }

    #[test]
    fn zfs_mounts_are_read_with_their_escapes() {
        assert_eq!(
            shown(MOUNTINFO),
            [
                ("rpool/ROOT/de bian", "/"),
                ("rpool/ROOT/de bian/var", "/var"),
                ("rpool/home", "/home/a\\b"),
                ("rpool/srv", "/\u{fffd}"),
            ]
            .map(|(dataset, directory)| (dataset.to_owned(), directory.to_owned()))
        );
        assert_eq!(root(MOUNTINFO).unwrap().as_str(), "rpool/ROOT/de bian");
        let directories = directories(MOUNTINFO);
        assert_eq!(directories.len(), 7);
        assert_eq!(directories[3], "/proc");
    }

    #[test]
    fn the_root_is_what_is_mounted_last() {
        let covered = [MOUNTINFO, b"29 22 0:26 / / rw - tmpfs tmpfs rw\n"].concat();
        assert_eq!(root(&covered), None);
        assert_eq!(root(b""), None);
    }

    #[test]
    fn rubbish_in_mountinfo_is_an_error() {
        for text in [
            "x\n",
            "\n",
            "a b c d e - zfs\n",
            " - ",
            "\\",
            "1 2 3 4 / rw zfs a b c",
        ] {
            assert!(entries(text.as_bytes()).is_err(), "{text:?}");
        }
        assert_eq!(entries(b""), Ok(Vec::new()));
    }

    #[test]
    fn an_escape_is_one_byte_in_octal_and_nothing_else() {
        for (escaped, plain) in [
            ("a\\040b\\", "a b\\"),
            ("\\04", "\\04"),
            ("\\+12", "\\+12"),
            ("\\777", "\\777"),
            ("\\134040", "\\040"),
        ] {
            assert_eq!(unescape(escaped.as_bytes()), plain.as_bytes(), "{escaped}");
        }
    }
}

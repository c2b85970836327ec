//! What `zfs` and `zpool` say when they fail.

use super::super::ErrorKind;

/// The class of a message of `zfs` or `zpool`: the texts of
/// `zfs_standard_error_fmt` in `libzfs_util.c`, the same from 0.8 to 2.4.
pub(super) fn classify(message: &str) -> ErrorKind {
    const TEXTS: [(&str, ErrorKind); 45] = [
        // Told beside what is merely not there.
        ("suspended", ErrorKind::Io),
        ("I/O error", ErrorKind::Io),
        ("source and target pools differ", ErrorKind::Unsupported),
        ("within same pool", ErrorKind::Unsupported),
        ("crosses datasets", ErrorKind::Unsupported),
        ("must be one of", ErrorKind::Invalid),
        ("must be an absolute path", ErrorKind::Invalid),
        ("must be power of 2", ErrorKind::Invalid),
        ("bad numeric value", ErrorKind::Invalid),
        ("use 'none'", ErrorKind::Invalid),
        ("value is too large", ErrorKind::Invalid),
        ("only allowed on volumes", ErrorKind::Invalid),
        ("missing dataset name", ErrorKind::Invalid),
        ("is not a filesystem", ErrorKind::Invalid),
        ("keylocation must be", ErrorKind::Invalid),
        ("not applicable to datasets", ErrorKind::Unsupported),
        ("is readonly", ErrorKind::Invalid),
        ("does not apply to datasets", ErrorKind::Invalid),
        ("cannot be a descendant", ErrorKind::Invalid),
        ("size is less than", ErrorKind::NoSpace),
        ("size is greater than", ErrorKind::NoSpace),
        ("does not exist", ErrorKind::NotFound),
        ("no such pool", ErrorKind::NotFound),
        ("is not a pool", ErrorKind::NotFound),
        ("' exists", ErrorKind::Exists),
        ("already exists", ErrorKind::Exists),
        ("dataset exists", ErrorKind::Exists),
        ("has dependent clones", ErrorKind::HasDependents),
        ("has children", ErrorKind::HasDependents),
        ("busy", ErrorKind::Busy),
        ("out of space", ErrorKind::NoSpace),
        ("No space left", ErrorKind::NoSpace),
        ("quota exceeded", ErrorKind::NoSpace),
        ("space quota", ErrorKind::NoSpace),
        ("Disk quota exceeded", ErrorKind::NoSpace),
        ("read-only", ErrorKind::ReadOnly),
        ("Read-only", ErrorKind::ReadOnly),
        ("permission denied", ErrorKind::PermissionDenied),
        ("Permission denied", ErrorKind::PermissionDenied),
        ("key not loaded", ErrorKind::Key),
        ("encryption", ErrorKind::Key),
        ("too long", ErrorKind::Invalid),
        ("invalid", ErrorKind::Invalid),
        ("/dev/zfs", ErrorKind::Missing),
        ("modules cannot be auto-loaded", ErrorKind::Missing),
    ];
    TEXTS
        .iter()
        .find(|(text, _)| message.contains(text))
        .map_or(ErrorKind::Other, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_zfs_are_classed() {
        for (message, kind) in [
            (
                "cannot open 'p/x': dataset does not exist",
                ErrorKind::NotFound,
            ),
            (
                "cannot create 'p/x': dataset already exists",
                ErrorKind::Exists,
            ),
            (
                "cannot unmount '/x': pool or dataset is busy",
                ErrorKind::Busy,
            ),
            ("cannot create 'p/x': out of space", ErrorKind::NoSpace),
            ("The ZFS modules cannot be auto-loaded.", ErrorKind::Missing),
            ("something new", ErrorKind::Other),
        ] {
            assert_eq!(classify(message), kind, "{message}");
        }
    }
}

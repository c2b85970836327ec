//! Kernel command lines, as loaders give them. Pure.

/// What the initramfs does where it cannot go on, seconds: reboot, so that the
/// tries run out.
pub(super) const PANIC: &str = "panic=10";

/// The word by which the boot service knows that somebody chose the loader's
/// entry that fails back.
pub(crate) const FAILBACK: &str = "beadm-rs.failback";

/// A kernel command line's words; what is in double quotes is one.
pub(super) fn words(options: &str) -> Vec<&str> {
    let mut quoted = false;
    options
        .split(move |c: char| {
            quoted ^= c == '"';
            c.is_whitespace() && !quoted
        })
        .filter(|word| !word.is_empty())
        .collect()
}

/// Whether a loader by UEFI gave it, which started a copy of this program's: with
/// their paths as the firmware writes them.
pub(crate) fn is_of_copies(options: &str) -> bool {
    words(options)
        .iter()
        .any(|word| word.starts_with("initrd=\\beadm-rs\\"))
}

/// Whether it says itself what happens after a panic.
pub(super) fn says_panic(options: &str) -> bool {
    words(options).iter().any(|word| word.starts_with("panic="))
}

/// A kernel command line that names another dataset for its root, and has
/// nothing in it that a loader put there, or that says how this boot was chosen.
pub(super) fn with_root(options: &str, root: &str) -> String {
    // Initramfs scripts write a space in a name as a plus.
    let root = root.replace(' ', "+");
    let mut named = false;
    let mut kept: Vec<String> = Vec::new();
    for word in words(options) {
        let mut name = |form: &str| {
            named = true;
            format!("{form}{root}")
        };
        let word = match word.split_once('=') {
            Some(("root", _)) => name("root=ZFS="),
            Some(("zfs", _)) => name("zfs="),
            Some(("bootfs", _)) => name("bootfs="),
            Some(("initrd" | "BOOT_IMAGE", _)) => continue,
            None if word == FAILBACK => continue,
            _ => word.to_owned(),
        };
        kept.push(word);
    }
    if !named {
        kept.insert(0, format!("root=ZFS={root}"));
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_known_by_their_place() {
        assert!(is_of_copies("initrd=\\beadm-rs\\0a\\initrd root=ZFS=a"));
        assert!(!is_of_copies("initrd=\\own\\initrd root=ZFS=a"));
        assert!(!is_of_copies("quiet=initrd=\\beadm-rs\\"));
    }

    #[test]
    fn the_root_is_named_in_the_way_it_was() {
        for (was, is) in [
            (
                "root=ZFS=rpool/ROOT/a ro quiet",
                "root=ZFS=rpool/ROOT/n+w ro quiet",
            ),
            (
                "initrd=\\x\\y root=zfs:AUTO rw",
                "root=ZFS=rpool/ROOT/n+w rw",
            ),
            ("zfs=bootfs rw", "zfs=rpool/ROOT/n+w rw"),
            ("ro", "root=ZFS=rpool/ROOT/n+w ro"),
            (
                "root=ZFS=rpool/ROOT/a beadm-rs.failback ro",
                "root=ZFS=rpool/ROOT/n+w ro",
            ),
            (
                "dyndbg=\"file a +p\" ro",
                "root=ZFS=rpool/ROOT/n+w dyndbg=\"file a +p\" ro",
            ),
        ] {
            assert_eq!(with_root(was, "rpool/ROOT/n w"), is);
        }
    }
}

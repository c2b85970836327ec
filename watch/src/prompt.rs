//! Whether a person is being asked for a passphrase: recognised by the programs
//! that initramfs-tools, dracut and mkinitcpio ask by. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Whether a process asks, by its arguments as /proc/PID/cmdline has them.
pub fn asks(arguments: &[u8]) -> bool {
    let words: Vec<&str> = arguments
        .split(|byte| *byte == 0)
        .filter_map(|word| std::str::from_utf8(word).ok())
        .filter(|word| !word.is_empty())
        .collect();
    asked(&words)
}

fn base(word: &str) -> &str {
    Path::new(OsStr::from_bytes(word.as_bytes()))
        .file_name()
        .and_then(OsStr::to_str)
        .unwrap_or(word)
}

fn asked(words: &[&str]) -> bool {
    let Some((program, rest)) = words.split_first() else {
        return false;
    };
    let has = |wanted: &str| rest.contains(&wanted);
    match base(program) {
        // A script's interpreter comes before it.
        "sh" | "ash" | "bash" | "dash" | "busybox" => asked(rest),
        "systemd-ask-password" | "askpass" => true,
        "plymouth" => has("ask-for-password") || has("ask-question"),
        // With a key in a file it takes no time.
        "zfs" => has("load-key") || (has("mount") && has("-l")),
        "zpool" => has("import") && has("-l"),
        "cryptsetup" => rest
            .iter()
            .any(|word| *word == "open" || word.ends_with("Open")),
        "systemd-cryptsetup" => has("attach"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes as /proc/PID/cmdline has them, with spaces for the NULs.
    fn asked_in(processes: &[&str]) -> Vec<bool> {
        let asks = |line: &&str| asks(format!("{line}\0").replace(' ', "\0").as_bytes());
        processes.iter().map(asks).collect()
    }

    #[test]
    fn who_asks_for_a_passphrase_is_recognised() {
        let processes = [
            // initramfs-tools (zfs-initramfs, cryptsetup-initramfs).
            "/usr/sbin/zfs load-key rpool/ROOT",
            "plymouth ask-for-password --prompt=Encrypted_ZFS --command=/usr/sbin/zfs",
            "/lib/cryptsetup/askpass Please_unlock_disk",
            "/bin/sh /lib/cryptsetup/askpass Please_unlock_disk",
            // dracut, with systemd and without.
            "systemd-ask-password --timeout=0 --no-tty Encrypted_ZFS_password",
            "/usr/lib/systemd/systemd-cryptsetup attach luks-1 /dev/sda2 none",
            "/usr/bin/systemd-cryptsetup attach luks-1 /dev/sda2 none",
            "cryptsetup luksOpen /dev/sda2 root",
            "/sbin/cryptsetup -T1 open /dev/sda2 root",
            // mkinitcpio.
            "zpool import -l -N rpool",
            "zfs mount -l rpool/ROOT/a",
        ];
        for (process, asked) in processes.iter().zip(asked_in(&processes)) {
            assert!(asked, "{process}");
        }
    }

    #[test]
    fn who_only_works_is_not_taken_for_one_that_asks() {
        let processes = [
            "",
            "/init",
            "/bin/sh /init",
            "/bin/sh -i",
            "sh",
            "busybox sleep 1000",
            "zpool import -N rpool",
            "zfs mount rpool/ROOT/a",
            "zfs list",
            "cryptsetup close root",
            "plymouth --ping",
            "plymouthd --mode=boot --attach-to-session",
            "systemd-tty-ask-password-agent --watch --console",
            "/usr/lib/systemd/systemd-udevd",
            "@beadm-rs-watch 300",
        ];
        for (process, asked) in processes.iter().zip(asked_in(&processes)) {
            assert!(!asked, "{process}");
        }
    }

    #[test]
    fn nonsense_asks_for_nothing() {
        assert!(!asks(&[0xff, 0, b'a']));
        assert!(!asks(&[0, 0, 0]));
    }
}

//! Directories of the running environment moved into the shared dataset: with
//! everything, stopped anywhere, without space, among planted links.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::fs::{CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use crate::machine::Machine;
use crate::ran::{Ran, long, program, sh};

/// A machine that runs from `old`, with its children and what is shared mounted.
pub struct Running {
    pub machine: Machine,
}

/// An access control list as the kernel keeps it (posix_acl_xattr.h): one more
/// user may read.
const ACL: [u8; 44] = [
    2, 0, 0, 0, // version
    1, 0, 6, 0, 255, 255, 255, 255, // owner
    2, 0, 4, 0, 232, 3, 0, 0, // user 1000
    4, 0, 4, 0, 255, 255, 255, 255, // group
    16, 0, 4, 0, 255, 255, 255, 255, // mask
    32, 0, 0, 0, 255, 255, 255, 255, // others
];

impl Running {
    pub fn new() -> Self {
        let machine = Machine::new();
        sh(
            "zfs",
            &["set", "acltype=posixacl", &machine.name("ROOT/old/var")],
        );
        Self { machine }
    }

    /// Runs a shell's command as that machine.
    pub fn shell(&self, command: &str, fail: &str) -> Ran {
        let script = r#"
            set -e
            root=$1 pool=$2; shift 2
            mount --make-rprivate /
            mount -t zfs -o zfsutil "$pool/ROOT/old" "$root"
            mkdir -p "$root/var"
            mount -t zfs -o zfsutil "$pool/ROOT/old/var" "$root/var"
            for share in $(zfs list -H -o name | grep "^$pool[a-z]*/VARSHARE\$"); do
                [ -d "$root/var/share" ] || continue
                mount -t zfs -o zfsutil "$share" "$root/var/share"
            done
            for own in $(zfs list -H -o name | grep "^$pool/srv\$"); do
                mount -t zfs -o zfsutil "$own" "$root/srv"
            done
            for d in usr dev proc sys run job tmp; do mount --rbind "/$d" "$root/$d"; done
            exec chroot "$root" sh -c "$1"
        "#;
        let root = self.machine.directory().join("inside");
        let _ = std::fs::create_dir(&root);
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", script, "sh", root.to_str().unwrap()])
            .arg(&self.machine.pool)
            .arg(command)
            .env("BEADM_RS_FAIL", fail)
            .env("BEADM_RS", program())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran::of(output)
    }

    pub fn run(&self, arguments: &str) -> Ran {
        self.shell(&format!("\"$BEADM_RS\" {arguments}"), "")
    }

    pub fn failing(&self, arguments: &str, fail: &str) -> Ran {
        self.shell(&format!("\"$BEADM_RS\" {arguments}"), fail)
    }

    /// Works in the environment's `/var`.
    pub fn var<T>(&self, work: impl FnOnce(&Path) -> T) -> T {
        self.machine
            .with_dataset(&self.machine.name("ROOT/old/var"), work)
    }

    /// Works in the shared dataset.
    pub fn share<T>(&self, work: impl FnOnce(&Path) -> T) -> T {
        self.machine
            .with_dataset(&self.machine.name("VARSHARE"), work)
    }
}

/// A mail spool with one of everything.
pub fn furnish(mail: &Path) {
    std::fs::create_dir_all(mail.join("deep/er")).unwrap();
    let write = |name: &str, text: &[u8]| std::fs::write(mail.join(name), text).unwrap();
    write("alice", &b"From bob\n".repeat(50_000));
    write("deep/er/x", b"x");
    write("setuid", b"#!");
    std::fs::hard_link(mail.join("alice"), mail.join("deep/alias")).unwrap();
    symlink("alice", mail.join("link")).unwrap();
    symlink("/etc/shadow", mail.join("planted")).unwrap();
    symlink("/etc", mail.join("deep/etc")).unwrap();
    let sparse = std::fs::File::create(mail.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 48 << 20).unwrap();
    for (name, kind) in [
        ("fifo", FileType::Fifo),
        ("socket", FileType::Socket),
        ("null", FileType::CharacterDevice),
    ] {
        let device = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(CWD, mail.join(name), kind, Mode::RUSR, device).unwrap();
    }
    for (name, owner) in [("alice", 1000), ("setuid", 8), ("link", 1000), ("fifo", 8)] {
        let ids = (Some(Uid::from_raw(owner)), Some(Gid::from_raw(8)));
        let nofollow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(CWD, mail.join(name), ids.0, ids.1, nofollow).unwrap();
    }
    let mode = |name: &str, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(mail.join(name), permissions).unwrap();
    };
    mode("alice", 0o600);
    mode("setuid", 0o4755);
    mode("deep", 0o1770);
    let attribute = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap();
    };
    attribute(&mail.join("alice"), "user.seen", b"yes");
    attribute(&mail.join("deep/er/x"), "system.posix_acl_access", &ACL);
    attribute(&mail.join("deep"), "system.posix_acl_default", &ACL);
    for (name, seconds) in [
        ("link", 1_000_000_000),
        ("deep/er/x", 1_100_000_000),
        ("deep", 7),
    ] {
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: 123_456_789,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        let nofollow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(CWD, mail.join(name), &times, nofollow).unwrap();
    }
    std::fs::set_permissions(mail, std::fs::Permissions::from_mode(0o2775)).unwrap();
}

/// All there is to a tree, by path; what has several names by the first of them.
pub fn picture(root: &Path) -> BTreeMap<String, String> {
    // What a file takes is known when it is on disk.
    rustix::fs::sync();
    let mut found = BTreeMap::new();
    let mut first = BTreeMap::new();
    walk(root, "", &mut found, &mut first);
    found
}

fn walk(
    root: &Path,
    at: &str,
    found: &mut BTreeMap<String, String>,
    first: &mut BTreeMap<u64, String>,
) {
    let path = root.join(at);
    let metadata = path.symlink_metadata().unwrap();
    let mut attributes = Vec::new();
    let mut list = vec![0; 4096];
    let length = rustix::fs::llistxattr(&path, list.as_mut_slice()).unwrap_or(0);
    for name in list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = std::str::from_utf8(name).unwrap();
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(&path, name, value.as_mut_slice()).unwrap();
        attributes.push(format!("{name}={:?}", &value[..length]));
    }
    attributes.sort();
    let content = if metadata.is_file() {
        let bytes = std::fs::read(&path).unwrap();
        let hash = bytes.iter().fold(7_u64, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(u64::from(*byte))
        });
        // A hole takes no space; a tenth is far from both.
        let holes = metadata.blocks() * 512 < metadata.len() / 10;
        format!("{hash} holes {}", holes && metadata.len() > 1 << 20)
    } else if metadata.is_symlink() {
        format!("-> {}", std::fs::read_link(&path).unwrap().display())
    } else {
        format!("device {}", metadata.rdev())
    };
    let same = if metadata.is_dir() {
        String::new()
    } else {
        first
            .entry(metadata.ino())
            .or_insert_with(|| at.to_owned())
            .clone()
    };
    let size = if metadata.is_dir() { 0 } else { metadata.len() };
    found.insert(
        at.to_owned(),
        format!(
            "{:o} {}:{} {size} {}.{} {attributes:?} {content} {same}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec()
        ),
    );
    if metadata.is_dir() {
        let mut names: Vec<String> = std::fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        for name in names {
            let below = if at.is_empty() {
                name
            } else {
                format!("{at}/{name}")
            };
            walk(root, &below, found, first);
        }
    }
}

/// The names in a directory, without numbers of operations.
pub fn listed(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.split(".beadm-rs-").next().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn share_moves_a_directory_with_everything_and_back_it_is_one_rename() {
    let running = Running::new();
    let before = running.var(|var| {
        furnish(&var.join("mail"));
        picture(&var.join("mail"))
    });
    running
        .run("share add /var/mail")
        .fails(3, "there is no shared dataset yet");
    running.run("share init").succeeds();
    assert_eq!(running.machine.get("VARSHARE", "mountpoint"), "/var/share");
    assert_eq!(running.machine.get("VARSHARE", "canmount"), "on");
    let again = running.run("--json share init").succeeds();
    assert_eq!(again.json("share-init")["changed"], false);
    // Whoever works in it is named.
    running
        .shell(
            "cd /var/mail; \"$BEADM_RS\" share add /var/mail; exit $?",
            "",
        )
        .fails(3, "(sh) works in /var/mail");
    running
        .shell(
            "exec 3</var/mail/alice; \"$BEADM_RS\" share add /var/mail; exit $?",
            "",
        )
        .fails(3, "has /var/mail/alice open");
    running.run("share add /var/mail").succeeds();
    assert_eq!(running.share(|share| picture(&share.join("mail"))), before);
    running.var(|var| {
        let link = std::fs::read_link(var.join("mail")).unwrap();
        assert_eq!(link.to_str(), Some("share/mail"));
        assert_eq!(listed(var), ["mail", "mail", "share"]);
        // What was there is whole too.
        let kept = std::fs::read_dir(var)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_str().unwrap().contains("beadm-rs-"))
            .unwrap();
        assert_eq!(picture(&kept), before);
    });
    let listed = running
        .run("--json share list")
        .succeeds()
        .json("share-list");
    assert_eq!(listed["shared"][0]["environments"][0], "old", "{listed:#}");
    running.run("-y share confirm").succeeds();
    running.var(|var| assert_eq!(self::listed(var), ["mail", "share"]));
    running
        .run("share add /var/mail")
        .fails(3, "it is shared already");
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn share_stopped_anywhere_is_taken_back_or_complete() {
    let running = Running::new();
    let before = running.var(|var| {
        furnish(&var.join("mail"));
        furnish(&var.join("tmp"));
        picture(&var.join("mail"))
    });
    running.run("share init").succeeds();
    // A link, and a bind mount.
    for path in ["/var/mail", "/var/tmp"] {
        let leaf = path.trim_start_matches("/var/");
        let plan = running
            .run(&format!("-n --json share add {path}"))
            .succeeds()
            .json("share-add")["moves"][0]["plan"]
            .clone();
        let mut committed = false;
        for step in plan["steps"].as_array().unwrap() {
            let name = step["name"].as_str().unwrap();
            let commit = step["commit"] == true;
            // Until its switch the second way is the first one's.
            let again = path == "/var/tmp" && !["switch", "bind"].contains(&name);
            if again && !long() {
                continue;
            }
            for (side, done) in [("before", committed), ("after", committed || commit)] {
                if side == "before" && name != "switch" && !long() {
                    continue;
                }
                let at = format!("share-add/{name}:{side}=kill");
                let saved = running.machine.save();
                let ran = running.failing(&format!("share add {path}"), &at);
                assert_eq!(ran.exit, 137, "{at}: {ran:#?}");
                running.run("recover").succeeds();
                let is_there = running.share(|share| share.join(leaf).exists());
                assert_eq!(is_there, done, "{path} {at}");
                let found = if done {
                    running.share(|share| picture(&share.join(leaf)))
                } else {
                    running.var(|var| picture(&var.join(leaf)))
                };
                let differs: Vec<_> = before
                    .iter()
                    .filter(|(name, value)| {
                        // The times of the second tree are its own.
                        path == "/var/mail" && found.get(*name) != Some(value)
                    })
                    .collect();
                assert!(differs.is_empty(), "{at}: {differs:#?}");
                assert_eq!(found.len(), before.len(), "{at}");
                let left = running.share(listed);
                let whole = if done {
                    vec![leaf.to_owned()]
                } else {
                    Vec::new()
                };
                assert_eq!(left, whole, "{at}");
                if done && path == "/var/tmp" {
                    let unit = "etc/systemd/system/var-tmp.mount";
                    let unit = running.machine.read("old", unit).unwrap_or_default();
                    assert!(unit.contains("What=/var/share/tmp\n"), "{at}: {unit}");
                }
                running.machine.restore(&saved);
            }
            committed |= commit;
        }
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn share_without_space_is_taken_back() {
    let running = Running::new();
    let before = running.var(|var| {
        furnish(&var.join("mail"));
        let noise = sh_noise(8 << 20);
        std::fs::write(var.join("mail/large"), noise).unwrap();
        picture(&var.join("mail"))
    });
    running.run("share init").succeeds();
    sh(
        "zfs",
        &["set", "quota=2M", &running.machine.name("VARSHARE")],
    );
    running
        .run("share add /var/mail")
        .fails(1, "what was changed was undone");
    running.share(|share| assert_eq!(listed(share), Vec::<String>::new()));
    running.var(|var| assert_eq!(picture(&var.join("mail")), before));
    assert_eq!(
        running.run("recover").succeeds().stderr.trim(),
        "beadm-rs: nothing was interrupted"
    );
    sh(
        "zfs",
        &["set", "quota=none", &running.machine.name("VARSHARE")],
    );
    running.run("share add --discard-old /var/mail").succeeds();
    running.share(|share| assert_eq!(picture(&share.join("mail")), before));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn share_restores_one_mailbox_and_stopped_anywhere_it_is_old_or_new() {
    let running = Running::new();
    running.var(|var| furnish(&var.join("mail")));
    running.run("share init").succeeds();
    running.run("share add --discard-old /var/mail").succeeds();
    let snapshot = format!("{}@monday", running.machine.name("VARSHARE"));
    sh("zfs", &["snapshot", &snapshot]);
    let monday = running.share(|share| picture(&share.join("mail")));
    running.share(|share| {
        std::fs::write(share.join("mail/deep/er/x"), "eaten").unwrap();
        std::fs::remove_file(share.join("mail/sparse")).unwrap();
    });
    let diff = running.run("-H share diff monday").succeeds();
    assert!(diff.stdout.contains("/mail/deep/er/x"), "{diff:#?}");
    assert!(diff.stdout.contains("/mail/sparse"), "{diff:#?}");
    let spoilt = running.share(|share| picture(&share.join("mail")));
    let command = "share restore --from monday /var/mail/deep";
    let plan = running
        .run(&format!("-n --json {command}"))
        .succeeds()
        .json("share-restore")["plan"]
        .clone();
    let mut committed = false;
    for step in plan["steps"].as_array().unwrap() {
        committed |= step["commit"] == true;
        let at = format!(
            "share-restore/{}:after=kill",
            step["name"].as_str().unwrap()
        );
        let saved = running.machine.save();
        let ran = running.failing(command, &at);
        assert_eq!(ran.exit, 137, "{at}: {ran:#?}");
        running.run("recover").succeeds();
        let found = running.share(|share| picture(&share.join("mail")));
        for name in spoilt.keys() {
            let is_restored = name == "deep" || name.starts_with("deep/");
            let expected = if committed && is_restored && name != "deep/alias" {
                &monday
            } else {
                &spoilt
            };
            // Of a file with several names the one that was put back is another one.
            // What lies in the directory above is another one by now, which has its time.
            if !["", "alice", "deep/alias"].contains(&name.as_str()) {
                assert_eq!(found.get(name), expected.get(name), "{at}: {name}");
            }
        }
        assert_eq!(running.share(listed), ["mail"], "{at}");
        running.machine.restore(&saved);
    }
    running.run(command).succeeds();
    running
        .run("share restore --from monday /var/mail/sparse")
        .succeeds();
    let found = running.share(|share| picture(&share.join("mail")));
    assert_eq!(found["sparse"], monday["sparse"]);
    let all = running.run("-H share snapshots").succeeds();
    assert_eq!(all.stdout.lines().count(), 3, "{all:#?}");
}

/// Bytes that no compression makes less.
pub fn sh_noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(bytes)
    .collect()
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn share_follows_no_link_and_trusts_no_directory_of_others() {
    let running = Running::new();
    running.var(|var| {
        for directory in ["real/mail", "pub/mail"] {
            std::fs::create_dir_all(var.join(directory)).unwrap();
        }
        symlink("real", var.join("alias")).unwrap();
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(var.join("pub"), open).unwrap();
        symlink("../../outside", var.join("real/out")).unwrap();
    });
    running.run("share init").succeeds();
    running
        .run("share add /var/alias/mail")
        .fails(3, "/var/alias is a symbolic link");
    running
        .run("share add /var/pub/mail")
        .fails(3, "others than root may change what /var/pub leads to");
    // A name in the shared dataset that somebody put there is not written through.
    running.share(|share| symlink("/var/lib", share.join("real")).unwrap());
    running
        .run("share add /var/real")
        .fails(3, "/var/share/real is there already");
    running.share(|share| std::fs::remove_file(share.join("real")).unwrap());
    // A name outside: two files then, which has to be said yes to.
    running.var(|var| {
        std::fs::write(var.join("real/mail/x"), "x").unwrap();
        std::fs::hard_link(var.join("real/mail/x"), var.join("pub/x")).unwrap();
    });
    running
        .run("share add /var/real")
        .fails(3, "mail/x in it has another name outside of it");
    let ran = running.run("share add --force /var/real").succeeds();
    assert!(ran.stderr.contains("leads out of it"), "{ran:#?}");
    running.share(|share| {
        let link = std::fs::read_link(share.join("real/out")).unwrap();
        assert_eq!(link.to_str(), Some("../../outside"));
    });
}

/// `share add`, with all it looks at and compares, against `cp -a` into the same
/// dataset. Of blocks that ZFS clones, and of those it has to write.
#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn share_takes_little_longer_than_cp() {
    let mebibytes: usize = if long() { 2048 } else { 96 };
    let machine = Machine::with_disk(8 << 30, &[]);
    let running = Running { machine };
    running.run("share init").succeeds();
    for (name, cloning) in [("cloned", "1"), ("copied", "0")] {
        std::fs::write("/sys/module/zfs/parameters/zfs_bclone_enabled", cloning).unwrap();
        running.var(|var| {
            let directory = var.join(name);
            std::fs::create_dir_all(&directory).unwrap();
            let noise = sh_noise(8 << 20);
            for number in 0..mebibytes / 8 {
                std::fs::write(directory.join(number.to_string()), &noise).unwrap();
            }
        });
        sh("zpool", &["sync", &running.machine.pool]);
        let time = |command: &str| {
            let start = Instant::now();
            running.shell(command, "").succeeds();
            sh("zpool", &["sync", &running.machine.pool]);
            start.elapsed().as_secs_f64()
        };
        // The shell's own time is in both; the first reads what both read.
        let _ = time(&format!("cat /var/{name}/* >/dev/null"));
        let cp = time(&format!("cp -a /var/{name} /var/share/{name}.cp"));
        let add = time(&format!("\"$BEADM_RS\" share add /var/{name}"));
        println!(
            "share add of {mebibytes} MiB, blocks {name}: {add:.2} s; cp -a: {cp:.2} s; ratio {:.2}",
            add / cp
        );
    }
    std::fs::write("/sys/module/zfs/parameters/zfs_bclone_enabled", "1").unwrap();
}

//! Files carried from one environment to another.

use beadm_rs::os::Platform as _;
use cap_std_ext::cap_std::fs::PermissionsExt as _;

use super::machine::{Machine, dataset};
use super::transcript::Transcript;

pub(super) const OLD: &str = "rpool/ROOT/debian";
pub(super) const NEW: &str = "rpool/ROOT/new";

pub(super) const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/bash
alice:x:1000:1000:Alice:/home/alice:/bin/bash
";
pub(super) const SHADOW: &str = "\
root:$6$rootsecret:20000:0:99999:7:::
alice:$6$alicesecret:20000:0:99999:7:::
";

pub(super) fn write(machine: &Machine, name: &str, path: &str, content: &str) {
    machine.with_files(name, |root| {
        if let Some((above, _)) = path.rsplit_once('/') {
            root.create_dir_all(above)?;
        }
        root.write(path, content)
    });
}

pub(super) fn remove(machine: &Machine, name: &str, path: &str) {
    machine.with_files(name, |root| root.remove_file(path));
}

pub(super) fn read(machine: &Machine, name: &str, path: &str) -> String {
    let bytes = machine.sim.read_file(name, path).unwrap();
    bytes.map_or_else(
        || "(none)\n".to_owned(),
        |bytes| String::from_utf8(bytes).unwrap(),
    )
}

/// Accounts and crontabs in the running environment, and a clone of it.
pub(super) fn machine() -> Machine {
    let machine = Machine::with_one_pool();
    for (path, content) in [
        ("etc/passwd", PASSWD),
        ("etc/shadow", SHADOW),
        ("etc/group", "root:x:0:\nalice:x:1000:\n"),
        ("etc/hosts", "127.0.0.1 localhost\n"),
        ("var/spool/cron/crontabs/alice", "0 1 * * * backup\n"),
        ("var/spool/cron/crontabs/bob", "0 2 * * * report\n"),
    ] {
        write(&machine, OLD, path, content);
    }
    machine.with_files(OLD, |root| {
        root.set_permissions(
            "etc/shadow",
            cap_std_ext::cap_std::fs::Permissions::from_mode(0o640),
        )
    });
    machine
}

/// What went on in both since the one was cloned from the other.
pub(super) fn lived(machine: &Machine) {
    write(
        machine,
        OLD,
        "etc/shadow",
        &(SHADOW.replace("alice:$", "alice:!$") + "carol:$6$carolsecret:20001:0:99999:7:::\n"),
    );
    let carol = "carol:x:1001:1001::/home/carol:/bin/sh\n";
    write(machine, OLD, "etc/passwd", &(PASSWD.to_owned() + carol));
    write(
        machine,
        OLD,
        "etc/group",
        "root:x:0:\nalice:x:1000:\ncarol:x:1001:\n",
    );
    remove(machine, OLD, "var/spool/cron/crontabs/bob");
    let crontab = "0 3 * * * tidy\n";
    write(machine, OLD, "var/spool/cron/crontabs/carol", crontab);
    write(
        machine,
        NEW,
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\ndaemon9:x:109:109::/:/usr/sbin/nologin\n\
         alice:x:1000:1000:Alice:/home/alice:/bin/bash\n",
    );
}

#[test]
fn what_went_on_in_the_running_environment_is_carried() {
    let mut story = Transcript::on(machine());
    story
        .run("create new")
        .run("sync")
        .run("sync --to new")
        .then("Both are changed.", lived)
        .run("sync --to new --check")
        .run("-n sync --to new")
        .run("-H sync --to new --check")
        .run("activate new")
        .run("sync");
    for path in ["etc/passwd", "etc/shadow", "etc/group"] {
        let text = read(&story.machine, NEW, path);
        assert!(text.contains("carol"), "{path}: {text}");
    }
    let passwd = read(&story.machine, NEW, "etc/passwd");
    assert!(passwd.contains("daemon9"), "{passwd}");
    let shadow = read(&story.machine, NEW, "etc/shadow");
    assert!(shadow.contains("alice:!$6$alicesecret"), "{shadow}");
    let gone = read(&story.machine, NEW, "var/spool/cron/crontabs/bob");
    assert_eq!(gone, "(none)\n");
    story
        .note("A second time there is nothing to do.")
        .run("sync")
        .run("--json sync")
        .run("list -s")
        .reboot()
        .then("In the new one an account is unlocked.", |machine| {
            let text = read(machine, NEW, "etc/shadow");
            let text = text.replace("alice:!", "alice:");
            write(machine, NEW, "etc/shadow", &text);
        })
        .run("sync --to debian")
        .run("sync --from debian --to new");
    let shadow = read(&story.machine, OLD, "etc/shadow");
    assert!(shadow.contains("alice:$6$alicesecret"), "{shadow}");
    story
        .note("Where one goes, the halves of pairs go that belong to it.")
        .run("list -s")
        .run("create third")
        .run("activate third")
        .run("activate new")
        .run("destroy -y debian")
        .run("list -s")
        .is("sync");
}

#[test]
fn what_both_changed_is_a_conflict() {
    let mut story = Transcript::on(machine());
    story.run("create new").then(
        "Both change the same account, and the same crontab.",
        |machine| {
            for (name, shell, minute) in [(OLD, "zsh", "10"), (NEW, "fish", "20")] {
                let passwd = PASSWD.replace("alice:/bin/bash", &format!("alice:/bin/{shell}"));
                write(machine, name, "etc/passwd", &passwd);
                let crontab = format!("{minute} 1 * * * backup\n");
                write(machine, name, "var/spool/cron/crontabs/alice", &crontab);
                let shadow = SHADOW.replace("alicesecret", &format!("{shell}secret"));
                write(machine, name, "etc/shadow", &shadow);
            }
        },
    );
    let before = read(&story.machine, NEW, "etc/passwd");
    story
        .run("sync --to new")
        .run("sync --to new --check")
        .run("--json sync --to new")
        .run("-n sync --to new --conflicts source")
        .run("-n sync --to new --conflicts target");
    assert_eq!(read(&story.machine, NEW, "etc/passwd"), before);
    story
        .then("One side has locked it, too.", |machine| {
            let text = read(machine, OLD, "etc/shadow");
            write(
                machine,
                OLD,
                "etc/shadow",
                &text.replace("alice:$", "alice:!$"),
            );
        })
        .run("sync --to new --conflicts target")
        .run("sync --to new");
    let passwd = read(&story.machine, NEW, "etc/passwd");
    assert!(passwd.contains("alice:/bin/fish"), "{passwd}");
    let shadow = read(&story.machine, NEW, "etc/shadow");
    assert!(shadow.contains("alice:!"), "{shadow}");
    story
        .then(
            "One deletes an account that the other one changes.",
            |machine| {
                let gone = |text: &str| text.lines().next().unwrap().to_owned() + "\n";
                for path in ["etc/passwd", "etc/shadow"] {
                    let text = gone(&read(machine, OLD, path));
                    write(machine, OLD, path, &text);
                }
                let text = read(machine, NEW, "etc/passwd").replace("/bin/fish", "/bin/sh");
                write(machine, NEW, "etc/passwd", &text);
            },
        )
        .run("sync --to new --conflicts source")
        .run("sync --to new --conflicts target")
        .is("sync-conflicts");
}

#[test]
fn what_cannot_be_synchronized_is_refused() {
    let mut story = Transcript::on(machine());
    story
        .run("sync --to debian")
        .run("create new")
        .run("sync --from new --to debian")
        .run("sync --to other")
        .then("A list with a line that is none.", |machine| {
            write(machine, OLD, "etc/beadm-rs/synclist", "/etc/motd COPY\n");
        })
        .run("sync --to new")
        .then("A list of its own, with more beside it.", |machine| {
            write(
                machine,
                OLD,
                "etc/beadm-rs/synclist",
                "/etc/motd\n/srv\n/home\n",
            );
            let more = "/srv/private -\n/var/log/app.log APPEND\n";
            write(machine, OLD, "etc/beadm-rs/synclist.d/app.conf", more);
            write(machine, OLD, "etc/motd", "hello\n");
            write(machine, OLD, "srv/a/b/c", "deep\n");
            write(machine, OLD, "srv/private/key", "secret\n");
            write(machine, "rpool/ROOT/debian/var/log", "app.log", "one\n");
        })
        .run("sync --to new")
        .then("A file of the target has two names.", |machine| {
            write(machine, OLD, "etc/motd", "hello again\n");
            machine.with_files(NEW, |root| root.hard_link("etc/motd", root, "etc/issue"));
        })
        .run("sync --to new")
        .then("A symbolic link is in the way.", |machine| {
            remove(machine, NEW, "etc/issue");
            machine.with_files(NEW, |root| {
                root.rename("srv", root, "srv.old")?;
                root.symlink_contents("/tmp", "srv")
            });
            write(machine, OLD, "srv/a/b/c", "deeper\n");
        })
        .run("sync --to new")
        .then("A directory where a file was.", |machine| {
            remove(machine, OLD, "etc/motd");
            write(machine, OLD, "etc/motd/part", "hello\n");
        })
        .run("sync --to new")
        .run("sync --to new --conflicts source")
        .run("sync --to new --conflicts target");
    assert_eq!(read(&story.machine, NEW, "etc/motd"), "hello\n");
    assert_eq!(read(&story.machine, NEW, "srv.old/private/key"), "(none)\n");
    story.is("sync-refused");
}

#[test]
fn a_file_that_is_empty_or_a_link_is_carried_with_its_permissions() {
    let machine = machine();
    write(&machine, OLD, "etc/beadm-rs/synclist", "/srv\n");
    let mut story = Transcript::on(machine);
    story.run("create new").then("Files are made.", |machine| {
        machine.with_files(OLD, |root| {
            root.create_dir_all("srv/kept/empty")?;
            root.write("srv/kept/setuid", "x")?;
            root.write("srv/kept/nothing", "")?;
            root.symlink_contents("/etc/passwd", "srv/kept/link")?;
            for (path, mode) in [("srv/kept/setuid", 0o4751), ("srv/kept/empty", 0o1770)] {
                let mode = cap_std_ext::cap_std::fs::Permissions::from_mode(mode);
                root.set_permissions(path, mode)?;
            }
            Ok(())
        });
    });
    story.run("sync --to new");
    story
        .machine
        .sim
        .with_files(&dataset(NEW), false, &mut |root| {
            let mode = |path: &str| {
                let metadata = root.symlink_metadata(path).unwrap();
                metadata.permissions().mode() & 0o7777
            };
            assert_eq!(mode("srv/kept/setuid"), 0o4751);
            assert_eq!(mode("srv/kept/empty"), 0o1770);
            assert_eq!(root.read("srv/kept/nothing")?, b"");
            let link = root.read_link_contents("srv/kept/link")?;
            assert_eq!(link.to_str(), Some("/etc/passwd"));
            Ok(())
        })
        .unwrap();
    story
        .then(
            "They go again, but for what only the target has.",
            |machine| {
                machine.with_files(OLD, |root| root.remove_dir_all("srv/kept"));
                write(machine, NEW, "srv/kept/empty/own", "mine\n");
            },
        )
        .run("sync --to new")
        .is("sync-files");
    assert_eq!(read(&story.machine, NEW, "srv/kept/empty/own"), "mine\n");
}

#[test]
fn what_the_last_three_synchronizations_began_with_is_kept() {
    let mut story = Transcript::on(machine());
    story.run("create new");
    for time in 1..=5 {
        let hosts = format!("127.0.0.1 localhost\n127.0.0.{time} again\n");
        write(&story.machine, OLD, "etc/hosts", &hosts);
        assert!(story.silently("sync --to new"), "{time}");
    }
    story
        .note("Five times something changed, and was carried.")
        .run("status")
        .run("-H status")
        .run("activate new")
        .reboot()
        .then("What is changed there goes back.", |machine| {
            write(machine, NEW, "etc/hosts", "127.0.0.1 localhost\n");
        })
        .run("failback");
    let hosts = read(&story.machine, OLD, "etc/hosts");
    assert_eq!(hosts, "127.0.0.1 localhost\n");
    story.run("status").is("sync-bases");
}

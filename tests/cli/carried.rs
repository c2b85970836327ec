//! Files that go along when the machine goes over to another environment, and back.

use beadm_rs::os::Platform as _;
use cap_std_ext::cap_std::fs::PermissionsExt as _;

use super::machine::{Machine, dataset};
use super::sync::{NEW, OLD, PASSWD, SHADOW, lived, machine, read, remove, write};
use super::transcript::Transcript;

/// A line at the end of a file.
fn add(machine: &Machine, name: &str, path: &str, line: &str) {
    let text = read(machine, name, path).replace("(none)\n", "");
    write(machine, name, path, &(text + line + "\n"));
}

/// Both change the same field of an account, and the same crontab.
pub(super) fn clash(machine: &Machine) {
    for (name, shell, minute) in [(OLD, "zsh", "10"), (NEW, "fish", "20")] {
        let passwd = read(machine, name, "etc/passwd");
        let passwd = passwd.replace("alice:/bin/bash", &format!("alice:/bin/{shell}"));
        write(machine, name, "etc/passwd", &passwd);
        let crontab = format!("{minute} 1 * * * backup\n");
        write(machine, name, "var/spool/cron/crontabs/alice", &crontab);
    }
}

#[test]
fn what_goes_on_until_the_reboot_goes_along_and_back() {
    let mut story = Transcript::on(machine());
    story
        .run("create new")
        .then("Both are changed.", lived)
        .run("activate -n new")
        .run("activate new")
        .run("status")
        .run("activate new")
        .then(
            "Before the machine goes down, more is changed.",
            |machine| {
                let line = "dave:x:1002:1002::/home/dave:/bin/sh";
                add(machine, OLD, "etc/passwd", line);
            },
        )
        .run("activate new")
        .then(
            "And more, after which nobody asked for anything.",
            |machine| {
                let line = "erin:x:1003:1003::/home/erin:/bin/sh";
                add(machine, OLD, "etc/passwd", line);
            },
        )
        .reboot()
        .run("status")
        .run("-n late-sync")
        .run("late-sync")
        .run("late-sync");
    let passwd = read(&story.machine, NEW, "etc/passwd");
    for name in ["daemon9:x", "alice:x", "carol:x", "dave:x", "erin:x"] {
        assert_eq!(passwd.matches(name).count(), 1, "{name} {passwd}");
    }
    story
        .run("status")
        .then(
            "In the new one an account goes, and a crontab comes.",
            |machine| {
                let gone = read(machine, NEW, "etc/passwd");
                let gone: Vec<&str> = gone
                    .lines()
                    .filter(|line| !line.starts_with("dave"))
                    .collect();
                write(machine, NEW, "etc/passwd", &(gone.join("\n") + "\n"));
                let crontab = "0 4 * * * tidy\n";
                write(machine, NEW, "var/spool/cron/crontabs/erin", crontab);
            },
        )
        .run("failback -n")
        .run("failback")
        .reboot()
        .run("late-sync")
        .is("carried");
    let passwd = read(&story.machine, OLD, "etc/passwd");
    assert!(
        !passwd.contains("dave:") && passwd.contains("erin:"),
        "{passwd}"
    );
    // What a package made there stays there.
    assert!(!passwd.contains("daemon9:"), "{passwd}");
    let crontab = read(&story.machine, OLD, "var/spool/cron/crontabs/erin");
    assert_eq!(crontab, "0 4 * * * tidy\n");
}

#[test]
fn a_conflict_ends_an_activation_and_no_failback() {
    let mut story = Transcript::on(machine());
    story
        .run("create new")
        .then("Both change the same.", clash)
        .run("activate new")
        .run("activate -n new")
        .run("--json activate new")
        .run("status")
        .run("activate --conflicts target --no-sync new")
        .run("activate --conflicts target new")
        .reboot()
        .run("late-sync")
        .then("Both change the same again, and one a secret.", |machine| {
            clash(machine);
            for (name, shell) in [(OLD, "zsh"), (NEW, "fish")] {
                let shadow = SHADOW.replace("alicesecret", &format!("{shell}secret"));
                write(machine, name, "etc/shadow", &shadow);
                let passwd = PASSWD.replace("alice:/bin/bash", &format!("alice:/bin/{shell}2"));
                write(machine, name, "etc/passwd", &passwd);
            }
            remove(machine, NEW, "etc/hosts");
            write(machine, OLD, "etc/hosts", "127.0.0.1 localhost old\n");
        })
        .run("failback")
        .run("status")
        .run("--json status");
    let shadow = read(&story.machine, OLD, "etc/shadow");
    assert!(shadow.contains("zshsecret"), "{shadow}");
    let other = "etc/beadm-rs/conflicts/etc%2Fshadow/other";
    assert!(read(&story.machine, OLD, other).contains("fishsecret"));
    story
        .machine
        .sim
        .with_files(&dataset(OLD), false, &mut |root| {
            let mode =
                |path: &str| root.symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode("etc/beadm-rs/conflicts"), 0o700);
            assert_eq!(mode("etc/beadm-rs/conflicts/etc%2Fshadow"), 0o700);
            assert_eq!(mode(other), 0o600);
            Ok(())
        })
        .unwrap();
    story
        .run("sync --resolve /etc/shadow --keep mine")
        .run("sync --to debian --resolve /etc/group --keep mine")
        .run("sync --to debian --resolve /etc/shadow")
        .run("-n sync --to debian --resolve /etc/shadow --keep other")
        .run("sync --to debian --resolve /etc/shadow --keep other")
        .run("sync --to debian --resolve /etc/shadow --keep mine")
        .run("sync --to debian --resolve /etc/hosts --keep other")
        .run("sync --to debian --resolve etc/passwd --keep mine")
        .run("status");
    let shadow = read(&story.machine, OLD, "etc/shadow");
    assert!(shadow.contains("zshsecret"), "{shadow}");
    assert_eq!(read(&story.machine, OLD, "etc/hosts"), "(none)\n");
    let passwd = read(&story.machine, OLD, "etc/passwd");
    assert!(passwd.contains("zsh2"), "{passwd}");
    assert_eq!(read(&story.machine, OLD, other), "(none)\n");
    story.is("carried-conflicts");
}

#[test]
fn nothing_is_carried_where_that_is_asked_for_and_a_boot_never_fails() {
    let mut story = Transcript::on(machine());
    story
        .run("late-sync")
        .run("create new")
        .then("Both are changed.", lived)
        .run("activate --no-sync new")
        .reboot()
        .run("late-sync");
    assert!(!read(&story.machine, NEW, "etc/passwd").contains("carol"));
    story
        .then("The list has a line that is none.", |machine| {
            write(machine, NEW, "etc/beadm-rs/synclist", "/etc/motd COPY\n");
        })
        .run("activate debian")
        .run("failback")
        .reboot()
        .note("It is still wrong there.")
        .run("late-sync")
        .run("status")
        .then("It is put right, by the next boot.", |machine| {
            remove(machine, NEW, "etc/beadm-rs/synclist");
        })
        .reboot()
        .run("late-sync")
        .run("status")
        .then("What ran before goes.", |machine| {
            let line = "dave:x:1002:1002::/home/dave:/bin/sh";
            add(machine, OLD, "etc/passwd", line);
        })
        .run("activate new")
        .reboot()
        .run("destroy -y debian")
        .run("status")
        .run("--json status")
        .run("late-sync")
        .run("late-sync")
        .is("carried-never");
}

#[test]
fn a_key_that_is_not_loaded_matters_where_the_list_names_something() {
    let machine = machine();
    machine.make("rpool/ROOT/debian/srv", &[("canmount", "noauto")]);
    let locked = |name: &'static str, loaded: bool| {
        move |machine: &Machine| {
            let name = dataset(name);
            let edit = machine
                .sim
                .edit(|edit| edit.encryption(&name, Some(&name), loaded));
            edit.unwrap();
        }
    };
    let mut story = Transcript::on(machine);
    story
        .run("create new")
        .then("Both are changed.", lived)
        .then(
            "/srv of the running one is encrypted, and its key not loaded.",
            locked("rpool/ROOT/debian/srv", false),
        )
        .run("activate -n new")
        .run("activate new");
    assert!(read(&story.machine, NEW, "etc/passwd").contains("carol"));
    story
        .then("The list names something in it.", |machine| {
            let list = "/etc/passwd MERGE\n/srv/www\n";
            write(machine, OLD, "etc/beadm-rs/synclist", list);
        })
        .run("sync --to new")
        .run("activate new")
        .then("But for what is below /srv.", |machine| {
            let list = "/etc/passwd MERGE\n/etc/hosts\n/srv -\n";
            write(machine, OLD, "etc/beadm-rs/synclist", list);
            add(machine, OLD, "etc/hosts", "127.0.0.2 again");
        })
        .run("sync --to new");
    let hosts = read(&story.machine, NEW, "etc/hosts");
    assert!(hosts.contains("127.0.0.2"), "{hosts}");
    story
        .then(
            "What nothing can be read of without a key.",
            locked("rpool/ROOT/debian", false),
        )
        .run("sync --to new")
        .is("carried-locked");
}

//! `check`, and what it stops.

use beadm_rs::zfs::SyncOp;

use super::machine::{Machine, dataset};
use super::transcript::Transcript;

#[test]
fn check_says_what_would_not_boot() {
    let mut transcript = Transcript::on(Machine::with_boot_pool());
    transcript
        .run("check")
        .run("check --nagios")
        .run("create one")
        .then(
            "one loses its init, and another program edits its fstab.",
            |machine| {
                machine.with_files("rpool/ROOT/one", |root| {
                    root.remove_file("usr/sbin/init")?;
                    root.write(
                        "etc/fstab",
                        "rpool/ROOT/debian/var/log /var/log zfs defaults 0 0\n",
                    )?;
                    root.remove_file("usr/sbin/beadm-rs")
                });
            },
        )
        .note("Nothing leads to it: what boots is looked at.")
        .run("check")
        .run("check one")
        .run("-H check -a")
        .run("--json check one")
        .run("check --nagios one")
        .note("An activation is refused, and a dry run of it.")
        .run("activate -n one")
        .run("activate one")
        .run("create -a -e one two")
        .run("activate --no-check one")
        .run("check --nagios")
        .note("The way back is told of, and open as long as there is a kernel.")
        .then("debian loses its init too.", |machine| {
            machine.with_files("rpool/ROOT/debian", |root| {
                root.remove_file("usr/sbin/init")
            });
        })
        .run("failback -n")
        .then("And its kernel.", |machine| {
            machine.with_files("bpool/BOOT/debian", |boot| {
                boot.remove_file("vmlinuz-6.12.0-stand-in")
            });
        })
        .run("failback")
        .run("failback --no-check")
        .is("check");
}

#[test]
fn check_says_what_is_amiss_with_the_machine() {
    let pool = "bpool".parse().unwrap();
    let mut transcript = Transcript::on(Machine::with_boot_pool());
    transcript
        .then("A disk is gone, and what was last good.", |machine| {
            machine
                .sim
                .edit(|edit| edit.pool_health(&pool, "DEGRADED"))
                .unwrap();
            let mark = SyncOp::Mark {
                object: "rpool/ROOT".to_owned(),
                key: "confirmed".to_owned(),
                text: "1".to_owned(),
            };
            let rpool = dataset("rpool/ROOT").pool();
            beadm_rs::zfs::Zfs::transact(&machine.sim, &rpool, &[mark]).unwrap();
        })
        .run("check")
        .run("check --nagios")
        .run("check none")
        .run("check --nagios none")
        .run("-r rpool/NOWHERE check --nagios")
        .run("check --nagios --json")
        .run("check --all debian")
        .run("-H check --findings")
        .then("Somebody's idea of a record.", |machine| {
            let debian = dataset("rpool/ROOT/debian");
            let value = "later\tor never";
            machine
                .sim
                .edit(|edit| edit.property(&debian, "org.beadm-rs:failback", value, false))
                .unwrap();
        })
        .run("list")
        .run("check")
        .is("check-machine");
    let output = transcript.output("--json check --findings");
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["schema"], "beadm-rs/findings/v1");
    assert_eq!(
        object["findings"].as_array().unwrap().len(),
        beadm_rs::check::finding::REGISTRY.len()
    );
}

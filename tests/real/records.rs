//! What this program and others write into a pool, and whose it is.

use crate::machine::Machine;
use crate::ran::{sh, try_sh};

/// Sets one of this program's properties on an object, by hand.
fn mark(machine: &Machine, below: &str, key: &str, value: &str) {
    let setting = format!("org.beadm-rs:{key}={value}");
    sh("zfs", &["set", &setting, &machine.name(below)]);
}

const CHANGES: [(&[&str], &str); 4] = [
    (&["create", "-e", "old", "x"], "create x"),
    (&["activate", "new"], "activate new"),
    (&["destroy", "-y", "new"], "destroy new"),
    (&["rename", "new", "x"], "rename new to x"),
];

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn the_records_of_a_newer_version_are_read_and_not_changed() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    let guid = machine.get("ROOT", "guid");
    let root = machine.name("ROOT");
    mark(&machine, "ROOT", "schema", &format!("{guid} 2"));
    machine.unchanged(|| {
        for (arguments, attempted) in CHANGES {
            let line = format!(
                "refused to {attempted}: {root} was written by a newer beadm-rs (schema 2)"
            );
            machine
                .run(arguments)
                .says(3, &line)
                .offers("use that version; this one only reads here");
        }
        machine.run(&["list"]).succeeds();
        machine.run(&["status"]).succeeds();
    });
    // The same words with another's guid mean nothing.
    mark(&machine, "ROOT", "schema", "17 2");
    machine.run(&["activate", "new"]).succeeds();
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn a_record_that_cannot_be_read_stops_changes_and_is_left_alone() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    let guid = machine.get("ROOT", "guid");
    for text in ["{\"v\":2}", "rubbish", "{\"v\":1,\"id\":\"x\"}"] {
        mark(&machine, "ROOT", "op", &format!("{guid} {text}"));
        machine.unchanged(|| {
            // Every change begins with recovering.
            for (arguments, _) in CHANGES.into_iter().chain([(&["recover"][..], "")]) {
                let line = "refused to recover: an unfinished operation is recorded that this \
                            version does not understand (";
                machine
                    .run(arguments)
                    .fails(3, line)
                    .offers("run 'recover' of the version that began it");
            }
            let list = machine.run(&["list"]).succeeds();
            let said = "an unfinished operation is recorded that cannot be read";
            assert!(list.stderr.contains(said), "{list:#?}");
        });
    }
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn marks_that_came_with_a_stream_do_not_count_and_exclusion_is_inherited() {
    let machine = Machine::new();
    machine.run(&["pin", "old"]).succeeds();
    machine.run(&["snapshot", "old@s"]).succeeds();
    let pipe = "zfs send -p \"$1\" | zfs receive -u -o canmount=noauto \"$2\"";
    let (source, target) = (machine.name("ROOT/old@s"), machine.name("ROOT/received"));
    sh("sh", &["-c", pipe, "sh", &source, &target]);
    let pinned = machine.get("ROOT/old", "org.beadm-rs:pinned");
    assert_eq!(machine.get("ROOT/received", "org.beadm-rs:pinned"), pinned);
    let listed = machine.run(&["list", "-H", "received"]).succeeds().stdout;
    assert!(listed.starts_with("received\t-\t"), "{listed}");
    machine.run(&["destroy", "-y", "received"]).succeeds();
    // What people set for a whole tree is meant for all of it.
    machine.dataset("ROOT/old/cache", &["canmount=noauto"]);
    machine.dataset("ROOT/old/cache/below", &["canmount=noauto"]);
    mark(&machine, "ROOT/old/cache", "exclude", "on");
    machine.clone_of("old", "new");
    let cloned = machine.objects();
    assert!(!cloned.iter().any(|name| name.contains("new/cache")));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn an_environment_half_received_is_neither_cloned_nor_destroyed() {
    let machine = Machine::new();
    let data: Vec<u8> = (0..4_u32 << 18)
        .flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    machine.write("old", "data", data);
    machine.run(&["snapshot", "old@s"]).succeeds();
    let pipe = "zfs send \"$1\" | head -c 2500000 | zfs receive -s -u -o mountpoint=/ \"$2\"";
    let (source, half) = (machine.name("ROOT/old@s"), machine.name("ROOT/half"));
    try_sh("sh", &["-c", pipe, "sh", &source, &half]);
    assert_ne!(machine.get("ROOT/half", "receive_resume_token"), "-");
    machine.unchanged(|| {
        for (arguments, attempted) in [
            (&["create", "-e", "half", "new"][..], "create new"),
            (&["destroy", "-y", "half"], "destroy half"),
        ] {
            let line = format!("refused to {attempted}: {half} is being received");
            machine.run(arguments).says(3, &line);
        }
    });
    sh("zfs", &["receive", "-A", &half]);
    assert_ne!(try_sh("zfs", &["list", &half]).exit, 0);
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn nonsense_in_a_mark_is_told_and_neither_hides_nor_shifts_anything() {
    let machine = Machine::new();
    machine.clone_of("old", "new");
    machine.run(&["pin", "old"]).succeeds();
    let root = machine.name("ROOT");
    let new = machine.name("ROOT/new");
    let set = r#"zfs set "org.beadm-rs:failback=$(printf "$1")" "$2""#;
    let forged = format!(
        r"\n{root}/forged\tfilesystem\t17\t1\t1\t1\t1\t1\t-\tnoauto\tno\toff\t-\tnone\t-\t-\t0\t/"
    );
    for value in ["a\\tb", "a\\nb", "\\377", &forged] {
        sh("sh", &["-ec", set, "sh", value, &new]);
        machine.unchanged(|| {
            let said = format!(
                "org.beadm-rs:failback of {new} holds what beadm-rs does not write; \
                 'zfs inherit org.beadm-rs:failback {new}' takes it away"
            );
            let list = machine.run(&["-H", "list"]).says(0, &said);
            let shown: Vec<Vec<&str>> = list
                .stdout
                .lines()
                .map(|line| line.split('\t').take(2).collect())
                .collect();
            assert_eq!(shown, [["new", "-"], ["old", "RP"]], "{value:?}");
            let check = machine.run(&["check", "old"]);
            assert!(
                check.stdout.contains("warning property-not-understood: "),
                "{check:#?}"
            );
        });
    }
    // Nor does it stand in the way.
    machine.run(&["rename", "new", "newer"]).succeeds();
    machine.run(&["destroy", "-y", "newer"]).succeeds();
}

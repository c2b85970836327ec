//! The language of illumos' beadm.

use std::io::Write as _;
use std::process::Stdio;

use beadm_rs::zfs::Zfs as _;

use super::super::machine::{Machine, dataset};
use super::super::transcript::Transcript;
use super::{err, named, out, usage};

#[test]
fn beadm_makes_and_ends_environments() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    transcript
        .run("beadm create new")
        .run("beadm create -v -d 'a note' -o compression=lz4 -o atime=off noted")
        .run("--script list noted")
        .run("beadm create new@now")
        .run("beadm create new@now")
        .run("beadm create nobody@now")
        .run("beadm create -e new@now later")
        .run("beadm create -e new latest")
        .run("beadm create new")
        .run("beadm create -e nobody more")
        .run("beadm create 'a b'")
        .run("beadm create -o atime more")
        .run("beadm create -o atime=on -o atime=off more")
        .run("beadm create -o canmount=on more")
        .run("beadm create -p nowhere more")
        .run("beadm rename latest last")
        .run("beadm rename last new")
        .run("beadm rename nobody last")
        .note("Nobody says yes.")
        .run("beadm destroy last")
        .run("beadm destroy -F last")
        .run("beadm destroy -F nobody")
        .run("beadm destroy -F debian")
        .run("beadm destroy -F new@now")
        .run("beadm destroy -F later")
        .run("beadm destroy -F new@nobody")
        .note("Snapshots that somebody took go only with -s.")
        .run("beadm destroy -F new")
        .run("beadm destroy -Fs new")
        .run("beadm rollback noted yesterday")
        .run("beadm create noted@yesterday")
        .run("beadm rollback noted yesterday")
        .run("beadm rollback noted@yesterday")
        .run("beadm rollback noted noted@yesterday")
        .run("beadm rollback nobody@yesterday")
        .run("beadm rollback debian@yesterday")
        .run("beadm list -H")
        .is("beadm-changes");
}

#[test]
fn beadm_asks_before_it_destroys() {
    let machine = Machine::with_one_pool();
    let typed = |answer: &str| {
        let mut child = named("beadm", &machine)
            .args(["destroy", "new"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(answer.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    };
    const QUESTION: &str =
        "Are you sure you want to destroy new?\nThis action cannot be undone (y/[n]): ";
    let kept = format!("{QUESTION}new has not been destroyed.\n");
    let made = named("beadm", &machine)
        .args(["create", "new"])
        .output()
        .unwrap();
    assert_eq!(out(&made), "Created successfully\n");
    for (answer, said) in [
        ("\n", ""),
        ("n\n", ""),
        ("", ""),
        ("maybe\n", "Invalid response. Please enter 'y' or 'n'.\n"),
    ] {
        let output = typed(answer);
        assert_eq!(
            (out(&output), err(&output)),
            (kept.as_str(), said),
            "{answer:?}"
        );
        assert_eq!(output.status.code(), Some(0));
    }
    let output = typed("y\n");
    assert_eq!(out(&output), format!("{QUESTION}Destroyed successfully\n"));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        machine
            .sim
            .tree(&[dataset("rpool/ROOT/new")], false)
            .unwrap(),
        []
    );
}

#[test]
fn beadm_lists_what_there_is_in_its_columns() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    assert!(transcript.silently("create zeta"));
    assert!(transcript.silently("create alpha"));
    assert!(transcript.silently("snapshot alpha@by-hand"));
    assert!(transcript.silently("snapshot debian@by-hand"));
    transcript.then("Something is written into one.", |machine| {
        machine
            .sim
            .write_file(&dataset("rpool/ROOT/alpha"), "etc/new", "n".repeat(70_000))
            .unwrap();
    });
    transcript
        .run("beadm")
        .run("beadm list")
        .run("beadm list -v alpha")
        .run("beadm list -H")
        .run("beadm list -d")
        .run("beadm list -s")
        .run("beadm list -a")
        .run("beadm list -ds alpha")
        .run("beadm list -dH alpha")
        .run("beadm list -sH alpha")
        .run("beadm list -aH alpha")
        .run("beadm list -H -k name")
        .run("beadm list -H -K name")
        .run("beadm list -H -k space")
        .run("beadm list -H -K space")
        .run("beadm list -H -k date")
        .run("beadm list -H -K date")
        .run("beadm list nobody")
        .run("beadm mount alpha SCRATCH/alpha")
        .run("beadm list -H alpha")
        .is("beadm-list");
}

#[test]
fn beadm_mounts_and_unmounts() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    assert!(transcript.silently("create new"));
    transcript
        .run("beadm mount new SCRATCH/new")
        .run("beadm mount new SCRATCH/other")
        .run("beadm destroy -F new")
        .run("beadm unmount new")
        .run("beadm unmount new")
        .run("beadm mount -v new")
        .run("beadm umount -f new")
        .run("beadm mount new SCRATCH/new")
        .run("beadm unmount SCRATCH/nothing")
        .run("beadm unmount SCRATCH/new")
        .run("beadm unmount debian")
        .run("beadm unmount nobody")
        .run("beadm mount nobody SCRATCH/new")
        .run("beadm mount new not/absolute")
        .note("What all have in common is mounted here as nowhere else.")
        .run("beadm mount -s ro new SCRATCH/new")
        .run("beadm mount -s rw new SCRATCH/new")
        .run("beadm list -H new")
        .run("beadm mount new SCRATCH/new")
        .run("beadm destroy -fF new")
        .is("beadm-mount");
}

#[test]
fn beadm_activates_for_good() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    assert!(transcript.silently("create new"));
    transcript
        .run("beadm activate -v new")
        .run("beadm list")
        .run("beadm activate debian")
        .run("beadm activate nobody")
        .run("beadm activate -t new")
        .run("beadm activate -T new")
        .run("beadm create -a active")
        .run("beadm create -t once")
        .run("beadm list")
        .run("beadm destroy -F active")
        .is("beadm-activate");
}

#[test]
fn beadm_says_how_it_is_typed() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    transcript.run("beadm nonsense");
    for line in [
        "beadm list -q",
        "beadm list -a -d",
        "beadm list -a -s",
        "beadm list -k date -K name",
        "beadm list -k colour",
        "beadm create",
        "beadm create one two",
        "beadm create -a -t one",
        "beadm create -i one",
        "beadm create one@",
        "beadm create -e one@ two",
        "beadm create -e one two@three",
        "beadm destroy",
        "beadm destroy -x one",
        "beadm destroy -F one@",
        "beadm mount",
        "beadm mount -s both one /mnt",
        "beadm mount one two three",
        "beadm unmount",
        "beadm rename one",
        "beadm rollback",
        "beadm rollback one",
        "beadm rollback one@",
        "beadm activate",
        "beadm activate -t -T one",
        "beadm activate one two",
        "beadm chroot",
        "beadm reroot",
        "beadm export",
        "beadm import -x one",
    ] {
        usage(&mut transcript, line, 1, "usage:\n\tbeadm subcommand");
    }
    transcript.is("beadm-usage");
}

#[test]
fn beadm_has_what_the_port_has_where_it_can() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    assert!(transcript.silently("create new"));
    transcript
        .run("beadm version")
        .run("beadm chroot new")
        .run("beadm chroot nobody")
        .run("beadm reroot new")
        .is("beadm-port");
}

#[test]
fn beadm_takes_v_with_every_command() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    assert!(transcript.silently("create new"));
    transcript
        .run("beadm create -v new@now")
        .run("beadm rename -v new newer")
        .run("beadm rollback -v newer now")
        .run("beadm mount -v newer SCRATCH/newer")
        .run("beadm unmount -v newer")
        .run("beadm destroy -Fsv newer")
        .is("beadm-verbose");
}

#[test]
fn beadm_copies_to_another_pool() {
    let mut transcript = Transcript::on(Machine::with_boot_pool());
    transcript
        .run("beadm create -p tank -o compression=lz4 far")
        .run("--script -r tank/ROOT list -a")
        .run("beadm create -a -p tank further")
        .is("beadm-pool");
}

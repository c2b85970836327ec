//! The commands that only read.

use super::machine::{Machine, dataset};
use super::transcript::Transcript;

#[test]
fn list_in_all_its_ways() {
    let mut transcript = Transcript::on(Machine::with_boot_pool());
    transcript
        .run("create -d 'the first' one")
        .run("create -e one two")
        .then("two grows by a file, and mounts nowhere.", |machine| {
            let two = dataset("rpool/ROOT/two");
            machine
                .sim
                .write_file(&two, "var/big", vec![7; 100_000])
                .unwrap();
            machine
                .sim
                .edit(|edit| edit.property(&two, "mountpoint", "none", false))
                .unwrap();
        })
        .run("list")
        .run("ls one")
        .run("list -a one")
        .run("list -s")
        .run("list -a -s debian")
        .run("list -k name")
        .run("list -k created")
        .run("list -k space")
        .run("list -K name")
        .run("list -K space")
        .run("list --sort-reverse created")
        .run("list -k name -K name")
        .run("list -k colour")
        .run("list --tree")
        .run("list --tree -a")
        .run("list none")
        .run("-r rpool/NOWHERE list")
        .run("-r tank/ROOT list")
        .is("list");
}

#[test]
fn a_description_with_tabs_and_newlines_stays_in_its_line() {
    Transcript::on(Machine::with_one_pool())
        .then("Somebody set a description by hand.", |machine| {
            let root = dataset("rpool/ROOT/debian");
            machine
                .sim
                .edit(|edit| {
                    edit.property(&root, "org.beadm-rs:description", "a\tb\nc", false);
                })
                .unwrap();
        })
        .run("list")
        .run("-H list")
        .is("description");
}

#[test]
fn completions_of_every_shell_ask_the_program() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    for shell in ["bash", "zsh", "fish"] {
        let output = transcript.output(&format!("completions {shell}"));
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("COMPLETE"), "{script}");
    }
    let output = transcript.output("completions csh");
    assert_eq!(output.status.code(), Some(2));
}

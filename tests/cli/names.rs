//! Names that are none, and command lines that are none.

use super::machine::Machine;
use super::transcript::Transcript;

#[test]
fn bad_names_are_refused_with_their_reason() {
    let long = "a".repeat(245);
    let mut transcript = Transcript::on(Machine::with_one_pool());
    transcript.run("create one");
    for name in [
        "''", "'a b'", "a/b", "a@", "a%b", "-a", "ä", "a,b", ".", "..", "'a\tb'",
    ] {
        transcript.run(&format!("create {name}"));
    }
    transcript
        .run("create -- -a")
        .run("rename one 'a b'")
        .run("rename one debian")
        .run("rename none two")
        .run("create one")
        .run("create --empty one")
        .run("create -e none two")
        .run("create 'one@a b'")
        .run("create none@a")
        .run(&format!("create {long}"))
        .run(&format!("rename one {long}"))
        .run(&format!("create {}", "b".repeat(300)))
        .run("activate none")
        .run("destroy -y none")
        .run("describe none text")
        .run("describe one 'two\nlines'")
        .run("create -d 'two\nlines' two")
        .run(&format!("describe one {}", "c".repeat(1025)))
        .run("create -o mountpoint=/x two")
        .run("create -o org.beadm-rs:op=x two")
        .run("create -o nothing two")
        .run("create -o unknown=1 two")
        .run("rollback one")
        .is("names");
}

#[test]
fn command_lines_that_are_none_are_told_apart() {
    Transcript::on(Machine::with_one_pool())
        .run("create")
        .run("create --empty -e debian one")
        .run("create -a --empty one")
        .run("create -a -p rpool one")
        .run("destroy")
        .run("activate")
        .run("activate -t -T debian")
        .run("frobnicate")
        .run("list --colour")
        .run("-R /mnt list")
        .run("rename one")
        .run("-r /rpool list")
        .is("usage");
}

//! Copies to another pool, by whichever engine sends: `zfs send`, or the program
//! itself through libzfs_core (feature `libzetta`). `tests/lab/run` says in
//! `BEADM_RS_ENGINE` which of them a run is about.

use crate::fakes::Fakes;
use crate::machine::Machine;
use crate::ran::sh;

/// The program is the one that sends by itself.
fn sends_itself() -> bool {
    std::env::var("BEADM_RS_ENGINE").is_ok_and(|engine| engine == "libzetta")
}

/// Environment `o:d` with a child, in names of characters that libzetta's own
/// grammar does not know.
fn oddly_named(machine: &Machine) {
    machine.dataset("ROOT/o:d", &["canmount=noauto", "mountpoint=/"]);
    machine.dataset("ROOT/o:d/x y", &["canmount=noauto"]);
    machine.write("o:d", "data", noise(3 << 20));
}

/// Bytes that do not compress.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn whoever_is_to_send_sends_every_byte_of_every_name() {
    let mut machine = Machine::new();
    let other = machine.another_pool("x");
    oddly_named(&machine);
    let fakes = Fakes::new();
    fakes.zfs(r#"echo "$1 $2" >>"$here/calls""#);
    fakes
        .run(&machine, &["create", "-e", "o:d", "-p", &other, "c:p"])
        .succeeds();
    let calls = std::fs::read_to_string(fakes.path().join("calls")).unwrap();
    let count = |of: &dyn Fn(&str) -> bool| calls.lines().filter(|call| of(call)).count();
    assert_eq!(count(&|call| call == "receive -u"), 2, "{calls}");
    let sent = count(&|call| call.starts_with("send ") && call != "send -nP");
    assert_eq!(sent, if sends_itself() { 0 } else { 2 }, "{calls}");
    let status = machine.run(&["status", "--json"]).json("status");
    let engine = if sends_itself() {
        "OpenZFS, sending through libzfs_core"
    } else {
        "OpenZFS"
    };
    assert_eq!(status["engine"], engine);
    let copy = format!("{other}/ROOT/c:p");
    sh("zfs", &["list", &format!("{copy}/x y")]);
    let read = machine.with_dataset(&copy, |root| std::fs::read(root.join("data")));
    assert!(read.unwrap() == noise(3 << 20));
}

#[test]
#[ignore = "needs real ZFS: tests/lab/run"]
fn what_either_end_of_a_stream_says_is_told_and_undone() {
    let mut machine = Machine::new();
    let other = machine.another_pool("x");
    machine.write("old", "data", noise(8 << 20));
    let copy = ["create", "-e", "old", "-p", &other, "copy"];
    // The receiver ends in the middle, and whoever sends does not wait for ever.
    let fakes = Fakes::new();
    fakes.zfs(
        r#"if [ "$1" = receive ]; then
    head -c 1000000 >/dev/null; echo 'cannot receive: out of space' >&2; exit 1
fi"#,
    );
    machine.unchanged(|| {
        fakes
            .run(&machine, &copy)
            .fails(1, "cannot receive: out of space")
            .fails(1, "state: what was changed was undone");
    });
    // What is to be sent goes before it is sent.
    fakes.zfs(
        r#"if [ "$1 $2" = 'send -nP' ]; then
    real "$@" && real destroy "$3"; exit
fi"#,
    );
    machine.unchanged(|| {
        fakes
            .run(&machine, &copy)
            .fails(1, "does not exist")
            .fails(1, "state: what was changed was undone");
    });
    machine.run(&copy).succeeds();
}

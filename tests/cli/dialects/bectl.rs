//! The language of FreeBSD's bectl.

use beadm_rs::zfs::Zfs as _;

use super::super::machine::{Machine, dataset};
use super::super::transcript::Transcript;
use super::usage;

#[test]
fn bectl_makes_and_ends_environments_silently() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    transcript
        .note("A clone is of the root alone, unless -r is given.")
        .run("bectl create shallow")
        .run("bectl create -r deep")
        .run("--script list -a")
        .run("bectl create -e deep -r deeper")
        .run("bectl create -rE both")
        .run("bectl create -E empty")
        .note("Snapshots likewise, and an environment of one.")
        .run("bectl create deep@one")
        .run("bectl create -r deep@two")
        .run("bectl create -e deep@one from-one")
        .run("bectl create -re deep@two from-two")
        .run("bectl create -re deep@one from-part")
        .run("bectl create deep@one")
        .run("bectl create nobody@one")
        .note("Names: one that is there, none that ZFS takes, a whole dataset's, another one's.")
        .run("bectl create deep")
        .run("bectl create 'a b'")
        .run("bectl create a%b")
        .run("bectl create -e nobody new")
        .run("bectl create -e deep@nobody new")
        .run("bectl create rpool/ROOT/whole")
        .run("bectl create rpool/home/other")
        .run("bectl rename whole other")
        .run("bectl rename other deep")
        .run("bectl rename nobody new")
        .run("bectl rename other 'a b'")
        .note("Destroying asks nobody.")
        .run("bectl destroy other")
        .run("bectl destroy empty")
        .run("bectl destroy nobody")
        .run("bectl destroy debian")
        .run("bectl destroy deep@one")
        .run("bectl destroy deep@nobody")
        .note("What somebody else made stays, or goes with -o where nothing else needs it.")
        .run("bectl destroy from-one")
        .run("bectl create -e deep@one from-one")
        .run("bectl create -e deep@one again")
        .run("bectl destroy -o from-one")
        .run("bectl destroy again")
        .run("bectl destroy -o from-one")
        .run("bectl destroy deep@one")
        .run("bectl destroy -o debian")
        .run("bectl list -H")
        .is("bectl-changes");
}

#[test]
fn an_origin_is_there_to_go_only_where_there_is_one() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    assert!(transcript.silently("create --empty alone"));
    transcript
        .run("bectl destroy -o alone")
        .is("bectl-no-origin");
}

#[test]
fn bectl_lists_what_there_is_in_its_columns() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    for line in [
        "snapshot debian@one",
        "snapshot debian@two",
        "create -e debian@one zeta",
        "create --shallow -e debian@two alpha",
        "create alpha@by-hand",
    ] {
        assert!(transcript.silently(line), "{line}");
    }
    transcript.then("Something is written into one.", |machine| {
        machine
            .sim
            .write_file(&dataset("rpool/ROOT/zeta"), "var/new", "n".repeat(70_000))
            .unwrap();
    });
    transcript
        .run("bectl list")
        .run("bectl list -H")
        .run("bectl list -D")
        .run("bectl list -a")
        .run("bectl list -s")
        .run("bectl list -asD")
        .run("bectl list -aH")
        .run("bectl list -sH")
        .note("In another order.")
        .run("bectl list -H -c used")
        .run("bectl list -H -C used")
        .run("bectl list -H -C name")
        .run("bectl list -H -c creation")
        .run("bectl list -H -c origin")
        .run("bectl list -H -c usedds")
        .run("bectl list -H -C usedbydataset")
        .run("bectl list -H -C usedsnap")
        .run("bectl list -H -c usedbysnapshots")
        .run("bectl list -H -c usedrefreserv")
        .run("bectl list -H -c usedbyrefreservation")
        .run("bectl list -H -C name -c used")
        .run("bectl list -c colour")
        .run("bectl mount zeta SCRATCH/zeta")
        .run("bectl list -H")
        .is("bectl-list");
}

#[test]
fn bectl_mounts_deep_and_unmounts() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    assert!(transcript.silently("create new"));
    transcript
        .run("bectl mount new SCRATCH/made/on/the/way")
        .run("bectl mount new")
        .run("bectl list -H")
        .run("bectl destroy new")
        .run("bectl umount new")
        .note("There is nothing to do a second time.")
        .run("bectl unmount -f new")
        .run("bectl unmount debian")
        .run("bectl unmount nobody")
        .run("bectl mount nobody")
        .run("bectl mount nobody SCRATCH")
        .run("bectl mount nobody SCRATCH/not/made")
        .run("bectl mount new SCRATCH")
        .run("bectl mount new SCRATCH/mnt")
        .run("bectl destroy -F new")
        .run("bectl list -H")
        .is("bectl-mount");
    assert!(!transcript.machine.scratch.join("not").exists());
}

#[test]
fn bectl_activates_for_good() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    assert!(transcript.silently("create new"));
    transcript
        .run("bectl activate new")
        .run("bectl list -H")
        .note("What was known to work is what failback leads to, and what boots next is last good.")
        .run("status")
        .run("bectl destroy new")
        .run("bectl activate debian")
        .run("bectl activate nobody")
        .run("bectl activate -t new")
        .run("bectl activate -T")
        .run("bectl activate -T new")
        .note("What would not boot is refused.")
        .run("bectl create -E empty")
        .run("bectl activate empty")
        .then("It has no mountpoint to boot with.", |machine| {
            let none = [("mountpoint".to_owned(), "none".to_owned())];
            machine.sim.set(&dataset("rpool/ROOT/new"), &none).unwrap();
        })
        .run("bectl activate new")
        .is("bectl-activate");
}

#[test]
fn bectl_says_how_it_is_typed() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    transcript.run("bectl -h");
    for line in [
        "bectl",
        "bectl add x",
        "bectl -x",
        "bectl -r",
        "bectl list -q",
        "bectl list debian",
        "bectl create",
        "bectl create one two",
        "bectl create -e",
        "bectl create -E -e debian one",
        "bectl create -E debian@one",
        "bectl activate",
        "bectl activate -t -T one",
        "bectl activate -T one two",
        "bectl destroy",
        "bectl destroy -x one",
        "bectl mount",
        "bectl mount one two three",
        "bectl rename one",
        "bectl rename one two three",
        "bectl umount",
        "bectl unmount -x one",
        "bectl export",
        "bectl export one two",
        "bectl import",
        "bectl check now",
        "bectl jail",
        "bectl jail -x one",
        "bectl ujail",
        "bectl unjail one two",
    ] {
        usage(&mut transcript, line, 64, "Usage:\tbectl {-h");
    }
    transcript.is("bectl-usage");
}

#[test]
fn bectl_works_on_the_environments_it_is_pointed_at_or_on_none() {
    let machine = Machine::with_boot_pool();
    machine.make(
        "tank/ROOT/old",
        &[("canmount", "noauto"), ("mountpoint", "/")],
    );
    let mut transcript = Transcript::on(machine);
    transcript
        .run("bectl check")
        .run("bectl -r tank/ROOT check")
        .run("bectl -r tank/ROOT list -H")
        .run("-r tank/ROOT bectl list -H")
        .run("bectl -r tank/NOTHING list")
        .run("bectl -r tank/NOTHING check")
        .run("bectl -r 9 list")
        .note("A clone of what runs has its /boot.")
        .run("bectl create new")
        .run("--script list -a new")
        .is("bectl-beroot");
    let nothing = Machine::with_pools(&["tank"]);
    let mut transcript = Transcript::on(nothing);
    transcript
        .run("bectl check")
        .run("bectl list")
        .run("beadm list")
        .run("beadm create new")
        .is("dialect-nothing");
}

#[test]
fn bectl_starts_no_jail_here_and_says_what_it_would_not_do_elsewhere() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    assert!(transcript.silently("create new"));
    transcript
        .run("bectl jail new")
        .run("bectl jail -b new")
        .run("bectl jail -U -o host.hostname=a -u host.hostname new ls -l")
        .run("bectl jail -o ip4.addr=10.0.0.2 -o securelevel=2 -o vnet=new new")
        .run("bectl jail -o persist=true new")
        .run("bectl jail -o nonsense new")
        .run("bectl jail nobody")
        .run("bectl ujail nobody")
        .note("Nothing stays mounted.")
        .run("bectl list -H")
        .note("What is only mounted is unmounted, as after jail -U.")
        .run("bectl mount new SCRATCH/new")
        .run("bectl unjail new")
        .run("bectl list -H")
        .is("bectl-jail");
}

//! The languages of `bectl` and `beadm`, on a simulated machine.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use beadm_rs::zfs::Zfs as _;

use super::machine::{Machine, dataset};
use super::transcript::{Transcript, program};

/// The program under another tool's name, on the machine its environment names.
fn named(name: &str, machine: &Machine) -> Command {
    let mut command = program();
    command
        .arg0(format!("/usr/sbin/{name}"))
        .env("BEADM_RS_SIM", machine.directory());
    command
}

fn out(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

/// A command line that is not understood: the usage is the same each time, what comes before
/// it is told.
fn usage(transcript: &mut Transcript, line: &str, exit: i32, begins: &str) {
    let output = program()
        .arg("--sim")
        .arg(transcript.machine.directory())
        .args(line.split(' '))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(exit), "{line}");
    assert_eq!(out(&output), "", "{line}");
    let (said, _) = err(&output)
        .split_once(begins)
        .unwrap_or_else(|| panic!("{line}: {output:?}"));
    transcript.note(&format!("$ {line}\n{}", said.trim_end()));
}

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
fn what_boots_once_is_set_shown_and_taken_back() {
    let machine = Machine::with_one_pool();
    std::fs::write(machine.directory().join("label.vendor"), "freebsd").unwrap();
    let mut transcript = Transcript::on(machine);
    assert!(transcript.silently("create new"));
    assert!(transcript.silently("create other"));
    transcript
        .run("bectl activate -t new")
        .run("bectl list -H")
        .run("bectl destroy new")
        .run("bectl activate -T")
        .run("bectl list -H")
        .run("beadm activate -t new")
        .run("beadm list -H new")
        .run("beadm activate -T other")
        .run("beadm activate -T new")
        .run("beadm create -t once")
        .run("beadm list")
        .is("dialect-once");
}

#[test]
fn a_conflict_of_files_ends_an_activation() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    let passwd = |machine: &Machine, root: &str, user: &str| {
        machine
            .sim
            .write_file(
                &dataset(root),
                "etc/passwd",
                format!("root:x:0:0:root:/root:{user}\n"),
            )
            .unwrap();
    };
    passwd(&transcript.machine, "rpool/ROOT/debian", "/bin/sh");
    assert!(transcript.silently("create new"));
    transcript
        .then(
            "Both sides change the same field of the same user.",
            |machine| {
                passwd(machine, "rpool/ROOT/debian", "/bin/bash");
                passwd(machine, "rpool/ROOT/new", "/bin/zsh");
            },
        )
        .run("bectl activate new")
        .run("beadm activate new")
        .run("bectl list -H")
        .is("dialect-conflict");
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

/// Runs a command line with files for standard input and output; its exit code, and what it says.
fn redirected(machine: &Machine, line: &[&str], from: &str, to: &str) -> (Option<i32>, String) {
    let at = |name: &str| machine.scratch.join(name);
    let output = program()
        .arg("--sim")
        .arg(machine.directory())
        .args(line)
        .stdin(File::open(at(from)).unwrap())
        .stdout(File::create(at(to)).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

#[test]
fn a_stream_goes_out_of_one_dialect_and_into_the_other() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    let machine = &transcript.machine;
    std::fs::write(machine.scratch.join("nothing"), "").unwrap();
    let silent = (Some(0), String::new());
    assert_eq!(
        redirected(machine, &["bectl", "export", "debian"], "nothing", "stream"),
        silent
    );
    let bytes = std::fs::metadata(machine.scratch.join("stream"))
        .unwrap()
        .len();
    assert_eq!(
        redirected(
            machine,
            &["beadm", "export", "-v", "debian"],
            "nothing",
            "other"
        ),
        (Some(0), format!("debian: {bytes} bytes written\n"))
    );
    assert_eq!(
        redirected(machine, &["beadm", "import", "new"], "stream", "said"),
        silent
    );
    assert_eq!(
        redirected(machine, &["bectl", "import", "newer"], "other", "said"),
        silent
    );
    let (exit, said) = redirected(machine, &["bectl", "import", "newer"], "stream", "said");
    assert_eq!(exit, Some(2), "{said}");
    assert!(
        said.starts_with("boot environment name already taken\n"),
        "{said}"
    );
    transcript
        .run("bectl export nobody")
        .note("A stream that is none.")
        .run("bectl import none")
        .run("beadm import -v none")
        .note("No snapshot stays.")
        .run("--script list -s")
        .is("dialect-streams");
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

#[test]
fn what_follows_the_name_of_a_tool_is_the_tools() {
    let machine = Machine::with_one_pool();
    let listed = named("bectl", &machine)
        .args(["list", "-H"])
        .output()
        .unwrap();
    assert!(out(&listed).starts_with("debian\tNR\t/\t"), "{listed:?}");
    let listed = named("beadm", &machine)
        .args(["list", "-H"])
        .output()
        .unwrap();
    assert!(out(&listed).starts_with("debian;"), "{listed:?}");
    // A path that ends like it, and a name that only begins so.
    let other = named("bectl-not", &machine)
        .args(["list", "-H"])
        .output()
        .unwrap();
    assert_eq!(out(&other).split('\t').count(), 7, "{other:?}");
    // Options of this program's own mean nothing to another tool.
    for option in ["-n", "--json", "-y", "-H"] {
        let output = program()
            .arg("--sim")
            .arg(machine.directory())
            .args([option, "bectl", "create", "new"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{option}");
    }
    assert!(
        !machine
            .sim
            .tree(&[dataset("rpool/ROOT/new")], false)
            .unwrap()
            .iter()
            .any(|_| true)
    );
    // A tool's name as a value is none.
    let output = program()
        .arg("--sim")
        .arg(machine.directory())
        .args(["create", "bectl"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

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

/// What the module of Ansible for beadm (community.general) makes of a listing on a system that
/// is not FreeBSD: `_find_be_by_name`, `is_activated`, `is_mounted`.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    exists: bool,
    activated: bool,
    mounted: bool,
}

fn seen(machine: &Machine, name: &str) -> Seen {
    let listed = named("beadm", machine)
        .args(["list", "-H"])
        .output()
        .unwrap();
    assert_eq!(listed.status.code(), Some(0));
    let fields = out(&listed)
        .lines()
        .map(|line| line.split(';').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name));
    Seen {
        exists: fields.is_some(),
        activated: fields
            .as_ref()
            .is_some_and(|fields| fields[2].contains('R')),
        mounted: fields.is_some_and(|fields| !fields[3].is_empty()),
    }
}

#[test]
fn the_module_of_ansible_finds_what_it_looks_for() {
    let machine = Machine::with_one_pool();
    let run = |words: &[&str]| {
        let output = named("beadm", &machine).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
    };
    let is = |exists, activated, mounted| Seen {
        exists,
        activated,
        mounted,
    };
    assert_eq!(seen(&machine, "debian"), is(true, true, true));
    assert_eq!(seen(&machine, "new"), is(false, false, false));
    // present, with a description and options; from a snapshot
    run(&["create", "-d", "upgrade", "-o", "compression=on", "new"]);
    assert_eq!(seen(&machine, "new"), is(true, false, false));
    run(&["create", "new@old"]);
    run(&["create", "-e", "new@old", "second"]);
    // mounted, unmounted
    let on = machine.scratch.join("be");
    run(&["mount", "new", on.as_str()]);
    assert_eq!(seen(&machine, "new"), is(true, false, true));
    run(&["unmount", "-f", "new"]);
    assert_eq!(seen(&machine, "new"), is(true, false, false));
    run(&["mount", "new"]);
    assert!(seen(&machine, "new").mounted);
    run(&["unmount", "new"]);
    // activated
    run(&["activate", "second"]);
    assert_eq!(seen(&machine, "second"), is(true, true, false));
    assert!(!seen(&machine, "debian").activated);
    run(&["activate", "debian"]);
    run(&["activate", "debian"]);
    // absent; what was activated has the snapshot it was made of
    run(&["create", "third"]);
    run(&["destroy", "-F", "third"]);
    assert_eq!(seen(&machine, "third"), is(false, false, false));
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

/// A row of tests/cli/dialects.md.
struct Row {
    tool: &'static str,
    command: &'static str,
    /// The option's letter.
    letter: Option<char>,
    /// The tests, and whether they are on real ZFS.
    tests: Vec<(bool, &'static str)>,
}

fn table() -> Vec<Row> {
    let text = include_str!("dialects.md");
    let mut tool = "";
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            tool = name;
        }
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [command, option, tests] = cells[..] else {
            continue;
        };
        if !tests.contains('`') {
            continue;
        }
        // The scenario is no function.
        let tests = tests.split(", ").filter(|test| *test != "S").map(|test| {
            let real = test.strip_prefix("R ");
            (real.is_some(), real.unwrap_or(test).trim_matches('`'))
        });
        let letter = option.trim_matches('`').strip_prefix('-');
        let letter = letter.and_then(|letter| letter.chars().next());
        rows.push(Row {
            tool,
            command: command.trim_matches('`'),
            letter,
            tests: tests.collect(),
        });
    }
    rows
}

#[test]
fn every_option_has_a_test_and_is_taken() {
    let machine = Machine::with_one_pool();
    let (here, real) = (
        include_str!("dialects.rs"),
        include_str!("../real/dialects.rs"),
    );
    let rows = table();
    assert_eq!(rows.iter().filter(|row| row.tool == "bectl").count(), 33);
    assert_eq!(rows.iter().filter(|row| row.tool == "beadm").count(), 36);
    for Row {
        tool,
        command,
        letter,
        tests,
    } in rows
    {
        for (is_real, test) in tests {
            let source = if is_real { real } else { here };
            assert!(source.contains(&format!("fn {test}()")), "{test}");
        }
        let Some(letter) = letter.filter(|_| !command.is_empty()) else {
            continue;
        };
        // A second word that is no option ends it before anything is done.
        let said = |letter: char| {
            let words = [command, &format!("-{letter}"), "-?"];
            let output = named(tool, &machine).args(words).output().unwrap();
            err(&output).lines().next().unwrap_or_default().to_owned()
        };
        let program = if tool == "bectl" { tool } else { command };
        let taken = said(letter);
        assert_ne!(
            taken,
            format!("{program}: illegal option -- {letter}"),
            "{command}"
        );
        assert_eq!(said('z'), format!("{program}: illegal option -- z"));
    }
    let listed = named("bectl", &machine)
        .args(["list", "-H"])
        .output()
        .unwrap();
    assert_eq!(out(&listed).lines().count(), 1, "nothing was done");
}

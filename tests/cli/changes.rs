//! The commands that change something, where nothing is in their way.

use super::machine::Machine;
use super::transcript::Transcript;

#[test]
fn create_activate_reboot_and_fail_back() {
    Transcript::on(Machine::with_one_pool())
        .run("status")
        .run("create -n -d 'with the upgrade' upgrade")
        .run("create -d 'with the upgrade' upgrade")
        .run("list")
        .run("activate -n upgrade")
        .run("activate upgrade")
        .run("activate upgrade")
        .run("status")
        .reboot()
        .run("list")
        .run("failback -n")
        .run("failback")
        .run("status")
        .reboot()
        .run("list")
        .run("list --tree")
        .is("main-job");
}

#[test]
fn create_in_all_its_ways() {
    Transcript::on(Machine::with_boot_pool())
        .note("A clone of the running one, with /boot.")
        .run("create one")
        .run("list -a one")
        .note("Of another one, of a snapshot, of the root alone, with properties.")
        .run("create -e one two")
        .run("create debian@before")
        .run("create -e debian@before three")
        .run("create --from debian --shallow four")
        .run("create -o compression=zstd -o atime=off five")
        .run("create -a six")
        .run("create -n -a seven")
        .note("An empty one.")
        .run("create --empty -d 'to install into' eight")
        .note("A copy in another pool.")
        .run("create -n -p tank nine")
        .run("create -p tank nine")
        .run("-r tank/ROOT list")
        .run("list")
        .run("list --tree")
        .is("create");
}

#[test]
fn destroy_environments_and_snapshots() {
    Transcript::on(Machine::with_boot_pool())
        .run("create one")
        .run("create -e one two")
        .run("create three")
        .run("snapshot two@a")
        .note("Off a terminal nothing is destroyed without a yes.")
        .run("destroy two@a")
        .run("destroy three")
        .run("destroy -n three")
        .run("destroy -n one")
        .run("destroy -y two@a three")
        .run("destroy -y --keep-origin one")
        .run("list -s")
        .run("mount two SCRATCH/two")
        .run("destroy -y two")
        .run("destroy -y -F two")
        .run("create four")
        .run("destroy -y four debian")
        .run("list")
        .is("destroy");
}

#[test]
fn mount_and_unmount() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    transcript
        .run("create one")
        .run("mount -n one")
        .run("mount one SCRATCH/one")
        .run("mount one SCRATCH/other")
        .run("-H list one")
        .run("unmount -n one")
        .run("unmount one")
        .run("unmount one")
        .run("mount --read-only one SCRATCH/one")
        .run("umount -f one")
        .run("--json mount -n one SCRATCH/one")
        .run("--json mount one SCRATCH/one")
        .run("--json unmount one")
        .run("mount none SCRATCH/one")
        .run("unmount debian")
        .run("mount debian SCRATCH/one");
    std::fs::write(transcript.machine.scratch.join("one/file"), "").unwrap();
    transcript.run("mount one SCRATCH/one").is("mount");
}

#[test]
fn what_belongs_to_the_running_environment_is_mounted() {
    let machine = Machine::with_boot_pool();
    for (name, place) in [("srv", "/srv"), ("home", "/home"), ("log", "/var/log")] {
        let settings = [("canmount", "noauto"), ("mountpoint", place)];
        machine.make(&format!("rpool/ROOT/debian/{name}"), &settings);
    }
    Transcript::on(machine)
        .run("create other")
        .run("mount --running -n")
        .run("--json mount --running -n")
        .note("The directories of a simulated machine are not this one's.")
        .run("mount --running")
        .run("mount --running other")
        .is("mount-running");
}

#[test]
fn rename_snapshot_and_roll_back() {
    Transcript::on(Machine::with_boot_pool())
        .run("rename -n debian stable")
        .run("rename debian stable")
        .run("create one")
        .run("rename one two")
        .run("snapshot")
        .run("snapshot two")
        .run("snapshot two@a")
        .run("snapshot -n two@b")
        .run("snapshot two@a")
        .run("snapshot two@b")
        .run("rollback two@a")
        .run("rollback -n two@a")
        .run("rollback -y two@a")
        .run("list -s")
        .run("status")
        .is("rename-snapshot-rollback");
}

#[test]
fn describe_pin_and_unpin() {
    Transcript::on(Machine::with_one_pool())
        .run("create one")
        .run("describe -n one 'for the weekend'")
        .run("describe one 'for the weekend'")
        .run("pin one")
        .run("pin one")
        .run("list one")
        .run("destroy -y one")
        .run("unpin one")
        .run("unpin one")
        .run("describe one ''")
        .run("list one")
        .is("labels");
}

#[test]
fn scripts_get_objects_and_silence() {
    let mut transcript = Transcript::on(Machine::with_one_pool());
    for line in [
        "--json create one",
        "--json create -n two",
        "--json snapshot one@a",
        "--json activate one",
        "--json activate one",
        "--json failback",
        "--json rename one two",
        "--json describe two note",
        "--json pin two",
        "--json unpin two",
        "--json rollback -y two@a",
        "--json recover",
        "--json status",
        "--json list -a -s",
        "--json destroy -y two",
        "--json destroy -y two",
    ] {
        let output = transcript.output(line);
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let what = match output.status.code() {
            Some(0) => line.split_whitespace().nth(1).unwrap(),
            _ => "error",
        };
        assert_eq!(object["schema"], format!("beadm-rs/{what}/v1"), "{line}");
    }
    transcript
        .run("-H create one")
        .run("-H activate one")
        .run("-H status")
        .run("-H list -a -s")
        .run("-H destroy -y two")
        .is("scripts");
}

//! `run` on a simulated machine: what it would mount, and what it refuses.

use super::machine::{Machine, dataset};
use super::transcript::Transcript;

#[test]
fn run_shows_its_mounts_and_refuses_to_run_in_a_simulation() {
    Transcript::on(Machine::with_boot_pool())
        .run("create one")
        .run("run -n one")
        .run("--json run -n one ls -l")
        .run("run one -- ls -l")
        .run("--json run one ls")
        .run("run -n debian")
        .run("run debian true")
        .run("run none true")
        .then("Its fstab has a place for an ESP of its own.", |machine| {
            let root = dataset("rpool/ROOT/one");
            let fstab = "LABEL=EFI /efi vfat defaults 0 0\n/dev/sda2 /boot/../etc ext4 x 0 0\n";
            machine.sim.write_file(&root, "etc/fstab", fstab).unwrap();
        })
        .run("run -n one")
        .run("run")
        .is("run");
}

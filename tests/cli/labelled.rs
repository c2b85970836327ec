//! A machine whose loader is FreeBSD's or illumos', as far as the pool is concerned.

use std::fs;

use super::machine::Machine;
use super::transcript::Transcript;

fn machine(vendor: &str) -> Machine {
    let machine = Machine::with_one_pool();
    fs::write(machine.directory().join("label.vendor"), vendor).unwrap();
    machine
}

#[test]
fn one_boot_by_the_pools_labels() {
    Transcript::on(machine("freebsd"))
        .run("status")
        .run("create new")
        .run("activate --once -n new")
        .run("activate --once new")
        .run("list")
        .run("status")
        .run("--json status")
        .note("What boots once is neither renamed nor destroyed.")
        .run("rename new newer")
        .run("-y destroy new")
        .run("activate -T")
        .run("activate -T")
        .run("rename new newer")
        .run("activate --once newer")
        .reboot()
        .run("list")
        .run("status")
        .reboot()
        .run("status")
        .note("For good ends for once.")
        .run("activate --once newer")
        .run("activate -n debian")
        .run("activate debian")
        .run("status")
        .note("No tries are counted.")
        .run("activate newer")
        .reboot()
        .run("status")
        .run("kernel-updated")
        .run("failback")
        .run("status")
        .is("label-freebsd");
}

#[test]
fn what_other_programs_keep_in_the_labels_stays() {
    let says = |text: &'static str| {
        move |machine: &Machine| {
            let labels = machine.directory().join("labels");
            fs::create_dir_all(&labels).unwrap();
            fs::write(labels.join("rpool"), text).unwrap();
        }
    };
    Transcript::on(machine("illumos"))
        .run("create new")
        .run("activate debian")
        .then(
            "beadm activate -t new",
            says("nvlist version: 0\n\tversion = 0x1\n\tillumos:bootonce = zfs:rpool/ROOT/new:\n"),
        )
        .run("list")
        .run("-y destroy new")
        .run("activate -T -n")
        .run("--json activate -T -n")
        .then(
            "Something else is to boot once.",
            says("nvlist version: 0\n\tversion = 0x1\n\tillumos:bootonce = zfs:tank/ROOT/x:\n"),
        )
        .run("activate --once new")
        .then(
            "GRUB keeps its block there.",
            says("nvlist version: 0\n\tversion = 0x0\n\tgrub:envmap = saved_entry=0\n"),
        )
        .run("activate --once new")
        .run("activate new")
        .then("They cannot be read.", says("error: 5\n"))
        .run("activate --once debian")
        .run("status")
        .is("label-illumos");
}

#[test]
fn where_nothing_reads_the_labels_nothing_boots_once() {
    let machine = Machine::with_one_pool();
    let config = machine.directory().join("config.toml");
    fs::write(config, "[boot]\nloader = \"label\"\n").unwrap();
    Transcript::on(machine)
        .run("create new")
        .run("activate --once new")
        .run("activate new")
        .run("status")
        .is("label-nobody");
}

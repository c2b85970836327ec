//! What has to be known of a machine that GRUB started, before it is taken over.

use crate::boot::grub::{is_certain, names_what_runs, takeover};
use crate::config::LoaderName;
use crate::host::Host;
use crate::plan::{Refusal, init};
use crate::survey::Survey;

/// How GRUB boots this machine; `None` where something else does, or is to do it.
///
/// # Errors
/// Why it cannot be told, or what is missing.
pub fn look(host: &Host, survey: &Survey) -> Result<Option<init::Grub>, Refusal> {
    let platform = host.platform.as_ref();
    let config = &host.config.boot;
    let wanted = match config.loader {
        LoaderName::Grub => true,
        LoaderName::Auto => names_what_runs(platform),
        LoaderName::Bootfs | LoaderName::Label | LoaderName::SystemdBoot => false,
    };
    let (true, None, Some(running)) = (wanted, &host.altroot, survey.running()) else {
        return Ok(None);
    };
    let found = takeover::takeover(platform, config, survey, &running)?;
    let machine = platform
        .grub_machine(&found.partition)
        .map_err(|error| Refusal::new("take GRUB over", error))?;
    Ok(Some(init::Grub {
        ours: is_certain(platform, None, config.esp.as_deref()),
        files: found.steps,
        partition: found.partition,
        machine,
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::AtomicBool;

    use camino::{Utf8Path, Utf8PathBuf};

    use crate::check::stand_in;
    use crate::execute::{Quiet, execute};
    use crate::host::Host;
    use crate::os::Platform as _;
    use crate::plan::{Plan, Planned, init};
    use crate::survey::{Around, Survey};
    use crate::zfs::sim::{NewPool, Sim};
    use crate::zfs::{DatasetName, Zfs as _};

    /// `debian` runs, started by GRUB, whose files are in it.
    struct Machine {
        sim: Sim,
        directory: Utf8PathBuf,
        _scratch: tempfile::TempDir,
    }

    fn debian() -> DatasetName {
        "rpool/ROOT/debian".parse().unwrap()
    }

    impl Machine {
        fn new() -> Self {
            let scratch = tempfile::tempdir().unwrap();
            let directory = Utf8Path::from_path(scratch.path()).unwrap().join("machine");
            let pool = NewPool {
                name: "rpool".parse().unwrap(),
                size: 1 << 30,
            };
            let sim = Sim::create(&directory, &[pool]).unwrap();
            let set = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
                let owned = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
                pairs.iter().map(owned).collect()
            };
            let container = set(&[("canmount", "off"), ("mountpoint", "none")]);
            sim.create(&"rpool/ROOT".parse().unwrap(), &container)
                .unwrap();
            let root = set(&[("canmount", "noauto"), ("mountpoint", "/")]);
            sim.create(&debian(), &root).unwrap();
            sim.with_files(&debian(), true, &mut |dir| {
                stand_in::write_system(dir, None)?;
                dir.write("etc/fstab", "LABEL=EFI /boot/efi vfat nofail 0 0\n")
            })
            .unwrap();
            sim.reboot_into(&debian()).unwrap();
            fs::create_dir(directory.join("esp")).unwrap();
            fs::create_dir(directory.join("efi")).unwrap();
            let started = "BOOT_IMAGE=/boot/vmlinuz root=ZFS=rpool/ROOT/debian ro quiet\n";
            fs::write(directory.join("cmdline"), started).unwrap();
            Self {
                sim,
                directory,
                _scratch: scratch,
            }
        }

        fn host(&self) -> Host {
            Host::of_simulation(self.sim.clone(), None)
        }

        fn plan(&self) -> Planned {
            let host = self.host();
            let around = Around {
                running: true,
                ..Around::default()
            };
            let survey = Survey::around(&host, &around).unwrap();
            init::plan(
                &survey,
                &init::Request::default(),
                super::look(&host, &survey),
            )
        }

        fn carry_out(&self, plan: &Plan) -> Result<(), String> {
            execute(&self.host(), plan, &Quiet, &AtomicBool::new(false))
                .map_err(|failure| failure.to_string())
        }

        fn has(&self, file: &str) -> bool {
            self.directory.join("esp").join(file).exists()
        }

        fn loader(&self) -> &'static str {
            self.host().loader.name()
        }

        fn fstab(&self) -> String {
            let files = self.sim.running_files().unwrap().unwrap();
            files.root.read_to_string("etc/fstab").unwrap()
        }

        fn cut(&self, from: &str, to: &str) {
            let from = self.directory.join(from);
            fs::rename(from, self.directory.join(to)).unwrap();
        }
    }

    #[test]
    fn grub_is_installed_when_everything_it_will_read_is_there() {
        let machine = Machine::new();
        let plan = machine.plan().unwrap();
        let names: Vec<&str> = plan.steps.iter().map(|step| step.name).collect();
        let at = |wanted: &str| names.iter().position(|name| *name == wanted).unwrap();
        assert!(at("grub-config") < at("grub-bind"), "{names:?}");
        assert!(at("grub-bind") < at("record"), "{names:?}");
        assert_eq!(at("grub-install") + 1, at("lead"), "{names:?}");
        assert_eq!(names.last(), Some(&"lead"));
        let commits = plan.steps.iter().filter(|step| step.commit);
        assert_eq!(commits.count(), 1);
        machine.carry_out(&plan).unwrap();
        assert_eq!(machine.loader(), "GRUB");
        assert!(machine.plan().unwrap().steps.is_empty());
    }

    #[test]
    fn stopped_anywhere_it_is_taken_over_wholly_or_not_at_all() {
        for changes in 0.. {
            assert!(changes < 50, "it never ends");
            let machine = Machine::new();
            let plan = machine.plan().unwrap();
            machine.sim.fail_after(changes);
            let done = machine.carry_out(&plan).is_ok();
            machine.sim.resume();
            // What tells other commands that it is GRUB comes when GRUB is there.
            let installed = machine.has("EFI/debian/grubx64.efi");
            assert!(installed || machine.loader() != "GRUB", "after {changes}");
            assert!(
                !installed || machine.has("grub/grub.cfg"),
                "after {changes}"
            );
            if done {
                break;
            }
            let again = machine.plan().unwrap();
            machine.carry_out(&again).unwrap();
            assert_eq!(machine.loader(), "GRUB", "after {changes}");
            let fstab = machine.fstab();
            assert!(fstab.starts_with("LABEL=EFI /boot/efi"), "{fstab}");
            assert_eq!(fstab.matches("/boot/grub none bind").count(), 1, "{fstab}");
        }
    }

    #[test]
    fn what_fails_before_the_end_leaves_nothing_that_counts() {
        let machine = Machine::new();
        let before = machine.fstab();
        let mut plan = machine.plan().unwrap();
        // The last step but the commit cannot be done.
        let install = plan
            .steps
            .iter_mut()
            .find(|step| step.name == "grub-install");
        install.unwrap().action = crate::plan::Action::Grub(crate::os::grub::GrubChange::Install {
            partition: "/nowhere".into(),
            firmware: crate::os::grub::Firmware::Bios { disks: Vec::new() },
        });
        let failed = machine.carry_out(&plan).unwrap_err();
        assert!(
            failed.ends_with("; what was changed was undone"),
            "{failed}"
        );
        assert_eq!(machine.fstab(), before);
        assert_ne!(machine.loader(), "GRUB");
        assert!(!machine.has("beadm-rs/grubenv"));
    }

    #[test]
    fn an_environment_without_the_line_gets_it_when_it_runs() {
        let machine = Machine::new();
        machine.carry_out(&machine.plan().unwrap()).unwrap();
        let work = &mut |dir: &cap_std_ext::cap_std::fs::Dir| dir.write("etc/fstab", "");
        machine.sim.with_files(&debian(), true, work).unwrap();
        let plan = machine.plan().unwrap();
        let names: Vec<&str> = plan.steps.iter().map(|step| step.name).collect();
        assert_eq!(names, ["grub-bind"]);
        machine.carry_out(&plan).unwrap();
        assert!(machine.fstab().contains("/boot/grub none bind,nofail"));
    }

    #[test]
    fn what_cannot_be_taken_over_is_adopted_and_then_refused() {
        let machine = Machine::new();
        machine.cut("esp", "elsewhere");
        let plan = machine.plan().unwrap();
        let names: Vec<&str> = plan.steps.iter().map(|step| step.name).collect();
        assert_eq!(names, ["commit"]);
        assert!(
            plan.notes[0].contains("no FAT partition is mounted"),
            "{:?}",
            plan.notes
        );
        machine.carry_out(&plan).unwrap();
        let refusal = machine.plan().unwrap_err();
        assert!(refusal.reason.contains("no FAT partition"), "{refusal}");
        machine.cut("elsewhere", "esp");
        fs::write(machine.directory.join("cmdline"), "root=zfs:AUTO\n").unwrap();
        assert!(machine.plan().unwrap().steps.is_empty());
    }
}

//! The loader on a simulated machine that GRUB starts.

mod stopped;
mod switches;
mod take_over;
mod trouble;

use std::fs;

use super::block::{Block, FILE};
use super::menu::{self, Menu};
use super::takeover::{Takeover, takeover};
use super::{names_what_runs, stub};
use crate::boot::machine::{Act, Machine, dataset, stopped_anywhere};
use crate::check::{WANTED, stand_in};
use crate::config;
use crate::os::Platform as _;
use crate::plan::{Action, Plan, Step, provisional};
use crate::zfs::{DatasetName, Guid};

const CONFIGURATION: &str = "set default=\"0\"\nif [ -f $prefix/custom.cfg ]; then\n  source \
                             $prefix/custom.cfg\nfi\n";

/// GRUB started debian by the distribution's menu.
fn before() -> Machine {
    let machine = Machine::new();
    machine.write(
        "cmdline",
        "BOOT_IMAGE=/ROOT/debian@/boot/vmlinuz root=ZFS=rpool/ROOT/debian ro by=it\\'s \"a=b c\"\n",
    );
    machine.write("esp/EFI/debian/grubx64.efi", "");
    machine
}

/// GRUB started debian by this program's menu.
pub(in crate::boot) fn machine() -> Machine {
    let machine = before();
    machine.takes_over();
    machine
}

fn plan(machine: &Machine, operation: &'static str, steps: Vec<Step>) -> Plan {
    Plan {
        id: machine.survey().id,
        operation,
        steps,
        notes: Vec::new(),
        outcome: String::new(),
    }
}

impl Machine {
    fn taken_over(&self) -> Takeover {
        let survey = self.survey();
        let running = survey.running().unwrap();
        takeover(&self.sim, &config::Boot::default(), &survey, &running).unwrap()
    }

    fn takes_over(&self) {
        let Takeover { steps, .. } = self.taken_over();
        self.carry_out(&plan(self, "init", steps)).unwrap();
        self.write("esp/grub/grub.cfg", CONFIGURATION);
        self.write(
            "cmdline",
            "BOOT_IMAGE=(hd0,gpt1)/beadm-rs/x/linux root=ZFS=rpool/ROOT/debian ro\n",
        );
    }

    pub(in crate::boot) fn block(&self) -> Block {
        Block::parse(&fs::read(self.directory.join("esp").join(FILE)).unwrap()).unwrap()
    }

    fn set(&self, block: &Block) {
        self.write(&format!("esp/{FILE}"), &block.text().unwrap());
    }

    pub(in crate::boot) fn menu(&self) -> Menu {
        Menu::parse(&self.files()[&menu::file(self.block().menu)]).unwrap()
    }

    /// What GRUB does by the menu: which environment it starts, and what it
    /// writes before that.
    fn starts(&self) -> String {
        let (block, menu) = (self.block(), self.menu());
        let provisional = |guid: Option<Guid>| {
            let entry = menu.of(guid?)?;
            entry.provisional.as_ref().map(|_| entry.clone())
        };
        let (entry, block) = if let Some(entry) = provisional(block.once) {
            (
                entry,
                Block {
                    once: None,
                    ..block
                },
            )
        } else if let Some(entry) = provisional(block.trial).filter(|_| block.tries > 0) {
            let (tries, done) = (block.tries - 1, block.done + 1);
            (
                entry,
                Block {
                    tries,
                    done,
                    ..block
                },
            )
        } else {
            (menu.of(block.good.unwrap()).unwrap().clone(), block)
        };
        self.set(&block);
        assert!(
            self.files()
                .contains_key(&format!("beadm-rs/{}/linux", entry.image))
        );
        entry.root.leaf().to_owned()
    }

    /// The menus and directories of copies there are.
    fn kept(&self) -> (usize, usize) {
        let files = self.files();
        let count = |end: &str| {
            files
                .keys()
                .filter(|file| file.starts_with("beadm-rs/") && file.ends_with(end))
                .count()
        };
        (count(".cfg"), count("/initrd"))
    }
}

/// Nothing is left but one menu, and what it needs.
fn is_tidy(machine: &Machine, told: &str) {
    let menu = machine.menu();
    for (file, _) in machine.files() {
        let is_needed = match file.strip_prefix("beadm-rs/") {
            None => true,
            Some("grubenv") => true,
            Some(name) if name.ends_with(".cfg") => file == menu::file(machine.block().menu),
            Some(name) => menu.entries.iter().any(|entry| {
                let more = entry.provisional.iter();
                let mut switches = more.flat_map(|more| &more.initrds);
                (name.starts_with(&entry.image) && !name.ends_with(".new"))
                    || switches.any(|switch| *switch == file)
            }),
        };
        assert!(is_needed, "{told}: {file}");
    }
}

fn loader_of(machine: &Machine) -> &'static str {
    machine.host().loader.name()
}

fn seen(machine: &Machine) -> (Option<String>, Option<String>, Option<(u32, u32)>) {
    let state = machine.state();
    let leaf = |name: Option<DatasetName>| name.map(|name| name.leaf().to_owned());
    let trial = state
        .trial
        .map(|trial| (trial.tries_left, trial.tries_done));
    (leaf(state.next), leaf(state.back), trial)
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

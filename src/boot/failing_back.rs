//! The entry that fails back, with both loaders: whatever was done before, it
//! leads where `failback` would, and is never what boots by itself.

use std::fs;

use proptest::prelude::*;

use super::grub::menu;
use super::machine::{Act, Machine, dataset};
use super::{failback, grub, systemd_boot};
use crate::plan::activate::failback_target;
use crate::plan::{Plan, Planned, confirm};
use crate::zfs::Guid;

/// The file of systemd-boot's.
const FILE: &str = "loader/entries/beadm-rs-failback.conf";

/// What happens to a machine.
#[derive(Debug, Clone, Copy)]
enum Event {
    Good(&'static str),
    Trial(&'static str),
    Once(&'static str),
    Failback,
    Destroy(&'static str),
    Rename(&'static str, &'static str),
    /// It starts into one.
    Starts(&'static str),
    Confirm,
    Reject,
    /// A package changes debian's initramfs, and the hook is called.
    Installs,
}

/// What is looked at on a machine with one of the loaders.
struct Looks {
    make: fn() -> Machine,
    /// An environment's own entry that stays, if it has one.
    own: fn(&Machine, Guid) -> Option<String>,
    /// Where the entry that fails back leads; that it is what the environment's
    /// own entry is, apart from the word and the title.
    leads: fn(&Machine) -> Option<Guid>,
}

fn entries(machine: &Machine, guid: Guid) -> Option<String> {
    let begin = format!("loader/entries/beadm-rs-{guid}-");
    let number = |file: &str| -> Option<u64> {
        let rest = file.strip_prefix(&begin)?;
        rest.strip_suffix(".conf")?.parse().ok()
    };
    let files = machine.files();
    let newest = files
        .iter()
        .filter_map(|(file, text)| Some((number(file).filter(|number| *number > 0)?, text)))
        .max_by_key(|(number, _)| *number);
    newest.map(|(_, text)| text.clone())
}

/// The lines of an entry that say what is started.
fn starts(text: &str) -> Vec<&str> {
    let keys = ["linux ", "initrd ", "options "];
    let said = |line: &&str| keys.iter().any(|key| line.starts_with(key));
    text.lines().filter(said).collect()
}

fn led_by_systemd_boot(machine: &Machine) -> Option<Guid> {
    let files = machine.files();
    let text = files.get(FILE)?;
    let guid = failback::leads_to(text).unwrap();
    let own = entries(machine, guid).unwrap_or_else(|| panic!("{text}"));
    let plain = text.replace(" beadm-rs.failback\n", "\n");
    assert_ne!(plain, *text);
    assert_eq!(starts(&plain), starts(&own), "{own}");
    for line in starts(text) {
        if let Some((_, file)) = line.split_once(" /") {
            assert!(files.contains_key(file), "{file}");
        }
    }
    assert!(!text.contains("sort-key"), "{text}");
    Some(guid)
}

fn in_menu(machine: &Machine, guid: Guid) -> Option<String> {
    let menu = machine.menu();
    menu.of(guid).map(|entry| entry.image.clone())
}

fn led_by_grub(machine: &Machine) -> Option<Guid> {
    let menu = machine.menu();
    let files = machine.files();
    let text = &files[&menu::file(machine.block().menu)];
    let shown = text.matches("--id beadm-rs-failback").count();
    assert_eq!(shown, usize::from(menu.failback.is_some()));
    assert_eq!(text.matches("beadm-rs.failback").count(), shown);
    let entry = menu.of(menu.failback?).unwrap();
    assert!(files.contains_key(&format!("beadm-rs/{}/linux", entry.image)));
    menu.failback
}

fn of_systemd_boot() -> Machine {
    let machine = systemd_boot::tests::machine();
    machine.write("efi/LoaderEntrySelected", "beadm-rs-7-1.conf");
    machine
}

const LOADERS: [Looks; 2] = [
    Looks {
        make: of_systemd_boot,
        own: entries,
        leads: led_by_systemd_boot,
    },
    Looks {
        make: grub::tests::machine,
        own: in_menu,
        leads: led_by_grub,
    },
];

impl Machine {
    fn planned(&self, event: Event) -> Planned {
        let (survey, host) = (self.survey(), self.host());
        let loader = host.loader.as_ref();
        match event {
            Event::Good(name) => self.plan(&Act::Good(name)),
            Event::Trial(name) => self.plan(&Act::Trial(name)),
            Event::Once(name) => self.plan(&Act::Once(name)),
            Event::Failback => self.plan(&Act::Failback),
            Event::Destroy(name) => self.plan(&Act::Destroy(name)),
            Event::Rename(old, new) => self.plan(&Act::Rename(old, new)),
            Event::Confirm => confirm::plan(&survey, loader),
            Event::Reject => confirm::plan_reject(&survey, loader, "a test"),
            Event::Installs if survey.datasets.contains_key(&dataset("debian")) => {
                self.installs("more");
                Ok(self.kernel_updated())
            }
            Event::Installs => Ok(Plan::new(&survey, "kernel-updated")),
            Event::Starts(name) => {
                if survey.datasets.contains_key(&dataset(name)) {
                    self.sim.reboot_into(&dataset(name)).unwrap();
                }
                Ok(Plan::new(&survey, "boot"))
            }
        }
    }
}

fn name(machine: &Machine, guid: Guid) -> String {
    let survey = machine.survey();
    let environment = survey.environment_with(guid);
    environment.map_or_else(|| guid.to_string(), |it| it.name().to_owned())
}

/// Where it leads is where `failback` does, if that has its copies.
fn leads_back(machine: &Machine, looks: &Looks, told: &str) {
    let survey = machine.survey();
    let back = failback_target(&survey).ok().map(|back| back.guid());
    let back = back.filter(|guid| (looks.own)(machine, *guid).is_some());
    let named = |guid: Option<Guid>| guid.map(|guid| name(machine, guid));
    assert_eq!(named((looks.leads)(machine)), named(back), "{told}");
    // Without it the same boots.
    if let Some(text) = machine.files().get(FILE) {
        let file = machine.directory.join("esp").join(FILE);
        fs::remove_file(&file).unwrap();
        assert_eq!(machine.state(), survey.boot, "{told}");
        fs::write(&file, text).unwrap();
    }
}

#[test]
fn it_leads_where_a_failback_leads_and_goes_with_what_it_leads_to() {
    for looks in LOADERS {
        let machine = (looks.make)();
        let led = |event: Event| {
            let plan = machine.planned(event).unwrap();
            machine.carry_out(&plan).unwrap();
            leads_back(&machine, &looks, &format!("{event:?}"));
            (looks.leads)(&machine).map(|guid| name(&machine, guid))
        };
        let debian = || Some("debian".to_owned());
        // Nothing was active before.
        assert_eq!(led(Event::Good("debian")), None);
        assert_eq!(led(Event::Good("new")), debian());
        // To go back further than that is not possible.
        assert_eq!(led(Event::Failback), None);
        assert_eq!(led(Event::Trial("new")), debian());
        assert_eq!(led(Event::Once("other")), debian());
        led(Event::Starts("new"));
        assert_eq!(led(Event::Confirm), debian());
        // What it starts is renamed, has another kernel, and ends.
        assert_eq!(led(Event::Rename("debian", "older")), Some("older".into()));
        assert_eq!(led(Event::Rename("older", "debian")), debian());
        machine.installs("another");
        led(Event::Good("debian"));
        assert_eq!(led(Event::Good("new")), debian());
        assert_eq!(led(Event::Trial("other")), Some("new".into()));
        assert_eq!(led(Event::Reject), debian());
        assert_eq!(led(Event::Destroy("debian")), None);
    }
}

#[test]
fn a_file_of_that_name_that_is_somebody_elses_is_left_alone() {
    let machine = of_systemd_boot();
    let another = "# beadm-rs: fails back to 77\ntitle Fail back to debian\nlinux /own/linux\n\
                   options root=ZFS=tank/ROOT/debian beadm-rs.failback\n";
    for text in ["title mine\nlinux /own/linux\n", "", another] {
        machine.write(&format!("esp/{FILE}"), text);
        for name in ["debian", "new", "debian"] {
            machine.act(&Act::Good(name));
            assert_eq!(machine.next().as_deref(), Some(name));
            assert_eq!(machine.files()[FILE], text);
        }
    }
    // One of an environment that is gone from this very pool is its own.
    machine.write(&format!("esp/{FILE}"), &another.replace("tank", "rpool"));
    machine.act(&Act::Good("new"));
    assert_eq!(led_by_systemd_boot(&machine), Some(machine.guid("debian")));
}

/// A few; `PROPTEST_CASES` makes more of them.
fn histories() -> ProptestConfig {
    let default = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig {
            cases: 8,
            ..default
        },
    }
}

fn events() -> impl Strategy<Value = Event> {
    let names = || prop::sample::select(vec!["debian", "new", "other"]);
    prop_oneof![
        3 => names().prop_map(Event::Good),
        3 => names().prop_map(Event::Trial),
        1 => names().prop_map(Event::Once),
        2 => Just(Event::Failback),
        1 => names().prop_map(Event::Destroy),
        1 => names().prop_map(|name| Event::Rename(name, "renamed")),
        1 => names().prop_map(|name| Event::Rename("renamed", name)),
        3 => names().prop_map(Event::Starts),
        2 => Just(Event::Confirm),
        1 => Just(Event::Reject),
        1 => Just(Event::Installs),
    ]
}

proptest! {
    #![proptest_config(histories())]

    /// Also where the machine stops somewhere and the next boot recovers.
    #[test]
    fn whatever_is_done_and_wherever_it_stops_it_leads_where_a_failback_leads(
        history in prop::collection::vec((events(), prop::option::of(0_u64..12)), 1..12),
    ) {
        for looks in LOADERS {
            let machine = (looks.make)();
            for (event, stops) in &history {
                let Ok(plan) = machine.planned(*event) else { continue };
                if let Some(changes) = stops {
                    machine.sim.fail_after(*changes);
                }
                let done = machine.carry_out(&plan);
                machine.sim.resume();
                let told = format!("{event:?} {stops:?} of {history:?}");
                if let (Err(_), false) = (&done, matches!(event, Event::Rename(..))) {
                    // Stale at the most: what it starts is there.
                    if let Some(guid) = (looks.leads)(&machine) {
                        prop_assert!(machine.survey().environment_with(guid).is_some(), "{}", told);
                    }
                }
                machine.recover();
                // A trial that is half confirmed or half rejected is so until that is
                // done again, by the next boot.
                if done.is_err() && matches!(event, Event::Confirm | Event::Reject) {
                    let again = machine.planned(*event).unwrap();
                    machine.carry_out(&again).unwrap();
                }
                leads_back(&machine, &looks, &told);
            }
        }
    }
}

//! A history: deeds, interruptions, recovery, and what has to be true of the
//! machine after each.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use beadm_rs::boot::Bootfs;
use beadm_rs::execute::freight::Freight;
use beadm_rs::execute::{Failure, Quiet, execute_with};
use beadm_rs::host::Host;
use beadm_rs::intent::OpId;
use beadm_rs::plan::{Plan, Planned, recover};
use beadm_rs::survey::{Scope, Survey};
use beadm_rs::zfs::sim::Sim;
use proptest::prelude::*;

use super::check;
use super::deed::{self, Asked, Deed};
use super::fault::{Fault, Faulty};
use super::machine::{self, Layout};
use super::picture::Picture;

/// What comes between a command and its end.
#[derive(Debug, Clone, Copy)]
pub enum Interruption {
    /// The process is killed after so many changes.
    Kill(u8),
    /// The machine loses power after so many changes, and starts again.
    PowerCut(u8),
    /// A call fails.
    Fault(Fault),
}

/// A deed, and what comes between.
#[derive(Debug, Clone)]
pub struct Event {
    deed: Deed,
    pub interruption: Option<Interruption>,
    /// The recovery is killed too, after so many changes.
    again: Option<u8>,
}

impl Event {
    /// A deed that nothing disturbs.
    pub fn undisturbed(deed: Deed) -> Self {
        Self {
            deed,
            interruption: None,
            again: None,
        }
    }
}

/// Any event.
pub fn event() -> impl Strategy<Value = Event> {
    // The longest plans change something a good dozen times.
    let interruption = prop_oneof![
        (0..14_u8).prop_map(Interruption::Kill),
        (0..14_u8).prop_map(Interruption::PowerCut),
        (0..6_u8, 0..16_u8).prop_map(|(after, parts)| Interruption::Fault(Fault { after, parts })),
    ];
    (
        deed::deed(),
        prop::option::of(interruption),
        prop::option::weighted(0.3, 0..3_u8),
    )
        .prop_map(|(deed, interruption, again)| Event {
            deed,
            interruption,
            again,
        })
}

/// A machine on which things happen.
pub struct History {
    sim: Sim,
    /// The identity of the last operation.
    operation: u64,
}

/// The plan of what is asked. Identity and time are those of the operation's
/// number, so that each run of it writes the same words.
///
/// A change looks closely at a few environments only; it has to come to the
/// same as one that looks at everything.
fn plan(sim: &Sim, asked: &Asked, operation: u64) -> Planned {
    let host = machine::host(sim);
    let around = asked.around(&host)?;
    let mut survey = Survey::around(&host, &around).unwrap();
    // The first half is in the names of snapshots.
    survey.id = OpId::from_bits(operation << 32);
    survey.now = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let mut everything = Survey::take(&host, Scope::Change).unwrap();
    everything.id = survey.id;
    everything.now = survey.now;
    everything.properties.clone_from(&survey.properties);
    for (name, dataset) in &survey.datasets {
        if !everything.datasets.contains_key(name) {
            // What was asked for of another pool.
            everything.datasets.insert(name.clone(), dataset.clone());
        }
    }
    let planned = asked.plan(&survey);
    assert_eq!(
        planned,
        asked.plan(&everything),
        "looking closely (left) and looking at everything (right)"
    );
    planned
}

fn run(host: &Host, plan: &Plan, mut freight: Freight) -> Result<(), Failure> {
    execute_with(host, plan, &Quiet, &AtomicBool::new(false), &mut freight)
}

/// Ends what did not end, as every command that changes something does first;
/// only so many changes of it.
fn recover(sim: &Sim, changes: Option<u8>) -> Result<(), Failure> {
    let host = machine::host(sim);
    let plan = recover::plan(&Survey::take(&host, Scope::Change).unwrap(), &Bootfs)
        .unwrap_or_else(|refusal| panic!("recovery is refused: {refusal}"));
    let Some(plan) = plan else { return Ok(()) };
    if let Some(changes) = changes {
        sim.fail_after(changes.into());
    }
    let done = run(&host, &plan, Freight::default());
    sim.resume();
    done
}

fn assert_same(what: &str, expected: &Picture, found: &Picture) {
    assert!(
        expected == found,
        "{what}; expected (-) and found (+):\n{}",
        expected.difference(found)
    );
}

impl History {
    /// One that begins on a machine that was just installed.
    pub fn on(layout: Layout) -> Self {
        Self {
            sim: machine::fresh(layout),
            operation: 0,
        }
    }

    /// One that begins where a good deal has happened: the system that was
    /// installed, the one that runs now and came from it, a third one that came
    /// from a snapshot of that.
    pub fn on_used(layout: Layout) -> Self {
        static ONE: OnceLock<Sim> = OnceLock::new();
        static BOOT: OnceLock<Sim> = OnceLock::new();
        let made = match layout {
            Layout::OnePool => &ONE,
            Layout::BootPool => &BOOT,
            // Its use would start it.
            Layout::Rescued => return Self::on(layout),
        };
        let made = made.get_or_init(|| {
            let mut history = Self::on(layout);
            history.play(&deed::of_a_used_machine().map(Event::undisturbed));
            history.sim
        });
        Self {
            sim: made.fork().unwrap(),
            operation: 0x1000,
        }
    }

    /// How the machine is now.
    pub fn picture(&self) -> Picture {
        Picture::take(&self.sim)
    }

    /// Lets it all happen.
    pub fn play(&mut self, events: &[Event]) {
        let mut before = Picture::take(&self.sim);
        for event in events {
            match &event.deed {
                Deed::Outside(doing) => doing.happens(&self.sim, &before),
                Deed::Command(command) => {
                    if let Some(asked) = command.on(&self.sim, &before) {
                        self.command(&asked, event, &before);
                    }
                }
            }
            before = Picture::take(&self.sim);
            check::no_intent(&before);
        }
    }

    /// A command on the machine, interrupted or not.
    fn command(&mut self, asked: &Asked, event: &Event, before: &Picture) {
        self.operation += 1;
        let planned = plan(&self.sim, asked, self.operation);
        assert_same(
            "planning changes nothing",
            before,
            &Picture::take(&self.sim),
        );
        let Ok(plan) = planned else { return };

        // What becomes of it when nothing comes between.
        let whole = self.sim.fork().unwrap();
        run(&machine::host(&whole), &plan, asked.freight())
            .unwrap_or_else(|failure| panic!("{}: {failure}\n{plan:#?}", plan.operation));
        let after = Picture::take(&whole);
        check::done(asked, &plan, before, &after);

        match event.interruption {
            None => self.sim = whole,
            Some(Interruption::Fault(fault)) => self.fails(asked, &plan, fault, before, &after),
            Some(Interruption::Kill(changes)) => {
                self.stops(asked, &plan, changes);
                self.sim.resume();
                check::at_any_instant(asked, &plan, before, &Picture::take(&self.sim));
                self.comes_back(&plan, event.again, before, &after);
            }
            Some(Interruption::PowerCut(changes)) => {
                let was = self.sim.fork().unwrap();
                self.stops(asked, &plan, changes);
                machine::reboot(&self.sim);
                // What it is compared with was started again as well.
                let [before, after] = [&was, &whole].map(|sim| {
                    machine::reboot(sim);
                    Picture::take(sim)
                });
                let found = Picture::take(&self.sim);
                check::at_any_instant(asked, &plan, &before, &found);
                check::boots_whole(&plan, &before, &after, &found);
                self.comes_back(&plan, event.again, &before, &after);
            }
        }
    }

    /// The plan runs until the machine stops.
    fn stops(&self, asked: &Asked, plan: &Plan, changes: u8) {
        let host = machine::host(&self.sim);
        self.sim.fail_after(changes.into());
        // Whether it came to an end is seen afterwards.
        let _ = run(&host, plan, asked.freight());
    }

    /// Recovery after a stop: the machine is as before, or as after.
    fn comes_back(&self, plan: &Plan, again: Option<u8>, before: &Picture, after: &Picture) {
        if again.is_some() {
            let _ = recover(&self.sim, again);
        }
        recover(&self.sim, None).unwrap_or_else(|failure| panic!("recovery failed: {failure}"));
        let found = Picture::take(&self.sim);
        if &found == before || &found == after {
            return;
        }
        panic!(
            "after a stop and recovery the machine is neither as before nor as after {}.\n\
             From before (-) to found (+):\n{}\nfrom after (-) to found (+):\n{}\n{plan:#?}",
            plan.operation,
            before.difference(&found),
            after.difference(&found)
        );
    }

    /// A call fails: everything is undone, or completed by recovery.
    fn fails(
        &mut self,
        asked: &Asked,
        plan: &Plan,
        fault: Fault,
        before: &Picture,
        after: &Picture,
    ) {
        let faulty = Faulty::new(self.sim.clone(), fault);
        let done = run(&machine::faulty_host(&faulty), plan, asked.freight());
        let name = plan.operation;
        match done {
            Ok(()) => assert_same(
                &format!("{name} succeeded"),
                after,
                &Picture::take(&self.sim),
            ),
            Err(Failure::Undone { step, .. } | Failure::Nothing { step, .. }) => assert_same(
                &format!("{name} failed at {step} and was undone\n{plan:#?}"),
                before,
                &Picture::take(&self.sim),
            ),
            Err(Failure::Unfinished { step, .. }) => {
                recover(&self.sim, None)
                    .unwrap_or_else(|failure| panic!("recovery failed: {failure}"));
                let found = Picture::take(&self.sim);
                assert_same(
                    &format!("{name} stopped at {step} and was completed\n{plan:#?}"),
                    after,
                    &check::without_leftovers(plan, after, &found),
                );
            }
            Err(failure @ Failure::NotUndone { .. }) => {
                panic!("{name} could not be undone: {failure}\n{plan:#?}")
            }
        }
    }
}

/// The guids of what must never be destroyed.
pub fn protected(picture: &Picture) -> BTreeSet<beadm_rs::zfs::Guid> {
    let beroot = machine::dataset("rpool/ROOT");
    let guid = |name: &beadm_rs::zfs::DatasetName| picture.datasets.get(name).map(|i| i.guid);
    let mut kept: BTreeSet<_> = [&picture.running, &picture.next().cloned()]
        .into_iter()
        .flatten()
        .filter_map(guid)
        .collect();
    kept.extend(
        picture
            .mark(&beroot, "confirmed")
            .and_then(|text| text.parse().ok())
            .filter(|guid| picture.with_guid(*guid).is_some()),
    );
    kept.extend(
        picture
            .environments()
            .into_iter()
            .filter(|root| picture.mark(root, "pinned").is_some())
            .filter_map(guid),
    );
    kept
}

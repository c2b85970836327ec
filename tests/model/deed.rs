//! What happens to a machine. Objects are chosen by a number, so that a history shrinks well and
//! each deed means something on any machine.

use beadm_rs::be::{BeName, NewBeName};
use beadm_rs::boot::Bootfs;
use beadm_rs::execute::freight::Freight;
use beadm_rs::host::Host;
use beadm_rs::plan::{
    Planned, Refusal, activate, create, destroy, label, rename, rollback, snapshot,
};
use beadm_rs::survey::{Around, Survey};
use beadm_rs::zfs::DatasetName;
use beadm_rs::zfs::sim::Sim;
use proptest::prelude::*;

use super::machine::dataset;
use super::outside::{Outside, outside};
use super::picture::Picture;
use super::travel;

/// A number that chooses one of what there is.
pub type Pick = u8;

/// The one that is chosen; none where there is none.
pub fn pick<T>(from: &[T], pick: Pick) -> Option<&T> {
    from.get(usize::from(pick) % from.len().max(1))
}

/// Names whose order and prefixes are not those of a tree: '-', '.' and ' '
/// sort before '/'.
const NAMES: [&str; 6] = ["debian-1", "debian.new", "deb", "a", "a-b", "ab"];

/// A command.
#[derive(Debug, Clone)]
pub enum Command {
    Create {
        name: Pick,
        from: Option<Pick>,
        snapshot: Option<Pick>,
        shallow: bool,
        copy: bool,
    },
    CreateEmpty(Pick),
    Activate(Pick),
    Failback,
    Destroy {
        be: Pick,
        force: bool,
        keep_origin: bool,
    },
    DestroySnapshot(Pick, Pick),
    Rename(Pick, Pick),
    Snapshot(Option<Pick>),
    Rollback(Pick, Pick),
    Pin(Pick, bool),
    Describe(Pick, bool),
    /// What an environment's archive holds comes in again, by another name.
    Import(Pick, Pick),
}

/// What happens.
#[derive(Debug, Clone)]
pub enum Deed {
    Command(Command),
    Outside(Outside),
}

/// Any command.
fn command() -> impl Strategy<Value = Command> {
    let p = any::<Pick>;
    let some = || prop::option::of(any::<Pick>());
    prop_oneof![
        6 => (p(), some(), some(), prop::bool::weighted(0.15), prop::bool::weighted(0.15))
            .prop_map(|(name, from, snapshot, shallow, copy)| Command::Create {
                name, from, snapshot, shallow, copy
            }),
        1 => p().prop_map(Command::CreateEmpty),
        5 => p().prop_map(Command::Activate),
        3 => Just(Command::Failback),
        4 => (p(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(be, force, keep_origin)| Command::Destroy { be, force, keep_origin }),
        1 => (p(), p()).prop_map(|(be, of)| Command::DestroySnapshot(be, of)),
        2 => (p(), p()).prop_map(|(be, name)| Command::Rename(be, name)),
        2 => some().prop_map(Command::Snapshot),
        2 => (p(), p()).prop_map(|(be, of)| Command::Rollback(be, of)),
        2 => (p(), prop::bool::weighted(0.8)).prop_map(|(be, on)| Command::Pin(be, on)),
        1 => (p(), any::<bool>()).prop_map(|(be, on)| Command::Describe(be, on)),
        2 => (p(), p()).prop_map(|(be, name)| Command::Import(be, name)),
    ]
}

/// Anything that happens.
pub fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => command().prop_map(Deed::Command),
        2 => outside().prop_map(Deed::Outside),
    ]
}

/// What has happened to a machine in use.
pub fn of_a_used_machine() -> [Deed; 6] {
    let create = |name, from| {
        Deed::Command(Command::Create {
            name,
            from,
            snapshot: None,
            shallow: false,
            copy: false,
        })
    };
    // In the order of names: a, ab, debian.
    [
        create(3, None),
        Deed::Command(Command::Activate(0)),
        Deed::Outside(Outside::Reboot),
        Deed::Outside(Outside::Write(1, 7)),
        Deed::Command(Command::Snapshot(None)),
        create(5, Some(0)),
    ]
}

/// The environment that is chosen.
pub fn environment(picture: &Picture, choice: Pick) -> Option<BeName> {
    let all = picture.environments();
    pick(&all, choice).map(|root| root.leaf().parse().unwrap())
}

/// One that may be destroyed, most often.
fn disposable(picture: &Picture, choice: Pick) -> Option<BeName> {
    let running = picture.running.as_ref();
    let all: Vec<&DatasetName> = picture
        .environments()
        .into_iter()
        .filter(|root| {
            choice.is_multiple_of(8) || (running != Some(*root) && picture.next() != Some(*root))
        })
        .collect();
    pick(&all, choice).map(|root| root.leaf().parse().unwrap())
}

/// One that does not run and has snapshots.
fn with_snapshots(picture: &Picture, choice: Pick) -> Option<BeName> {
    let all: Vec<&DatasetName> = picture
        .environments()
        .into_iter()
        .filter(|root| {
            picture.running.as_ref() != Some(*root) && !picture.datasets[*root].snapshots.is_empty()
        })
        .collect();
    pick(&all, choice).map(|root| root.leaf().parse().unwrap())
}

fn component(picture: &Picture, be: &BeName, choice: Pick) -> String {
    let root = be.below(&dataset("rpool/ROOT")).unwrap();
    let snapshots = picture.datasets.get(&root).map(|item| &item.snapshots);
    snapshots
        .and_then(|all| pick(all, choice))
        .map_or("none", |snap| snap.name.component())
        .to_owned()
}

fn new_name(choice: Pick) -> NewBeName {
    pick(&NAMES, choice).unwrap().parse().unwrap()
}

/// What a command has to look at.
type Surroundings = dyn Fn(&Host) -> Result<Around, Refusal>;

/// What a command is going to be asked.
pub struct Asked {
    /// Of which environments: their trees are all it may change.
    pub named: Vec<DatasetName>,
    /// It makes something of a snapshot that was there before.
    pub from_snapshot: bool,
    pub(super) around: Box<Surroundings>,
    pub(super) plan: Box<dyn Fn(&Survey) -> Planned>,
    /// What comes in.
    pub(super) freight: Box<dyn Fn() -> Freight>,
}

impl Asked {
    /// What has to be looked at.
    pub fn around(&self, host: &Host) -> Result<Around, Refusal> {
        (self.around)(host)
    }

    /// The plan, or why not.
    pub fn plan(&self, survey: &Survey) -> Planned {
        (self.plan)(survey)
    }

    /// What comes in, anew each time it is carried out.
    pub fn freight(&self) -> Freight {
        (self.freight)()
    }
}

pub(super) fn asked(
    named: &[&BeName],
    around: Around,
    plan: impl Fn(&Survey) -> Planned + 'static,
) -> Asked {
    Asked {
        named: named
            .iter()
            .map(|name| name.below(&dataset("rpool/ROOT")).unwrap())
            .collect(),
        from_snapshot: false,
        around: Box::new(move |_| Ok(around.clone())),
        plan: Box::new(plan),
        freight: Box::new(Freight::default),
    }
}

impl Command {
    /// What it means on this machine; nothing where there is nothing to choose.
    pub fn on(&self, sim: &Sim, picture: &Picture) -> Option<Asked> {
        let be = |choice: Pick| environment(picture, choice);
        Some(match *self {
            Self::Create {
                name,
                from,
                snapshot,
                shallow,
                copy,
            } => {
                let from = from.map(|choice| be(choice).unwrap());
                let snapshot = snapshot
                    .zip(from.as_ref())
                    .map(|(choice, from)| component(picture, from, choice));
                let tank = "tank".parse().unwrap();
                let copy = copy && picture.bootfs.contains_key(&tank);
                let request = create::Request {
                    name: new_name(name),
                    from: create::From {
                        environment: from,
                        snapshot,
                    },
                    description: None,
                    settings: Vec::new(),
                    pool: copy.then_some(tank),
                    shallow,
                };
                return Some(create_as(request));
            }
            Self::CreateEmpty(name) => {
                let request = create::Request {
                    name: new_name(name),
                    from: create::From {
                        environment: None,
                        snapshot: None,
                    },
                    description: None,
                    settings: Vec::new(),
                    pool: None,
                    shallow: false,
                };
                let named = request.name.name().clone();
                asked(&[&named], Around::default(), move |survey| {
                    create::plan_empty(survey, &request)
                })
            }
            Self::Activate(choice) => {
                let request = activate::Request {
                    name: be(choice)?,
                    once: false,
                    no_trial: false,
                };
                let named = request.name.clone();
                asked(&[&named], activate::around(&request.name), move |survey| {
                    activate::plan(survey, &Bootfs, &request)
                })
            }
            Self::Failback => Asked {
                named: Vec::new(),
                from_snapshot: false,
                around: Box::new(|host| {
                    let survey = Survey::around(host, &Around::default()).unwrap();
                    let target = activate::failback_target(&survey)?;
                    Ok(activate::around(&target.name().parse().unwrap()))
                }),
                plan: Box::new(|survey| activate::plan_failback(survey, &Bootfs)),
                freight: Box::new(Freight::default),
            },
            Self::Destroy {
                be: choice,
                force,
                keep_origin,
            } => {
                let request = destroy::Request {
                    name: disposable(picture, choice)?,
                    force,
                    origins: match keep_origin {
                        true => destroy::Origins::Keep,
                        false => destroy::Origins::Own,
                    },
                };
                let named = request.name.clone();
                asked(&[&named], Around::one(&request.name), move |survey| {
                    destroy::plan(survey, &Bootfs, &request)
                })
            }
            Self::DestroySnapshot(choice, of) => {
                let name = be(choice)?;
                let component = component(picture, &name, of);
                asked(&[&name.clone()], Around::one(&name), move |survey| {
                    snapshot::plan_destroy(survey, &name, &component)
                })
            }
            Self::Rename(choice, to) => {
                let (old, new) = (be(choice)?, new_name(to));
                let named = [&old.clone(), &new.name().clone()];
                asked(&named, Around::one(&old), move |survey| {
                    rename::plan(survey, &Bootfs, &old, &new)
                })
            }
            Self::Snapshot(choice) => {
                let request = snapshot::Request {
                    environment: choice.map(|choice| be(choice).unwrap()),
                    snapshot: None,
                    shallow: false,
                };
                let around = Around::one_or_running(request.environment.as_ref());
                asked(&[], around, move |survey| snapshot::plan(survey, &request))
            }
            Self::Rollback(choice, of) => {
                let name = with_snapshots(picture, choice)?;
                let request = rollback::Request {
                    snapshot: component(picture, &name, of),
                    name,
                };
                let named = request.name.clone();
                asked(&[&named], Around::one(&request.name), move |survey| {
                    rollback::plan(survey, &request)
                })
            }
            Self::Pin(choice, on) => {
                let name = disposable(picture, choice)?;
                asked(&[&name.clone()], Around::default(), move |survey| {
                    label::pin(survey, &name, on)
                })
            }
            Self::Describe(choice, on) => {
                let name = be(choice)?;
                let text = if on { "a note" } else { "" };
                asked(&[&name.clone()], Around::default(), move |survey| {
                    label::describe(survey, &name, text)
                })
            }
            Self::Import(choice, name) => {
                let archive = travel::archive(sim, &be(choice)?)?;
                travel::import(new_name(name), archive)
            }
        })
    }
}

fn create_as(request: create::Request) -> Asked {
    let here = dataset("rpool/ROOT");
    let elsewhere = request
        .pool
        .as_ref()
        .map(|pool| create::beroot_in(&here, pool).unwrap());
    let beroot = elsewhere.as_ref().unwrap_or(&here);
    Asked {
        named: vec![request.name.name().below(beroot).unwrap()],
        from_snapshot: request.from.snapshot.is_some(),
        around: Box::new({
            let around = Around {
                properties: true,
                elsewhere,
                ..Around::one_or_running(request.from.environment.as_ref())
            };
            move |_| Ok(around.clone())
        }),
        plan: Box::new(move |survey| create::plan(survey, &request)),
        freight: Box::new(Freight::default),
    }
}

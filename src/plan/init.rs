//! A system that is there already, taken over: the version of the records and
//! the last good environment, noted on the beroot; and GRUB, where it started the
//! machine, moved out of the environments.

use camino::Utf8PathBuf;

use super::provisional::{mark, unmark};
use super::{Action, Plan, Planned, Refusal, Step, changeable, environment, finished};
use crate::be::{BeName, BootEnvironment};
use crate::boot::grub;
use crate::os::grub::{GrubChange, GrubMachine};
use crate::survey::{LOADER, SCHEMA, Survey};
use crate::zfs::{Canmount, Mountpoint};

/// `init`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The environment that becomes last good where none is running.
    pub name: Option<BeName>,
    /// Roots with `canmount=on` get `canmount=noauto`.
    pub noauto: bool,
    /// The units of this project that are installed in the running system and not
    /// enabled, each with the links that enable it.
    pub units: Vec<(String, Vec<String>)>,
}

/// GRUB, on a machine that it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grub {
    /// It boots by this program's menu already.
    pub ours: bool,
    /// Where the partition is mounted that it is to have its files on.
    pub partition: Utf8PathBuf,
    /// The steps that make this program's files there, the lines that lead GRUB to
    /// them last; what is there and in order has none.
    pub files: Vec<Step>,
    /// How it is installed.
    pub machine: GrubMachine,
}

/// The plan of adopting what is below the survey's beroot. Empty where that was
/// done before.
///
/// # Errors
/// Why it is refused.
pub fn plan(survey: &Survey, request: &Request, grub: Result<Option<Grub>, Refusal>) -> Planned {
    let attempted = format!("adopt {}", survey.beroot);
    let pool = survey.beroot.pool();
    changeable(survey, &attempted, [&pool])?;
    let good = last_good(survey, &attempted, request)?;
    let mut plan = Plan::new(survey, "init");
    if request.noauto {
        plan.steps.extend(
            survey
                .environments()
                .filter(|environment| {
                    environment.root.canmount == Canmount::On
                        && matches!(environment.root.mountpoint, Mountpoint::Path(_))
                })
                .map(|environment| noauto(&environment)),
        );
    }
    if !request.units.is_empty() {
        let enable = |off| Action::Enable {
            units: request.units.clone(),
            off,
        };
        plan.steps
            .push(Step::new("enable", enable(false)).undone_by(vec![enable(true)]));
    }
    let mut marks = Vec::new();
    let mut unmarks = Vec::new();
    let mut note = |key: &str, text: String, before: Option<String>| {
        marks.push(mark(survey, key, text));
        unmarks.push(match before {
            Some(text) => mark(survey, key, text),
            None => unmark(survey, key),
        });
    };
    if !survey.has_schema() {
        note("schema", SCHEMA.to_string(), None);
    }
    if survey.last_good() != Some(good.guid()) {
        let before = survey.last_good().map(|guid| guid.to_string());
        note("confirmed", good.guid().to_string(), before);
    }
    let (prepare, install) = match grub.and_then(|grub| steps_of_grub(&attempted, grub)) {
        Ok(steps) => steps,
        // What was asked for the second time has nothing else to do.
        Err(refusal) if marks.is_empty() && plan.steps.is_empty() => return Err(refusal),
        Err(refusal) => {
            let remedy = refusal.remedy.map(|remedy| format!("; {remedy}"));
            plan.notes.push(format!(
                "GRUB goes on booting what it boots now: {}{}; then beadm-rs init again",
                refusal.reason,
                remedy.unwrap_or_default()
            ));
            (Vec::new(), Vec::new())
        }
    };
    plan.steps.extend(prepare);
    plan.outcome = if marks.is_empty() && plan.steps.is_empty() {
        format!(
            "{} was adopted before; last good is {}",
            survey.beroot,
            good.name()
        )
    } else {
        format!("{} is adopted; last good is {}", survey.beroot, good.name())
    };
    if !request.units.is_empty() {
        let names: Vec<&str> = request
            .units
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        plan.outcome.push_str(&format!(
            "; at the next boot {} is started",
            names.join(", ")
        ));
    }
    if install.is_empty() {
        plan.transact("commit", &pool, marks);
        if let Some(step) = plan.steps.last_mut() {
            step.commit = true;
        }
        return Ok(plan);
    }
    marks.push(mark(survey, LOADER, grub::NAME.to_owned()));
    unmarks.push(match survey.recorded_loader() {
        Some(recorded) => mark(survey, LOADER, recorded.to_owned()),
        None => unmark(survey, LOADER),
    });
    plan.transact("record", &pool, marks);
    if let Some(step) = plan.steps.last_mut().filter(|step| step.name == "record") {
        let operations = unmarks;
        step.undo = vec![Action::Transact { pool, operations }];
    }
    plan.steps.extend(install);
    plan.outcome
        .push_str("; GRUB has its files on its partition, outside the environments");
    Ok(plan)
}

/// The steps by which GRUB is taken over: those that the machine's boot does not
/// depend on, and the last ones, from its installation on.
///
/// Until GRUB is installed, whatever starts the machine now reads nothing of what
/// is made. Then it reads what the distribution's scripts made, which boots what
/// they always booted; and with the lines that lead to it, this program's menu.
/// Those come last: with them every command takes GRUB for this program's.
fn steps_of_grub(attempted: &str, grub: Option<Grub>) -> Result<(Vec<Step>, Vec<Step>), Refusal> {
    let Some(grub) = grub else {
        return Ok(Default::default());
    };
    let partition = grub.partition;
    let bind = |off| {
        Action::Grub(GrubChange::Bind {
            partition: partition.clone(),
            off,
        })
    };
    let bound = (!grub.machine.bound)
        .then(|| Step::new("grub-bind", bind(false)).undone_by(vec![bind(true)]));
    let mut prepare = grub.files;
    if grub.ours {
        prepare.extend(bound);
        return Ok((prepare, Vec::new()));
    }
    if grub.machine.elsewhere {
        return Err(Refusal::new(
            attempted,
            "GRUB's programs are called grub2-* here (Fedora, RHEL, SUSE): it looks for its files \
             in /grub2, where beadm-rs has no menu, and grub2-install of Fedora and RHEL installs \
             nothing for UEFI",
        )
        .remedy(
            "have systemd-boot or ZFSBootMenu start this machine; or make entries for what is \
             activated by hand (grubby, grub2-mkconfig)",
        ));
    }
    if !grub.machine.missing.is_empty() {
        return Err(Refusal::new(
            attempted,
            format!(
                "GRUB started this machine and cannot be installed anew: {} is missing",
                grub.machine.missing.join(", ")
            ),
        )
        .remedy("install the packages of GRUB that have it"));
    }
    let lead = prepare.iter().position(|step| step.name.contains("lead"));
    let last = prepare.split_off(lead.unwrap_or(prepare.len()));
    prepare.push(Step::new(
        "grub-config",
        Action::Grub(GrubChange::Configure {
            partition: partition.clone(),
        }),
    ));
    prepare.extend(bound);
    let install = Action::Grub(GrubChange::Install {
        partition,
        firmware: grub.machine.firmware,
    });
    let mut install = vec![Step::new("grub-install", install)];
    install.extend(last);
    if let Some(step) = install.last_mut() {
        step.commit = true;
    }
    Ok((prepare, install))
}

/// `zfs set canmount=noauto` neither mounts nor unmounts (`zfs_prop_set_list_flags`
/// in libzfs: only `off` does).
fn noauto(environment: &BootEnvironment<'_>) -> Step {
    let set = |value: &str| Action::Set {
        dataset: environment.root.name.clone(),
        settings: vec![("canmount".to_owned(), value.to_owned())],
    };
    Step::new("noauto", set("noauto")).undone_by(vec![set("on")])
}

/// What is known to work: what runs; where nothing does, the one named, the one
/// known before, what boots next, or the only one there is.
fn last_good<'a>(
    survey: &'a Survey,
    attempted: &str,
    request: &Request,
) -> Result<BootEnvironment<'a>, Refusal> {
    let known = survey
        .last_good()
        .and_then(|guid| survey.environment_with(guid));
    if let Some(running) = survey.running() {
        return match &request.name {
            Some(name) if name.as_str() != running.name() => Err(Refusal::new(
                attempted,
                format!(
                    "{name} cannot be called last good while {} runs",
                    running.name()
                ),
            )
            .remedy("leave the name out; beadm-rs activate NAME makes it boot next")),
            _ => Ok(known.unwrap_or(running)),
        };
    }
    if let Some(name) = &request.name {
        let named = environment(survey, attempted, name)?;
        finished(survey, attempted, &named)?;
        if let Some(why) = named.unbootable() {
            return Err(
                Refusal::new(attempted, format!("{name} cannot be booted: {why}"))
                    .remedy("name another one, or set that right first"),
            );
        }
        return Ok(named);
    }
    if let Some(found) = known.or_else(|| survey.next()) {
        return Ok(found);
    }
    let mut bootable = survey
        .environments()
        .filter(|environment| environment.unbootable().is_none());
    match (bootable.next(), bootable.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Refusal::new(
            attempted,
            format!("no environment below {} can be booted", survey.beroot),
        )
        .remedy("beadm-rs list shows them; zfs set mountpoint=/ on the one that is a root")),
        _ => Err(Refusal::new(
            attempted,
            format!(
                "none is running, pool {} has no bootfs, and there are several: {}",
                survey.beroot.pool(),
                survey.names()
            ),
        )
        .remedy("name the one that is known to work: beadm-rs init NAME")),
    }
}

//! `init`.

use std::cell::RefCell;
use std::io::{self, Write};

use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::completions::environments;
use super::context::{Context, Report};
use super::error::Trouble;
use super::output;
use crate::adopt::units::not_enabled;
use crate::adopt::{Adoption, Look, findings, grub};
use crate::be::BeName;
use crate::os::Files;
use crate::os::grub::GrubChange;
use crate::plan::{Action, Plan, init};
use crate::survey::{Around, Survey};
use crate::zfs::DatasetName;

/// How many shared datasets are named in a line; `--json` has them all.
const SHARED_SHOWN: usize = 8;

/// Take over a system that is on ZFS already, as it is
///
/// Finds out where the boot environments are and whose layout that is, says
/// what it found, and notes on the beroot that it is in use and which
/// environment is known to work: the running one; from a rescue system (-R) the
/// one named, or what boots next. Layouts that are not supported are refused by
/// name. Units of beadm-rs that are installed in the running system are enabled.
/// Nothing else is set without being asked for, and what is shared by all
/// environments, or belongs to other tools, is named and left alone. A second
/// time there is nothing to do.
///
/// Where GRUB started the machine, it gets its files on the EFI system partition
/// (or whatever FAT file system is mounted there, on a machine with a BIOS),
/// outside of all environments, and this program's menu; it is installed anew
/// for that, last of all, and only after a yes. The manual page says more.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Set canmount=noauto on the roots of boot environments that have canmount=on and would
    /// be mounted over another one's
    #[arg(long)]
    noauto: bool,

    /// The boot environment that is known to work, where none is running
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(environments))]
    name: Option<BeName>,
}

/// What is there, read anew each time.
fn adoption(context: &Context) -> Result<Adoption, Trouble> {
    let mut look = Look::take(&context.host)?;
    let beroot = look.place()?;
    look.read_properties(&context.host, &beroot)?;
    let mut adoption = look.recognise(&beroot)?;
    if let Some(files) = running_files(context, &beroot)? {
        let mounts = context.host.platform.surroundings()?.loader;
        adoption.look_at_files(&files.root, &mounts)?;
    }
    Ok(adoption)
}

/// The files of the system that runs, where that is what is adopted and not
/// what a rescue system looks at.
fn running_files(context: &Context, beroot: &DatasetName) -> Result<Option<Files>, Trouble> {
    let running = context.host.platform.root_dataset()?;
    let is_ours = running.and_then(|root| root.parent()).as_ref() == Some(beroot);
    if context.host.altroot.is_some() || !is_ours {
        return Ok(None);
    }
    Ok(context.host.platform.running_files()?)
}

/// What a person has to agree to: that the machine's loader is installed anew.
fn question(plan: &Plan) -> Option<String> {
    plan.steps.iter().find_map(|step| match &step.action {
        Action::Grub(change @ GrubChange::Install { .. }) => Some(format!(
            "install GRUB anew, with its files outside the environments ({change})"
        )),
        _ => None,
    })
}

pub(super) fn run(mut context: Context, args: Args) -> anyhow::Result<()> {
    // From here on everything is about what was found, and a survey does not
    // look for another place.
    let beroot = adoption(&context)?.beroot;
    let files = running_files(&context, &beroot)?;
    context.host.beroot = Some(beroot);
    let request = init::Request {
        name: args.name,
        noauto: args.noauto,
        units: files
            .map(|files| not_enabled(&files.root))
            .unwrap_or_default(),
    };
    let found = RefCell::new(None);
    let report = context.change(
        |host| {
            found.replace(Some(adoption(&context)?));
            let around = Around {
                running: true,
                ..Around::default()
            };
            Ok(Survey::around(host, &around)?)
        },
        |survey| init::plan(survey, &request, grub::look(&context.host, survey)),
        question,
    )?;
    let Some(mut adoption) = found.into_inner() else {
        return Ok(());
    };
    if report.done && request.noauto {
        adoption
            .findings
            .retain(|finding| finding.name != findings::CANMOUNT_ON);
    }
    if report.done && question(&report.plan).is_some() {
        adoption
            .findings
            .retain(|finding| finding.name != findings::LOADER_NAMES_DATASET);
    }
    print(&context, &adoption, &report)
}

fn print(context: &Context, adoption: &Adoption, report: &Report) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if context.json {
        let content = json!({
            "done": report.done,
            "changed": report.done && !report.plan.steps.is_empty(),
            "outcome": report.plan.outcome,
            "layout": { "name": adoption.layout.name, "title": adoption.layout.title },
            "beroot": adoption.beroot,
            "boot_roots": adoption.boot_roots,
            "shared": adoption.shared,
            "foreign": adoption.foreign,
            "findings": adoption.findings,
            "recovered": report.recovered,
            "plan": report.plan,
        });
        return Ok(output::json(&mut out, "init", content)?);
    }
    if context.script {
        let mut rows = rows(adoption);
        rows.extend(adoption.findings.iter().map(|finding| {
            vec![
                finding.severity.as_str().to_owned(),
                finding.name.to_owned(),
                finding.text.clone(),
                finding.remedy.clone(),
            ]
        }));
        return Ok(output::tabs(&mut out, &rows)?);
    }
    for row in rows(adoption) {
        if let [key, value] = row.as_slice() {
            writeln!(out, "{key:>12}: {value}")?;
        }
    }
    print_findings(&mut out, adoption)?;
    if report.done {
        for note in &report.plan.notes {
            context.warn(note);
        }
        let nothing = if report.plan.steps.is_empty() {
            "nothing to do: "
        } else {
            ""
        };
        context.warn(&format!("{nothing}{}", report.plan.outcome));
    } else {
        output::plan(&mut out, &report.plan)?;
    }
    Ok(())
}

fn rows(adoption: &Adoption) -> Vec<Vec<String>> {
    let row = |key: &str, value: String| vec![key.to_owned(), value];
    let mut rows = vec![
        row(
            "layout",
            format!("{}: {}", adoption.layout.name, adoption.layout.title),
        ),
        row("beroot", adoption.beroot.to_string()),
    ];
    if !adoption.boot_roots.is_empty() {
        let names: Vec<&str> = adoption
            .boot_roots
            .iter()
            .map(DatasetName::as_str)
            .collect();
        rows.push(row("boot", names.join(", ")));
    }
    if !adoption.shared.is_empty() {
        rows.push(row("shared", shared(adoption)));
    }
    rows.extend(
        adoption
            .foreign
            .iter()
            .map(|foreign| row("left alone", foreign.summary())),
    );
    rows
}

/// "rpool/home on /home, …".
fn shared(adoption: &Adoption) -> String {
    let shown: Vec<String> = adoption
        .shared
        .iter()
        .take(SHARED_SHOWN)
        .map(|shared| format!("{} on {}", shared.dataset, shared.directory))
        .collect();
    match adoption.shared.len().saturating_sub(SHARED_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn print_findings(out: &mut impl Write, adoption: &Adoption) -> io::Result<()> {
    for finding in &adoption.findings {
        writeln!(
            out,
            "{:>12}: {}: {}",
            finding.severity.as_str(),
            finding.name,
            finding.text
        )?;
        writeln!(out, "{:>12}: {}", "remedy", finding.remedy)?;
    }
    Ok(())
}

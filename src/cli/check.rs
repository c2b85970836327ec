//! `check`.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::completions::environments;
use super::context::Context;
use super::error::{FAILED, Trouble, USAGE, Verdict};
use super::output;
use crate::be::{BeName, BootEnvironment};
use crate::check::finding::REGISTRY;
use crate::check::{self, Finding, Severity};
use crate::survey::{Scope, Survey};

/// Look whether boot environments can boot
///
/// Looks at the pools, at the datasets of an environment, and at its files:
/// kernel, initramfs, init, fstab. Nothing is changed, and nothing stays
/// mounted. Without a NAME: what runs, what boots next, what was last known to
/// work, and what `failback` leads to. The exit code is 1 where something would
/// not boot. The manual page lists what can be found.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Every environment
    #[arg(short, long, conflicts_with = "names")]
    all: bool,

    /// One line and the exit code of a monitoring plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN
    #[arg(long)]
    pub(super) nagios: bool,

    /// List everything that can be found, and look at nothing
    #[arg(long, conflicts_with_all = ["all", "names", "nagios"])]
    findings: bool,

    /// The boot environments
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(environments))]
    names: Vec<BeName>,
}

/// What a monitoring plugin ends with
/// (<https://www.monitoring-plugins.org/doc/guidelines.html>).
const OK: u8 = 0;
const WARNING: u8 = 1;
const CRITICAL: u8 = 2;
const UNKNOWN: u8 = 3;

/// What was looked at, and what was found.
struct Checked {
    names: Vec<String>,
    findings: Vec<Finding>,
}

impl Checked {
    fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    }

    fn of<'a>(&'a self, environment: Option<&'a str>) -> impl Iterator<Item = &'a Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.environment.as_deref() == environment)
    }
}

pub(super) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    if args.findings {
        return list(context);
    }
    if args.nagios && (context.json || context.script) {
        let why = "--nagios prints one line for a monitoring system, and neither --json nor -H";
        return Err(Trouble::new(USAGE, why).into());
    }
    if !args.nagios {
        let checked = look(context, args)?;
        print(context, &checked)?;
        return match checked.count(Severity::Error) {
            0 => Ok(()),
            _ => Err(Verdict(FAILED).into()),
        };
    }
    let (text, exit) = match look(context, args) {
        Ok(checked) => verdict(&checked),
        Err(trouble) => return unknown(&trouble).map(|_| ()),
    };
    writeln!(io::stdout(), "{}", output::one_line(&text))?;
    match exit {
        OK => Ok(()),
        exit => Err(Verdict(exit).into()),
    }
}

/// What a monitoring plugin says where nothing could be looked at.
pub(super) fn unknown(trouble: &Trouble) -> anyhow::Result<u8> {
    let text = format!("BE UNKNOWN: {}", trouble.message);
    writeln!(io::stdout(), "{}", output::one_line(&text))?;
    Err(Verdict(UNKNOWN).into())
}

/// The environments a reboot can lead to, now or on the way back.
fn leading<'a>(survey: &'a Survey) -> Vec<BootEnvironment<'a>> {
    let next = survey.next();
    let current = next.or_else(|| survey.running());
    let with = |guid| survey.environment_with(guid);
    let once = survey.boot.once.as_ref();
    let all = [
        survey.running(),
        next,
        once.and_then(|root| survey.environment_at(root)),
        survey.last_good().and_then(with),
        current
            .and_then(|current| current.failback())
            .and_then(with),
    ];
    let mut found: Vec<BootEnvironment<'a>> = Vec::new();
    for environment in all.into_iter().flatten() {
        if !found.iter().any(|other| other.guid() == environment.guid()) {
            found.push(environment);
        }
    }
    found
}

fn look(context: &Context, args: &Args) -> Result<Checked, Trouble> {
    if !context.is_root() {
        return Err(
            Trouble::refused("only root can look into boot environments")
                .remedy("run it as root; 'beadm-rs demo' works without"),
        );
    }
    let survey = Survey::take(&context.host, Scope::Names)?;
    let environments = if args.all {
        survey.environments().collect()
    } else if args.names.is_empty() {
        leading(&survey)
    } else {
        let find = |name: &BeName| {
            survey.environment(name).ok_or_else(|| {
                let beroot = &survey.beroot;
                Trouble::refused(format!(
                    "there is no boot environment '{name}' under {beroot}"
                ))
                .remedy(format!("there are: {}", survey.names()))
            })
        };
        args.names.iter().map(find).collect::<Result<_, _>>()?
    };
    let facts = check::facts(&context.host, &survey);
    let mut findings = check::machine(&context.host, &survey);
    let mut names = Vec::new();
    for environment in &environments {
        names.push(environment.name().to_owned());
        findings.extend(check::environment(
            &context.host,
            &survey,
            environment,
            &facts,
        ));
    }
    Ok(Checked { names, findings })
}

fn print(context: &Context, checked: &Checked) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if context.json {
        let content = json!({
            "checked": checked.names,
            "errors": checked.count(Severity::Error),
            "warnings": checked.count(Severity::Warning),
            "findings": checked.findings,
        });
        return Ok(output::json(&mut out, "check", content)?);
    }
    if context.script {
        let rows: Vec<Vec<String>> = checked
            .findings
            .iter()
            .map(|finding| {
                vec![
                    finding
                        .environment
                        .clone()
                        .unwrap_or_else(|| "-".to_owned()),
                    finding.severity.to_string(),
                    finding.name.to_owned(),
                    finding.what.clone(),
                    finding.remedy.clone(),
                ]
            })
            .collect();
        return Ok(output::tabs(&mut out, &rows)?);
    }
    let subjects =
        std::iter::once(None).chain(checked.names.iter().map(|name| Some(name.as_str())));
    for subject in subjects {
        let mut found = checked.of(subject).peekable();
        let what = subject.unwrap_or("the machine");
        if found.peek().is_none() {
            writeln!(out, "{what}: nothing found")?;
            continue;
        }
        writeln!(out, "{what}:")?;
        for finding in found {
            writeln!(
                out,
                "  {} {}: {}\n    remedy: {}",
                finding.severity,
                finding.name,
                output::one_line(&finding.what),
                output::one_line(&finding.remedy)
            )?;
        }
    }
    Ok(())
}

/// One line for a monitoring system, and its exit code.
fn verdict(checked: &Checked) -> (String, u8) {
    let (errors, warnings) = (
        checked.count(Severity::Error),
        checked.count(Severity::Warning),
    );
    let (word, exit) = match (errors, warnings) {
        (0, 0) => ("OK", OK),
        (0, _) => ("WARNING", WARNING),
        _ => ("CRITICAL", CRITICAL),
    };
    let mut names: BTreeMap<(std::cmp::Reverse<Severity>, &str), Vec<&str>> = BTreeMap::new();
    for finding in &checked.findings {
        if finding.severity > Severity::Info {
            let subject = finding.environment.as_deref().unwrap_or("machine");
            let subjects = names
                .entry((std::cmp::Reverse(finding.severity), finding.name))
                .or_default();
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
    }
    let told = if names.is_empty() {
        let looked_at = checked.names.join(", ");
        format!(
            "nothing found in {}",
            if looked_at.is_empty() {
                "the machine"
            } else {
                &looked_at
            }
        )
    } else {
        let each = names
            .iter()
            .map(|((_, name), subjects)| format!("{name} ({})", subjects.join(", ")));
        each.collect::<Vec<_>>().join(", ")
    };
    // What follows the bar is for graphs; no name of an environment holds one.
    let line = format!(
        "BE {word}: {told} | errors={errors};;0 warnings={warnings};0 checked={}",
        checked.names.len()
    );
    (line, exit)
}

/// Everything that can be found.
fn list(context: &Context) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if context.json {
        let all: Vec<_> = REGISTRY
            .iter()
            .map(|definition| {
                json!({
                    "name": definition.name,
                    "severity": definition.severity,
                    "meaning": definition.meaning,
                })
            })
            .collect();
        return Ok(output::json(
            &mut out,
            "findings",
            json!({ "findings": all }),
        )?);
    }
    let rows: Vec<Vec<String>> = REGISTRY
        .iter()
        .map(|definition| {
            vec![
                definition.name.to_owned(),
                definition.severity.to_string(),
                definition.meaning.to_owned(),
            ]
        })
        .collect();
    if context.script {
        output::tabs(&mut out, &rows)?;
    } else {
        output::table(&mut out, &["NAME", "SEVERITY", "MEANING"], &rows)?;
    }
    Ok(())
}

//! `export`.

use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use cap_std_ext::cap_std::fs::Dir;
use clap_complete::ArgValueCompleter;

use super::outlet;
use crate::archive::manifest::Machine;
use crate::archive::record::{Digest, hexadecimal};
use crate::be::BeName;
use crate::cli::BeSnapshot;
use crate::cli::completions::environments;
use crate::cli::context::{Context, Report};
use crate::cli::error::Trouble;
use crate::cli::output;
use crate::execute::freight::{Freight, Outlet};
use crate::host::Host;
use crate::os::{LockKind, Object};
use crate::plan::create::From;
use crate::plan::export::{self, Facts, Form, Since};
use crate::survey::{Around, Survey};

/// How streams are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Compress {
    /// By zstd
    Zstd,
    /// As they are
    None,
}

/// Write a boot environment as one file, to be imported on another machine
///
/// All its datasets, /boot in a pool of its own included, from a snapshot that is taken
/// for it, or from BE@SNAP: one archive, which says first what is in it. Encrypted
/// datasets leave as they lie on disk. An archive can be read by whoever has it: it
/// holds what the environment holds, /etc/shadow too.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only what is different since this was sent: an environment, or a snapshot of the
    /// exported one; it has to be where it is imported
    #[arg(long, value_name = "BE|SNAP|BE@SNAP")]
    since: Option<String>,

    /// How the streams are packed
    #[arg(long, value_name = "HOW", value_enum, default_value = "zstd")]
    compress: Compress,

    /// Write it to this file, which only its owner can read; else to standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<Utf8PathBuf>,

    /// Say what is in this archive, and do nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["since", "output", "name"])]
    info: Option<Utf8PathBuf>,

    /// The boot environment, or a snapshot of it; the running one where none is named
    #[arg(value_name = "BE|BE@SNAP", add = ArgValueCompleter::new(environments))]
    name: Option<String>,
}

impl Args {
    /// The archive it only looks at.
    pub(in crate::cli) fn looked_at(&self) -> Option<&Utf8Path> {
        self.info.as_deref()
    }

    pub(in crate::cli) fn purpose(&self) -> String {
        match (&self.info, &self.name) {
            (Some(file), _) => format!("look at {file}"),
            (None, Some(name)) => format!("export {name}"),
            (None, None) => "export the running environment".to_owned(),
        }
    }
}

pub(in crate::cli) fn run(context: &Context, args: &Args) -> anyhow::Result<()> {
    let from = source(args.name.as_deref())?;
    let since = match args.since.as_deref() {
        Some(text) if text.contains('@') => {
            let of: BeSnapshot = text.parse().map_err(Trouble::refused)?;
            Some(Since::Snapshot(of.environment, of.snapshot))
        }
        Some(text) => Some(Since::Named(text.to_owned())),
        None => None,
    };
    let request = export::Request {
        from,
        since,
        form: Form::Archive {
            zstd: args.compress == Compress::Zstd,
        },
        to: match args.output.as_deref() {
            Some(file) if file != "-" => file.to_string(),
            _ => "standard output".to_owned(),
        },
    };
    if !context.dry_run {
        context.only_root()?;
    }
    let out = outlet::open(context, args.output.as_deref())?;
    let exported = export(context, &request, out)?;
    if !context.json {
        return context.report("export", &exported.report);
    }
    let mut content = exported.report.json();
    if let (Some(object), Some((bytes, seal))) = (content.as_object_mut(), exported.written) {
        object.insert("bytes".to_owned(), bytes.into());
        let seal = seal.map(|seal| hexadecimal(&seal));
        object.insert("checksum".to_owned(), seal.into());
    }
    Ok(output::json(&mut io::stdout(), "export", content)?)
}

/// What an export came to.
#[derive(Debug)]
pub struct Exported {
    /// As of every change.
    pub report: Report,
    /// Bytes of what was written, and for an archive the checksum over all of it.
    pub written: Option<(u64, Option<Digest>)>,
}

/// `BE`, `BE@SNAP`, or the running one.
fn source(name: Option<&str>) -> Result<From, Trouble> {
    Ok(match name {
        Some(text) if text.contains('@') => {
            let of: BeSnapshot = text.parse().map_err(Trouble::refused)?;
            From {
                environment: Some(of.environment),
                snapshot: Some(of.snapshot),
            }
        }
        Some(text) => From {
            environment: Some(text.parse().map_err(Trouble::refused)?),
            snapshot: None,
        },
        None => From {
            environment: None,
            snapshot: None,
        },
    })
}

/// Writes an environment as an archive or as one stream, wherever that goes.
///
/// # Errors
/// A refusal, or how it failed.
pub fn export(
    context: &Context,
    request: &export::Request,
    out: Option<Box<dyn Outlet>>,
) -> Result<Exported, Trouble> {
    let named = request.from.environment.as_ref();
    let mut around = Around {
        properties: true,
        ..Around::one_or_running(named)
    };
    match &request.since {
        Some(Since::Snapshot(name, _)) => around.named.push(name.clone()),
        Some(Since::Named(text)) => around.named.extend(text.parse::<BeName>()),
        None => {}
    }
    // Held until this command ends.
    let alone = match context.dry_run {
        true => None,
        false => Some(context.lock_of(LockKind::Export, Duration::ZERO)?),
    };
    let look = |host: &Host| Ok(Survey::around(host, &around)?);
    let mut freight = Freight {
        output: out,
        ..Freight::default()
    };
    let report = context.change_with(
        look,
        |survey| {
            let facts = Facts {
                alone: alone.is_some(),
                ..facts(&context.host, survey, request)
            };
            export::plan(survey, request, &facts)
        },
        &mut freight,
    )?;
    Ok(Exported {
        report,
        written: freight.written,
    })
}

/// What is said of this machine and of the system in the environment, as far as it
/// can be read.
fn facts(host: &Host, survey: &Survey, request: &export::Request) -> Facts {
    let source = match &request.from.environment {
        Some(name) => survey.environment(name),
        None => survey.running(),
    };
    let Some(source) = source else {
        return Facts::default();
    };
    let mut roots: Vec<_> = source
        .datasets()
        .into_iter()
        .filter_map(|dataset| dataset.encryption_root.clone())
        .collect();
    roots.sort();
    roots.dedup();
    let located = roots.into_iter().filter_map(|root| {
        let location = host.zfs.key_location(&root).ok()??;
        Some((root, location))
    });
    let release = || {
        let files = host
            .platform
            .open_files(&Object::Dataset(source.root.name.clone()))
            .ok()?;
        pretty_name(&files.root)
    };
    Facts {
        machine: machine(host.simulated),
        release: source.root.key_loaded.then(release).flatten(),
        key_locations: located.collect(),
        alone: false,
    }
}

fn machine(simulated: bool) -> Machine {
    if simulated {
        return Machine {
            hostname: None,
            system: "a simulation".to_owned(),
            architecture: architecture().to_owned(),
        };
    }
    let said = |path: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    Machine {
        hostname: said("/proc/sys/kernel/hostname"),
        system: said("/proc/sys/kernel/ostype").unwrap_or_else(|| "unknown".to_owned()),
        architecture: architecture().to_owned(),
    }
}

/// This machine's processor, in the words of uname(1).
pub(super) fn architecture() -> &'static str {
    std::env::consts::ARCH
}

/// os-release(5): the file in /etc is most often a link to the other one.
fn pretty_name(root: &Dir) -> Option<String> {
    let read = |path: &str| -> io::Result<String> { root.read_to_string(path) };
    let text = read("usr/lib/os-release").or_else(|_| read("etc/os-release"));
    let text = text.ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let name: String = line.trim_matches(['"', '\'']).chars().take(200).collect();
    (!name.is_empty() && !name.chars().any(char::is_control)).then_some(name)
}

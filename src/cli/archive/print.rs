//! What is said of an archive that is looked at.

use std::io::{self, Write};

use serde_json::json;

use crate::archive::manifest::Tree;
use crate::archive::offer::{Form, Offer, Offered};
use crate::archive::{Input, Manifest};
use crate::cli::output;
use crate::cli::output::size;
use crate::diff::summary::escaped;

/// Prints what is in an input.
///
/// # Errors
/// Where standard output fails.
pub fn info(json: bool, input: &Input) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let offer = input.offer();
    if json {
        let content = json!({
            "form": form(offer),
            "manifest": input.manifest(),
            "needs": offer.needs,
            "boot_needs": offer.boot_needs,
            "datasets": offer.datasets.iter().map(|dataset| json!({
                "tree": dataset.tree,
                "path": dataset.path,
                "source": dataset.source,
                "snapshots": dataset.snapshots.iter().map(|(name, guid)| json!({
                    "name": name, "guid": guid,
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "notes": offer.notes,
        });
        return Ok(output::json(&mut out, "archive", content)?);
    }
    match input.manifest() {
        Some(manifest) => archive(&mut out, manifest)?,
        None => writeln!(out, "{}", form(offer))?,
    }
    if !offer.needs.is_empty() {
        writeln!(out, "needs the pool features {}", offer.needs.join(", "))?;
    }
    if !offer.boot_needs.is_empty() {
        let needs = offer.boot_needs.join(", ");
        writeln!(out, "needs {needs} of the pool that its /boot goes to")?;
    }
    for dataset in &offer.datasets {
        write!(out, "  {}  from {}", place(dataset), dataset.source)?;
        if let Some(base) = &dataset.base {
            write!(out, "  since {} (guid {})", base.name, base.guid)?;
        }
        if let Some(encryption) = &dataset.encryption {
            write!(out, "  encrypted with the key of {}", encryption.root)?;
            if let Some(location) = &encryption.location {
                write!(out, " ({location})")?;
            }
        }
        writeln!(out)?;
    }
    for note in &offer.notes {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}

fn place(dataset: &Offered) -> String {
    match (dataset.tree, dataset.path.as_str()) {
        (Tree::Root, "") => "/".to_owned(),
        (Tree::Root, path) => path.to_owned(),
        (Tree::Boot, "") => "/boot, in a pool of its own".to_owned(),
        (Tree::Boot, path) => format!("/boot/{path}, in a pool of its own"),
    }
}

fn archive(out: &mut impl Write, manifest: &Manifest) -> io::Result<()> {
    let said = |text: &str| escaped(text.as_bytes());
    writeln!(out, "archive of the boot environment {}", manifest.name)?;
    if let Some(text) = &manifest.description {
        writeln!(out, "described as {}", said(text))?;
    }
    if let Some(release) = &manifest.release {
        writeln!(out, "holds {}", said(release))?;
    }
    let machine = &manifest.machine;
    let host = machine
        .hostname
        .as_deref()
        .unwrap_or("a machine without a name");
    writeln!(
        out,
        "made {} on {} ({} {}) by {}",
        manifest.created.format("%Y-%m-%d %H:%M:%SZ"),
        said(host),
        said(&machine.system),
        said(&machine.architecture),
        said(&manifest.program),
    )?;
    let packed = if manifest.zstd {
        ", packed by zstd"
    } else {
        ""
    };
    writeln!(out, "streams of about {}{packed}", size(manifest.bytes()))
}

fn form(offer: &Offer) -> &'static str {
    match offer.form {
        Form::Archive { .. } => "archive",
        Form::Stream => "stream of zfs send, of one snapshot",
        Form::Package => "stream of zfs send -R or -p",
    }
}

//! What a comparison came to, for people, for scripts and as JSON.

use std::io::{self, Write};

use rustix::fs::FileType;
use serde_json::{Value, json};

use super::Found;
use crate::cli::output;
use crate::diff::inventory::Packages;
use crate::diff::side::Side;
use crate::diff::walk::Change;
use crate::diff::{Files, summary};

fn path(path: &[u8]) -> String {
    format!("/{}", summary::escaped(path))
}

/// The kind of a file as a word.
fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character-device",
        FileType::BlockDevice => "block-device",
        FileType::Unknown => "unknown",
    }
}

fn aspects(change: &Change) -> Vec<&'static str> {
    change
        .aspects
        .iter()
        .map(|aspect| aspect.as_str())
        .collect()
}

impl Found {
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = Vec::new();
        for problem in self.files.iter().flat_map(|files| &files.problems) {
            problems.push(format!("{}: {}", path(&problem.path), problem.why));
        }
        problems.extend(
            self.packages
                .iter()
                .flat_map(|found| found.problems.clone()),
        );
        problems
    }

    pub(super) fn json(&self) -> Value {
        let side = |side: &Side| json!({"name": side.name, "running": side.running});
        let files = self.files.as_ref().map(|files| {
            let directories: Vec<Value> = summary::by_directory(&files.changes)
                .into_iter()
                .map(|(directory, counts)| {
                    json!({
                        "directory": directory,
                        "added": counts.added,
                        "removed": counts.removed,
                        "changed": counts.changed,
                    })
                })
                .collect();
            let changes: Vec<Value> = files
                .changes
                .iter()
                .map(|change| {
                    json!({
                        "path": path(&change.path),
                        "change": change.change.as_str(),
                        "from": change.from.map(word),
                        "to": change.to.map(word),
                        "aspects": aspects(change),
                    })
                })
                .collect();
            json!({
                "summary": summary::total(&files.changes),
                "directories": directories,
                "datasets": files.how,
                "changes": changes,
            })
        });
        let notes: Vec<&String> = self.from.notes.iter().chain(&self.to.notes).collect();
        json!({
            "from": side(&self.from),
            "to": side(&self.to),
            "files": files,
            "packages": self.packages.as_ref().map(|packages| json!({
                "managers": packages.managers,
                "changes": packages.changes,
            })),
            "notes": notes,
            "problems": self.problems(),
        })
    }

    /// One line for each thing, the first field saying what it is.
    pub(super) fn print_tabs(&self, out: &mut impl Write, each: bool) -> io::Result<()> {
        let mut rows: Vec<Vec<String>> = Vec::new();
        if let Some(files) = &self.files {
            if each {
                rows.extend(files.changes.iter().map(|change| {
                    let dash = |kind: Option<FileType>| kind.map_or("-", word).to_owned();
                    vec![
                        "file".to_owned(),
                        change.change.sign().to_string(),
                        dash(change.from),
                        dash(change.to),
                        path(&change.path),
                        match aspects(change) {
                            some if some.is_empty() => "-".to_owned(),
                            some => some.join(","),
                        },
                    ]
                }));
            } else {
                let counted = summary::by_directory(&files.changes).into_iter();
                rows.extend(counted.map(|(directory, counts)| {
                    vec![
                        "directory".to_owned(),
                        directory,
                        counts.added.to_string(),
                        counts.removed.to_string(),
                        counts.changed.to_string(),
                    ]
                }));
            }
        }
        for change in self.packages.iter().flat_map(|found| &found.changes) {
            let dash = |text: Option<&str>| match text {
                None | Some("") => "-".to_owned(),
                Some(text) => text.to_owned(),
            };
            rows.push(vec![
                "package".to_owned(),
                change.change.as_str().to_owned(),
                change.manager.as_str().to_owned(),
                change.name.clone(),
                dash(Some(&change.architecture)),
                dash(change.from.as_deref()),
                dash(change.to.as_deref()),
            ]);
        }
        output::tabs(out, &rows)
    }

    pub(super) fn print(&self, out: &mut impl Write, each: bool) -> io::Result<()> {
        let running = |side: &Side| if side.running { " (running)" } else { "" };
        writeln!(
            out,
            "{}{} -> {}{}",
            self.from.name,
            running(&self.from),
            self.to.name,
            running(&self.to)
        )?;
        if let Some(files) = &self.files {
            print_files(out, files, each)?;
        }
        if let Some(packages) = &self.packages {
            print_packages(out, packages)?;
        }
        Ok(())
    }
}

fn print_files(out: &mut impl Write, files: &Files, each: bool) -> io::Result<()> {
    for how in &files.how {
        if let Some(why) = how.why.as_ref().filter(|_| how.how == "lineage") {
            writeln!(out, "note: {} was walked: {why}", how.place)?;
        }
    }
    let total = summary::total(&files.changes);
    if files.changes.is_empty() {
        return writeln!(out, "files: no difference");
    }
    writeln!(
        out,
        "files: {} added, {} removed, {} changed",
        total.added, total.removed, total.changed
    )?;
    if each {
        for change in &files.changes {
            let mut line = format!("  {} {}", change.change.sign(), path(&change.path));
            if change.is_directory() && !change.path.is_empty() {
                line.push('/');
            }
            match (change.from, change.to) {
                (Some(from), Some(to)) if from != to => {
                    line.push_str(&format!(" ({} -> {})", word(from), word(to)));
                }
                (Some(_), Some(_)) => line.push_str(&format!(" ({})", aspects(change).join(", "))),
                _ => {}
            }
            writeln!(out, "{line}")?;
        }
        return Ok(());
    }
    let rows: Vec<Vec<String>> = summary::by_directory(&files.changes)
        .into_iter()
        .map(|(directory, counts)| {
            vec![
                format!("  {directory}"),
                counts.added.to_string(),
                counts.removed.to_string(),
                counts.changed.to_string(),
            ]
        })
        .collect();
    output::table(out, &["  DIRECTORY", "ADDED", "REMOVED", "CHANGED"], &rows)
}

fn print_packages(out: &mut impl Write, packages: &Packages) -> io::Result<()> {
    if packages.managers.is_empty() && !packages.problems.is_empty() {
        return writeln!(out, "packages: not compared");
    }
    if packages.managers.is_empty() {
        return writeln!(out, "packages: no database of dpkg, rpm, pacman or apk");
    }
    let managers: Vec<&str> = packages.managers.iter().map(|m| m.as_str()).collect();
    let managers = managers.join(", ");
    if packages.changes.is_empty() {
        return writeln!(out, "packages ({managers}): no difference");
    }
    use crate::packages::Kind;
    let kinds = [
        Kind::Upgraded,
        Kind::Downgraded,
        Kind::Changed,
        Kind::Added,
        Kind::Removed,
    ];
    let counts: Vec<String> = kinds
        .iter()
        .map(|kind| {
            let changes = packages.changes.iter();
            (
                changes.filter(|change| change.change == *kind).count(),
                kind,
            )
        })
        .filter(|(number, _)| *number > 0)
        .map(|(number, kind)| format!("{number} {}", kind.as_str()))
        .collect();
    writeln!(out, "packages ({managers}): {}", counts.join(", "))?;
    let rows: Vec<Vec<String>> = packages
        .changes
        .iter()
        .map(|change| {
            let name = if change.architecture.is_empty() {
                change.name.clone()
            } else {
                format!("{}:{}", change.name, change.architecture)
            };
            let dash = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
            vec![
                format!("  {}", change.change.as_str()),
                output::one_line(&name),
                output::one_line(&dash(&change.from)),
                output::one_line(&dash(&change.to)),
            ]
        })
        .collect();
    output::table(out, &["  CHANGE", "PACKAGE", "FROM", "TO"], &rows)
}

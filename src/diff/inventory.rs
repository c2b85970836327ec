//! The package databases in a tree.

use std::fs::File;
use std::io::{self, Read as _};

use serde::Serialize;

use super::tree::Tree;
use crate::packages::rpm::sqlite::Bytes;
use crate::packages::{self, Change, Manager, Package};

/// The largest database that is read whole, bytes: a hundred thousand packages.
const MAX_DATABASE: u64 = 256 << 20;

/// The largest description of one package, bytes.
const MAX_DESCRIPTION: u64 = 4 << 20;

/// The packages that are not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Packages {
    /// The package systems found on either side, and compared.
    pub managers: Vec<Manager>,
    /// What became of each.
    pub changes: Vec<Change>,
    /// Databases that could not be read, and why.
    pub problems: Vec<String>,
}

/// Compares what is installed in two trees.
#[must_use]
pub fn compare(from: &Tree, to: &Tree) -> Packages {
    let mut result = Packages::default();
    for manager in [Manager::Dpkg, Manager::Rpm, Manager::Pacman, Manager::Apk] {
        let mut read = |tree: &Tree, side: &str| match installed(tree, manager) {
            Ok(packages) => Some(packages),
            Err(error) => {
                result
                    .problems
                    .push(format!("{} on the {side} side: {error}", manager.as_str()));
                None
            }
        };
        let (before, after) = (read(from, "first"), read(to, "second"));
        // Where one side cannot be read, everything would seem added or removed.
        let (Some(before), Some(after)) = (before, after) else {
            continue;
        };
        if before.is_some() || after.is_some() {
            result.managers.push(manager);
        }
        result.changes.extend(packages::compare(
            manager,
            &before.unwrap_or_default(),
            &after.unwrap_or_default(),
        ));
    }
    result
}

/// What a package system has installed in a tree; `None` where it is not there.
fn installed(tree: &Tree, manager: Manager) -> io::Result<Option<Vec<Package>>> {
    match manager {
        Manager::Dpkg => {
            let text = text(tree, packages::dpkg::PATH, MAX_DATABASE)?;
            Ok(text.map(|text| packages::dpkg::parse(&text)))
        }
        Manager::Apk => {
            for path in packages::apk::PATHS {
                if let Some(text) = text(tree, path, MAX_DATABASE)? {
                    return Ok(Some(packages::apk::parse(&text)));
                }
            }
            Ok(None)
        }
        Manager::Pacman => pacman(tree),
        Manager::Rpm => rpm(tree),
    }
}

fn file(tree: &Tree, path: &str) -> io::Result<Option<File>> {
    match tree.find(path.as_bytes())? {
        Some(found) if found.kind().is_file() => found.open(),
        _ => Ok(None),
    }
}

/// A file's text; bytes that are not UTF-8 stand in no field that is read.
fn text(tree: &Tree, path: &str, most: u64) -> io::Result<Option<String>> {
    let Some(file) = file(tree, path)? else {
        return Ok(None);
    };
    if file.metadata()?.len() > most {
        return Err(io::Error::other(format!(
            "/{path} is larger than any database"
        )));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn pacman(tree: &Tree) -> io::Result<Option<Vec<Package>>> {
    let path = packages::pacman::DIRECTORY;
    let Some(found) = tree.find(path.as_bytes())? else {
        return Ok(None);
    };
    let Some(directory) = found.enter()? else {
        return Ok(None);
    };
    let mut installed = Vec::new();
    for name in tree.names(&directory, path.as_bytes())? {
        // A name that is not UTF-8 is no package's.
        let Ok(name) = String::from_utf8(name.name) else {
            continue;
        };
        let description = format!("{path}/{name}/{}", packages::pacman::FILE);
        if let Some(text) = text(tree, &description, MAX_DESCRIPTION)? {
            installed.extend(packages::pacman::parse(&text));
        }
    }
    Ok(Some(installed))
}

fn rpm(tree: &Tree) -> io::Result<Option<Vec<Package>>> {
    use packages::rpm;
    let mut refused = None;
    for directory in rpm::DIRECTORIES {
        if let Some(database) = file(tree, &format!("{directory}/{}", rpm::FILE))? {
            let ahead = file(tree, &format!("{directory}/{}", rpm::WRITE_AHEAD))?;
            let ahead = ahead.as_ref().map(|file| file as &dyn Bytes);
            return rpm::read(&database, ahead).map(Some);
        }
        for (name, what) in rpm::REFUSED {
            if file(tree, &format!("{directory}/{name}"))?.is_some() {
                refused.get_or_insert(format!("/{directory}/{name} is {what}, which is not read"));
            }
        }
    }
    match refused {
        Some(why) => Err(io::Error::other(why)),
        None => Ok(None),
    }
}

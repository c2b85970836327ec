//! `zfs list`, and what has to be asked for beside it.

use std::collections::BTreeMap;

use super::super::parse::{self, Listing};
use super::super::{Dataset, DatasetName, PoolName, Result};
use super::{Cli, said, text, unexpected, words};

/// The channel program where `zfs list` cuts a list of clones.
const CLONES: &str = include_str!("clones.lua");

/// The channel program where a mark makes the output of `zfs list` ambiguous.
const MARKS: &str = concat!(include_str!("hex.lua"), include_str!("marks.lua"));

impl Cli {
    /// Lists datasets; a root that does not exist is left out.
    ///
    /// Where a mark holds what makes the text ambiguous, which whoever may set one
    /// property of one dataset can bring about, it is listed again without the
    /// marks, and a channel program tells those.
    pub(super) fn list(&self, roots: &[DatasetName], how: &[&str]) -> Result<Vec<Dataset>> {
        if roots.is_empty() {
            return Ok(Vec::new());
        }
        let attempted = "list the datasets";
        let mut lacking = self.lacking.get().cloned().unwrap_or_default();
        let mut ambiguous = None;
        loop {
            let mut arguments = words(&["list", "-Hp"]);
            arguments.extend(words(how));
            arguments.extend(["-o".to_owned(), parse::tree_columns(&lacking)]);
            arguments.extend(roots.iter().map(ToString::to_string));
            let finished = Self::run(&self.zfs, attempted, &arguments, None)?;
            if finished.status.success() || only_missing(&finished.stderr) {
                let listing = text(attempted, finished.stdout)
                    .and_then(|text| parse::tree(&text, &lacking).map_err(unexpected(attempted)));
                match (listing, ambiguous.take()) {
                    (Ok(listing), None) => {
                        let _ = self.lacking.set(lacking);
                        return self.with_all_clones(listing);
                    }
                    (Ok(listing), Some(error)) => {
                        // A pool on which no channel program runs.
                        let listing = self.with_marks(listing).map_err(|_| error)?;
                        return self.with_all_clones(listing);
                    }
                    (Err(error), None) => {
                        ambiguous = Some(error);
                        lacking.push(parse::MARKS);
                    }
                    (Err(_), Some(error)) => return Err(error),
                }
                continue;
            }
            // One unknown column and `zfs list` lists nothing at all.
            match parse::unknown_column(&finished.stderr) {
                Some(column) if !lacking.contains(&column) => lacking.push(column),
                _ => return Err(said(attempted, &finished)),
            }
        }
    }

    /// Adds the marks to what was listed without.
    fn with_marks(&self, mut listing: Listing) -> Result<Listing> {
        let mut by_pool: BTreeMap<PoolName, Vec<String>> = BTreeMap::new();
        for dataset in &listing.datasets {
            let objects = by_pool.entry(dataset.name.pool()).or_default();
            objects.push(dataset.name.to_string());
            objects.extend(dataset.snapshots.iter().map(|s| s.name.to_string()));
        }
        for (pool, objects) in by_pool {
            let attempted = format!("read the marks in {pool}");
            let output = self.read_only_program(&attempted, &pool, MARKS, objects)?;
            let mut marks = parse::marks(&output).map_err(unexpected(&attempted))?;
            for dataset in &mut listing.datasets {
                if let Some(marks) = marks.remove(dataset.name.as_str()) {
                    dataset.marks = marks;
                }
                for snapshot in &mut dataset.snapshots {
                    if let Some(marks) = marks.remove(snapshot.name.as_str()) {
                        snapshot.marks = marks;
                    }
                }
            }
        }
        Ok(listing)
    }

    /// Looks up the clones that `zfs list` left out.
    fn with_all_clones(&self, listing: Listing) -> Result<Vec<Dataset>> {
        let Listing { mut datasets, cut } = listing;
        let mut by_pool: BTreeMap<PoolName, Vec<String>> = BTreeMap::new();
        for snapshot in &cut {
            let cut = by_pool.entry(snapshot.dataset().pool()).or_default();
            cut.push(snapshot.to_string());
        }
        for (pool, snapshots) in by_pool {
            let attempted = format!("list the clones of {}", snapshots.join(", "));
            let output = self.read_only_program(&attempted, &pool, CLONES, snapshots)?;
            let mut clones = parse::clones(&output).map_err(unexpected(&attempted))?;
            for snapshot in datasets.iter_mut().flat_map(|d| &mut d.snapshots) {
                if let Some(clones) = clones.remove(&snapshot.name) {
                    snapshot.clones = clones;
                }
            }
        }
        Ok(datasets)
    }
}

/// Whether `zfs list` complained of roots that do not exist and of nothing else.
/// The others are listed even so, and the exit status is 1.
fn only_missing(stderr: &str) -> bool {
    !stderr.is_empty()
        && stderr.lines().all(|line| {
            line.starts_with("cannot open ")
                && (line.ends_with("dataset does not exist") || line.ends_with("no such pool"))
        })
}

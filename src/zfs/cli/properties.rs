//! The properties set on datasets: `zfs get`, and a channel program beside it.

use std::collections::BTreeMap;

use super::super::parse;
use super::super::{DatasetName, Error, ErrorKind, Property, Result};
use super::{Cli, settable, unexpected, words};
#[cfg(doc)]
use crate::zfs::Zfs;

/// The channel program behind [`Zfs::properties`].
const USER_PROPERTIES: &str = concat!(include_str!("hex.lua"), include_str!("user_properties.lua"));

/// The native properties whose values are text that is not checked, or hardly.
const TEXTS: [&str; 9] = [
    "context",
    "defcontext",
    "fscontext",
    "keylocation",
    "mlslabel",
    "mountpoint",
    "rootcontext",
    "sharenfs",
    "sharesmb",
];

impl Cli {
    /// The native properties that can be set on this release.
    ///
    /// Asking for `all` instead is three times slower (measured in emulation: 520
    /// and 170 ms for seven datasets): for `version`, `utf8only`,
    /// `normalization` and `casesensitivity` the kernel opens each file system
    /// again and again.
    ///
    /// # Errors
    /// Where `zfs` does not start.
    pub fn settable(&self) -> Result<&[String]> {
        if let Some(names) = self.settable.get() {
            return Ok(names);
        }
        let names = match settable::by_the_kernel() {
            Some(names) => names,
            None => self.settable_by_usage()?,
        };
        Ok(self.settable.get_or_init(|| names))
    }

    /// The same from the table `zfs get` prints when it is called without arguments.
    fn settable_by_usage(&self) -> Result<Vec<String>> {
        let usage = Self::run(&self.zfs, "list the properties", &words(&["get"]), None)?;
        Ok(parse::settable(&usage.stderr))
    }

    /// Everything that is set ([`Zfs::properties`]).
    pub(super) fn all_properties(
        &self,
        root: &DatasetName,
    ) -> Result<BTreeMap<DatasetName, Vec<Property>>> {
        match self.properties_of(root, self.settable()?) {
            // A `zfs` that knows fewer than the kernel (`zprop_get_list`).
            Err(error) if error.detail.contains("invalid property '") => {
                self.properties_of(root, &self.settable_by_usage()?)
            }
            found => found,
        }
    }

    /// What is set of these native properties, and the user properties.
    fn properties_of(
        &self,
        root: &DatasetName,
        settable: &[String],
    ) -> Result<BTreeMap<DatasetName, Vec<Property>>> {
        if settable.is_empty() {
            return self.get(root, "all");
        }
        // Nobody can write a line into a value that is a number or a word.
        let (texts, plain): (Vec<String>, Vec<String>) = settable
            .iter()
            .cloned()
            .partition(|name| TEXTS.contains(&name.as_str()));
        let (native, user) = std::thread::scope(|scope| {
            let user = scope.spawn(|| self.user_properties(root, &texts));
            (self.get(root, &plain.join(",")), user.join())
        });
        let mut found = native?;
        let user = user.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Other,
                format!("read the properties of {root}"),
                "the thread that did it panicked",
            ))
        });
        let user = match user {
            // No channel program runs on such a pool, not even one that only
            // reads (`POOL_CHECK_READONLY` in `zfs_ioctl_init`).
            Err(error) if matches!(error.kind, ErrorKind::ReadOnly | ErrorKind::Io) => {
                return self.get(root, "all");
            }
            user => user?,
        };
        for (dataset, properties) in user {
            found.entry(dataset).or_default().extend(properties);
        }
        Ok(found)
    }

    fn get(
        &self,
        root: &DatasetName,
        properties: &str,
    ) -> Result<BTreeMap<DatasetName, Vec<Property>>> {
        let text = self.get_from(root, "local,received", properties)?;
        let attempted = format!("read the properties of {root}");
        parse::properties(&text).map_err(unexpected(&attempted))
    }

    /// What `zfs get` prints of the properties that come from such sources.
    pub(super) fn get_from(
        &self,
        root: &DatasetName,
        sources: &str,
        properties: &str,
    ) -> Result<String> {
        let attempted = format!("read the properties of {root}");
        let mut arguments = words(&["get", "-Hp", "-r", "-t", "filesystem"]);
        arguments.extend(words(&["-s", sources]));
        arguments.extend(words(&["-o", parse::PROPERTY_COLUMNS]));
        arguments.extend([properties.to_owned(), root.to_string()]);
        self.zfs(&attempted, &arguments)
    }

    /// The user properties, whose names only a channel program can tell, and
    /// the native ones `also`.
    fn user_properties(
        &self,
        root: &DatasetName,
        also: &[String],
    ) -> Result<BTreeMap<DatasetName, Vec<Property>>> {
        let attempted = format!("read the user properties of {root}");
        let mut arguments = vec![root.to_string()];
        arguments.extend_from_slice(also);
        let output =
            self.read_only_program(&attempted, &root.pool(), USER_PROPERTIES, arguments)?;
        parse::user_properties(&output).map_err(unexpected(&attempted))
    }
}

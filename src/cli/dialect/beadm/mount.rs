//! `mount` and `unmount`.

use camino::Utf8Path;

use super::super::{Done, Stop, environment, say};
use super::{FAILED, failed, failed_on, options, usage};
use crate::be::BeName;
use crate::cli::context::Context;
use crate::cli::error::Trouble;
use crate::cli::mount as mounts;
use crate::plan::Why;
use crate::survey::{Scope, Survey};

/// `mount [-s ro|rw] [-v] be [mountpoint]`: with all of its datasets, on a new directory where
/// none is named.
pub(super) fn mount(context: &Context, words: &[String]) -> Done {
    let options = options(words, "s:v")?;
    let mut shared = None;
    for (_, value) in options.found.iter().filter(|(letter, _)| *letter == 's') {
        shared = match value.unwrap_or_default() {
            "ro" => Some(true),
            "rw" => Some(false),
            _ => {
                let line = "The -s flag requires an argument [ rw | ro ]".to_owned();
                return Err(Stop::Usage(vec![line]));
            }
        };
    }
    let (name, directory) = match options.rest {
        [name] => (name, None),
        [name, directory] => (name, Some(Utf8Path::new(directory))),
        _ => return Err(usage()),
    };
    if let Some(directory) = directory.filter(|directory| !directory.starts_with("/")) {
        let line = format!("Invalid mount point {directory}. Mount point must start with a /.");
        return Err(Stop::Failed(FAILED, vec![line], None));
    }
    let mounted = || {
        let name = environment(context, name)?;
        match shared {
            None => mounts::mounted(context, &name, directory, false),
            Some(readonly) => mounts::mounted_with_shared(context, &name, directory, readonly),
        }
    };
    let on = mounted().map_err(|trouble| match trouble.why {
        Why::Mounted => {
            let lines = [
                format!("{name} is already mounted."),
                "Please unmount the BE before mounting it again.".to_owned(),
            ];
            failed(lines.to_vec(), trouble)
        }
        _ => failed_on(name, format!("Unable to mount {name}."), trouble),
    })?;
    say(&format!("Mounted successfully on: '{on}'")).map(|()| 0)
}

/// `unmount [-fv] be | mountpoint`: done where it is not mounted, as there.
pub(super) fn unmount(context: &Context, words: &[String]) -> Done {
    let options = options(words, "fv")?;
    let [text] = options.rest else {
        return Err(usage());
    };
    let unmounted =
        named(context, text).and_then(|name| mounts::unmounted(context, &name, options.has('f')));
    match unmounted {
        Ok(()) => {}
        Err(trouble) if trouble.why == Why::NotMounted => {}
        Err(trouble) if trouble.why == Why::Protected => {
            let lines = [
                format!("{text} is the currently active BE."),
                "It cannot be unmounted unless another BE is the currently active BE.".to_owned(),
            ];
            return Err(failed(lines.to_vec(), trouble));
        }
        Err(trouble) => {
            return Err(failed_on(
                text,
                format!("Unable to unmount {text}."),
                trouble,
            ));
        }
    }
    say("Unmounted successfully").map(|()| 0)
}

/// The environment of that name, or the one whose root is mounted there.
fn named(context: &Context, text: &str) -> Result<BeName, Trouble> {
    if !text.starts_with('/') {
        return environment(context, text);
    }
    let survey: Survey = context.look(Scope::Names)?;
    let directory = Utf8Path::new(text);
    let mut environments = survey.environments();
    let found = environments.find(|environment| environment.mounted_at() == Some(directory));
    match found {
        Some(found) => environment(context, found.name()),
        None => {
            let trouble = Trouble::refused(format!("no environment is mounted on {text}"));
            Err(trouble.why(Why::NoEnvironment))
        }
    }
}

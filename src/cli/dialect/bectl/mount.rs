//! `mount` and `unmount`.

use camino::{Utf8Path, Utf8PathBuf};

use super::super::{Done, Stop, environment, say};
use super::{code, miscounted, named, options, wrong_number};
use crate::be::BeName;
use crate::cli::context::Context;
use crate::cli::error::{FAILED, Trouble};
use crate::cli::mount as mounts;
use crate::plan::Why;
use crate::survey::Survey;

/// `mount be [mountpoint]`: with all of its datasets; prints where.
pub(super) fn mount(context: &Context, words: &[String]) -> Done {
    let (name, directory) = match named(words).1 {
        [name] => (name, None),
        [name, directory] => (name, Some(Utf8Path::new(directory))),
        [] => return Err(miscounted(words, "missing argument(s)")),
        _ => return Err(miscounted(words, "too many arguments")),
    };
    let mounted = environment(context, name).and_then(|name| mounted(context, &name, directory));
    match mounted {
        Ok(directory) => say(directory.as_str()).map(|()| 0),
        Err(trouble) => Err(code::failed(trouble).then(match directory {
            Some(directory) => format!("Failed to mount bootenv {name} at {directory}"),
            None => format!("Failed to mount bootenv {name} at temporary path"),
        })),
    }
}

/// Mounts it with all of its datasets, making the way to where; says where that is.
pub(super) fn mounted(
    context: &Context,
    name: &BeName,
    directory: Option<&Utf8Path>,
) -> Result<Utf8PathBuf, Trouble> {
    let made = directory.map_or_else(|| Ok(Vec::new()), way_to)?;
    mounts::mounted(context, name, directory, false).inspect_err(|_| {
        for directory in made.iter().rev() {
            // Never more than an empty directory.
            let _ = std::fs::remove_dir(directory);
        }
    })
}

/// Makes the directories on the way to one, as libzfs does before it mounts; those made.
fn way_to(directory: &Utf8Path) -> Result<Vec<Utf8PathBuf>, Trouble> {
    let missing = |above: &&Utf8Path| !above.as_str().is_empty() && !above.exists();
    let above = directory.ancestors().skip(1).take_while(missing);
    let mut made: Vec<_> = above.map(Utf8Path::to_owned).collect();
    made.reverse();
    for directory in &made {
        std::fs::create_dir(directory).map_err(|error| {
            Trouble::new(FAILED, format!("{directory}: {error}")).why(Why::Directory)
        })?;
    }
    Ok(made)
}

/// `unmount [-f] be`: done where it is not mounted, as there.
pub(super) fn unmount(context: &Context, words: &[String]) -> Done {
    let options = options(words, "f")?;
    let [name] = options.rest else {
        return Err(wrong_number(words));
    };
    let unmounted = environment(context, name)
        .and_then(|name| mounts::unmounted(context, &name, options.has('f')));
    let trouble = match unmounted {
        Ok(()) => return Ok(0),
        Err(trouble) if trouble.why == Why::NotMounted => return Ok(0),
        Err(trouble) => trouble,
    };
    let stop = match trouble.why {
        Why::NoEnvironment => {
            // be_unmount opens the dataset, and libzfs says why it cannot.
            let beroot = Survey::beroot(&context.host);
            let beroot = beroot.map_or_else(|_| String::new(), |beroot| format!("{beroot}/"));
            let lines = vec![
                format!("cannot open '{beroot}{name}': dataset does not exist"),
                "calling zfs_open() failed".to_owned(),
            ];
            Stop::Failed(code::ZFSOPEN, lines, Some(trouble))
        }
        _ => code::not_unmounted(trouble),
    };
    Err(stop.then(format!("Failed to unmount bootenv {name}")))
}

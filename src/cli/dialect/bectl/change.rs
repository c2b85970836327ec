//! `activate`, `create`, `destroy` and `rename`.

use std::cell::RefCell;

use super::super::{Done, Stop, activated, environment, new_name, say, snapshot, source, whisper};
use super::{code, named, options, wrong_number};
use crate::cli::context::Context;
use crate::cli::rename as renames;
use crate::cli::{activate as switches, create as creates, destroy as destroys, snapshot as takes};
use crate::plan::snapshot as taking;
use crate::plan::{Why, create as creating, destroy as destroying};
use crate::survey::Survey;

/// `activate [-t] be`, `activate -T [be]`.
///
/// For good at once, as there: `bootfs` or the loader's default, last good, and the promotion;
/// nothing is tried and confirmed. The files go along, and where both sides changed one
/// it ends with nothing changed.
pub(super) fn activate(context: &Context, words: &[String]) -> Done {
    let options = options(words, "tT")?;
    let (once, reset) = (options.has('t'), options.has('T'));
    if once && reset {
        return Err(Stop::Usage(Vec::new()));
    }
    let name = match options.rest {
        [name] if !reset => name,
        [] | [_] if reset => return not_once(context),
        _ => return Err(wrong_number(words)),
    };
    let when = if once { " for next boot" } else { "" };
    match activated(context, name, once) {
        Ok(()) => say(&format!(
            "Successfully activated boot environment {name}{when}"
        ))
        .map(|()| 0),
        Err(trouble) => {
            say(&format!(
                "Did not successfully activate boot environment {name}{when}"
            ))?;
            Err(code::failed(trouble))
        }
    }
}

fn not_once(context: &Context) -> Done {
    match switches::not_once(context) {
        Ok(_) => say("Temporary activation removed").map(|()| 0),
        Err(trouble) => {
            say("Failed to remove temporary activation")?;
            Err(code::failed(trouble))
        }
    }
}

/// `create [-r] [-e be|be@snap] new`, `create [-r] be@snap`, `create -E new`.
pub(super) fn create(context: &Context, words: &[String]) -> Done {
    let options = options(words, "e:rE")?;
    let [name] = options.rest else {
        return Err(wrong_number(words));
    };
    let (from, recursive, empty) = (options.value('e'), options.has('r'), options.has('E'));
    if empty && (from.is_some() || recursive || name.contains('@')) {
        return Err(Stop::Usage(Vec::new()));
    }
    if let Some((of, component)) = name.split_once('@') {
        return take(context, name, !recursive).map_err(|stop| {
            stop.then(format!(
                "Failed to create a snapshot '{component}' of '{of}'"
            ))
        });
    }
    let created = || {
        let request = creating::Request {
            from: source(context, from)?,
            name: new_name(context, name)?,
            description: None,
            settings: Vec::new(),
            pool: None,
            shallow: !recursive,
        };
        if empty {
            return creates::emptied(context, &request).map(drop);
        }
        let report = creates::made(context, &request)?;
        creates::follow(context, &request, &report);
        Ok(())
    };
    created().map(|()| 0).map_err(|trouble| {
        let line = match (trouble.why, from) {
            (Why::Name, _) if name.contains(' ') => {
                "bectl create: boot environment name must not contain spaces".to_owned()
            }
            (_, Some(from)) => {
                format!("Failed to create bootenv {name} from snapshot {from}")
            }
            (_, None) => format!("Failed to create bootenv {name}"),
        };
        code::failed(trouble).then(line)
    })
}

fn take(context: &Context, name: &str, shallow: bool) -> Done {
    let taken = || {
        let target = snapshot(context, name)?;
        let request = taking::Request {
            shallow,
            ..target.into()
        };
        takes::taken(context, &request)
    };
    taken().map(|_| 0).map_err(|trouble| {
        let whole = match Survey::beroot(&context.host) {
            Ok(beroot) if !name.contains('/') => format!("{beroot}/{name}"),
            _ => name.to_owned(),
        };
        code::no_snapshot(trouble, &whole)
    })
}

/// `destroy [-Fo] be`, `destroy be@snap`: never asks.
pub(super) fn destroy(context: &Context, words: &[String]) -> Done {
    let options = options(words, "Fo")?;
    let [target] = options.rest else {
        return Err(wrong_number(words));
    };
    if target.contains('@') {
        let destroyed =
            snapshot(context, target).and_then(|target| destroys::snapshot(context, &target));
        return destroyed.map(|_| 0).map_err(code::not_destroyed);
    }
    let left = RefCell::new(None);
    let destroyed = environment(context, target).and_then(|name| {
        let request = destroying::Request {
            name,
            force: options.has('F'),
            origins: match options.has('o') {
                true => destroying::Origins::All,
                false => destroying::Origins::Own,
            },
        };
        destroys::environment(context, &request, |survey, _| {
            left.replace(origin_left(survey, &request));
            Ok(())
        })
    });
    destroyed.map_err(code::not_destroyed)?;
    if let Some(origin) = left.take() {
        whisper(&format!("bectl destroy: leaving origin '{origin}' intact"));
    }
    Ok(0)
}

/// The origin that stays because somebody else made it.
fn origin_left(survey: &Survey, request: &destroying::Request) -> Option<String> {
    if request.origins == destroying::Origins::All {
        return None;
    }
    let origin = survey.environment(&request.name)?.root.origin.as_ref()?;
    let own = survey
        .snapshot(origin)
        .is_some_and(|snapshot| survey.is_reclaimable(snapshot));
    (!own).then(|| origin.to_string())
}

/// `rename old new`.
pub(super) fn rename(context: &Context, words: &[String]) -> Done {
    let [old, new] = match named(words).1 {
        [old, new] => [old, new],
        [] | [_] => return Err(super::miscounted(words, "missing argument")),
        _ => return Err(super::miscounted(words, "too many arguments")),
    };
    let renamed = || {
        let target = new_name(context, new)?;
        let name = environment(context, old)?;
        renames::renamed(context, &name, &target, false)
    };
    renamed().map(|_| 0).map_err(|trouble| {
        code::failed(trouble).then(format!("Failed to rename bootenv {old} to {new}"))
    })
}

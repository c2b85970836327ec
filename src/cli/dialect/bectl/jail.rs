//! `jail` and `unjail`: the environment as a contained system, by systemd-nspawn(1).

use camino::{Utf8Path, Utf8PathBuf};

use super::super::{Done, Stop, environment};
use super::parameter::Parameters;
use super::{code, miscounted, named, options, wrong_number};
use crate::be::BeName;
use crate::cli::context::Context;
use crate::cli::error::{BUSY, Trouble};
use crate::cli::mount;
use crate::os::container::{Container, Running};
use crate::plan::Why;
use crate::survey::{Scope, Survey};

/// How often a directory is unmounted anew that what has just ended may still hold.
const ATTEMPTS: u32 = 20;

/// How long is waited in between.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

/// One line of bectl's own, and why.
fn stop(line: String, trouble: Option<Trouble>) -> Stop {
    Stop::Failed(code::OWN, vec![line], trouble)
}

/// `jail [-bU] [-o name=value | -u name]... be [utility [argument...]]`.
///
/// A command, `/bin/sh` where none is given, runs in it; when it has ended, the environment is
/// unmounted, but for `-U`. With `-b` the environment boots, and runs until `unjail`. The
/// exit status is the command's, which bectl's does not tell.
pub(super) fn jail(context: &Context, words: &[String]) -> Done {
    let options = options(words, "bo:Uu:")?;
    let mut parameters = Parameters::default();
    for (letter, value) in &options.found {
        let value = value.unwrap_or_default();
        match letter {
            'o' => parameters.set(value).map_err(|line| stop(line, None))?,
            'u' => parameters.unset(value),
            _ => {}
        }
    }
    let Some((name, utility)) = options.rest.split_first() else {
        return Err(miscounted(words, "missing boot environment name"));
    };
    let meant = parameters.meant(name).map_err(|without| {
        let line = format!(
            "bectl jail: these parameters have no counterpart in systemd-nspawn: {}",
            without.join(" ")
        );
        stop(line, None)
    })?;
    let not_mounted = |trouble| stop("could not mount bootenv".to_owned(), Some(trouble));
    let name = environment(context, name).map_err(not_mounted)?;
    let batch = options.has('b');
    let root = super::mount::mounted(context, &name, meant.path.as_deref()).map_err(not_mounted)?;
    let container = Container {
        name: meant.name,
        root: root.clone(),
        hostname: meant.hostname,
        private_network: meant.private_network,
        command: (!batch).then(|| match utility {
            [] => vec!["/bin/sh".to_owned()],
            words => words.to_vec(),
        }),
    };
    let ended = context.host.platform.contain(&container);
    if ended.is_err() || !(batch || options.has('U')) {
        let unmounted = unmount(context, &name);
        if ended.is_ok() {
            unmounted.map_err(code::not_unmounted)?;
        }
    }
    ended.map_err(|error| {
        stop(
            "bectl jail: failed to execute".to_owned(),
            Some(error.into()),
        )
    })
}

/// Unmounts it, also where the kernel is still taking away what used it.
fn unmount(context: &Context, name: &BeName) -> Result<(), Trouble> {
    let mut unmounted = mount::unmounted(context, name, false);
    for _ in 0..ATTEMPTS {
        match &unmounted {
            Err(trouble) if trouble.exit == BUSY => {}
            _ => break,
        }
        std::thread::sleep(PAUSE);
        unmounted = mount::unmounted(context, name, false);
    }
    unmounted
}

/// What a word of `unjail` is about.
struct Found {
    /// The contained system; none where only the mounts were left (`jail -U`).
    running: Option<Running>,
    /// Where it is mounted.
    root: Option<Utf8PathBuf>,
}

/// `unjail jailId|jailName|be`: ends it and unmounts the environment.
pub(super) fn unjail(context: &Context, words: &[String]) -> Done {
    let (command, [target]) = (named(words).0, named(words).1) else {
        return Err(wrong_number(words));
    };
    let survey = context.look(Scope::Names).map_err(code::failed)?;
    let contained = context.host.platform.contained();
    let contained = contained.map_err(|error| code::failed(error.into()))?;
    let found = find(context, &survey, contained, target).ok_or_else(|| {
        let line = format!("bectl {command}: failed to locate BE by '{target}'");
        stop(line, None)
    })?;
    let name = found
        .root
        .as_deref()
        .and_then(|root| mounted_at(&survey, root))
        .ok_or_else(|| {
            let line = format!("bectl {command}: jail requested by '{target}' not a BE");
            stop(line, None)
        })?;
    if let Some(running) = &found.running {
        let ended = context.host.platform.end_contained(running);
        ended.map_err(|error| code::failed(error.into()))?;
    }
    match unmount(context, &name) {
        Ok(()) => Ok(0),
        Err(trouble) if trouble.why == Why::NotMounted => Ok(0),
        Err(trouble) => Err(code::not_unmounted(trouble)),
    }
}

/// By the name of the system, its first process, or the environment.
fn find(
    context: &Context,
    survey: &Survey,
    contained: Vec<Running>,
    target: &str,
) -> Option<Found> {
    let leader = target.parse().ok();
    let is_meant = |running: &Running| {
        running.name == target || (leader.is_some() && running.leader == leader)
    };
    let of_environment = || {
        let name = environment(context, target).ok()?;
        let environment = survey.environment(&name)?;
        let mounted = environment
            .mounted_at()
            .filter(|_| !environment.is_running());
        mounted.map(Utf8Path::to_owned)
    };
    if let Some(running) = contained.iter().find(|running| is_meant(running)) {
        return Some(Found {
            running: Some(running.clone()),
            root: running.root.clone(),
        });
    }
    let root = of_environment()?;
    let running = contained
        .into_iter()
        .find(|running| running.root.as_ref() == Some(&root));
    Some(Found {
        running,
        root: Some(root),
    })
}

/// The environment whose root is mounted there.
fn mounted_at(survey: &Survey, root: &Utf8Path) -> Option<BeName> {
    let mut environments = survey.environments();
    let environment = environments.find(|environment| environment.mounted_at() == Some(root))?;
    environment.name().parse().ok()
}

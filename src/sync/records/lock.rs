//! Locks: an account that one side locked stays locked, whatever the other did.
//!
//! A password is locked by what stands in front of the hash: `!` by usermod(8) and
//! passwd(1), `*` for one that never was any. The hash behind is not lost by it, so that
//! an account that is locked on one side, and has a new password on the other, has the new
//! password with the lock before it. A shell of `nologin` locks nothing: keys and
//! programs that look only at the password let the user in.

/// Whether nobody can log in with the password.
#[must_use]
pub fn is_locked(password: &[u8]) -> bool {
    matches!(password.first(), Some(b'!' | b'*'))
}

/// Whether an account with this expiration date ended long ago: what locks more than the
/// password (usermod(8) says day 1, chage(1) 0).
#[must_use]
pub fn ends(date: &[u8]) -> bool {
    matches!(date, b"0" | b"1")
}

/// The marks in front, and the hash.
fn split(password: &[u8]) -> (&[u8], &[u8]) {
    if password.first() == Some(&b'*') {
        return (password, &[]);
    }
    let marks = password.iter().take_while(|byte| **byte == b'!').count();
    password.split_at(marks)
}

/// Whether a side did nothing but lock it.
fn only_locked(before: &[u8], after: &[u8]) -> bool {
    !is_locked(before) && is_locked(after) && split(after).1 == before
}

/// A hash with the lock of another in front. `*` stands for itself.
fn locked_as(lock: &[u8], password: &[u8]) -> Vec<u8> {
    if lock.first() == Some(&b'*') || password.is_empty() {
        return lock.to_vec();
    }
    [split(lock).0, password].concat()
}

/// What the target's password becomes, where both have one and the source changed its;
/// `None` for a conflict.
pub(super) fn merge(
    base_source: &[u8],
    source: &[u8],
    base_target: &[u8],
    target: &[u8],
) -> Option<Vec<u8>> {
    let whole = |password: &[u8]| Some(password.to_vec());
    let source_locks = !is_locked(base_source) && is_locked(source);
    let target_locks = !is_locked(base_target) && is_locked(target);
    let changed = base_target != target;
    if source_locks {
        let only = only_locked(base_source, source);
        return match is_locked(target) {
            // What the source did is done already.
            true if only => whole(target),
            true if !changed || only_locked(base_target, target) => whole(source),
            true => None,
            false if only => Some(locked_as(source, target)),
            false => whole(source),
        };
    }
    if target_locks {
        return if is_locked(source)
            || split(source).1 == split(base_source).1
            || !only_locked(base_target, target)
        {
            whole(target)
        } else {
            Some(locked_as(target, source))
        };
    }
    // Locked in the target alone, and that for long: a new password is no unlocking.
    if is_locked(target) && !is_locked(source) && !is_locked(base_source) {
        let hash = split(target).1;
        return (hash == split(base_target).1 || hash == source).then(|| locked_as(target, source));
    }
    if changed { None } else { whole(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_wins_and_no_new_password_is_lost_by_it() {
        for (four, result) in [
            // Locked on one side.
            (["h", "!h", "h", "h"], Some("!h")),
            (["h", "!h", "h", "new"], Some("!new")),
            (["h", "new", "h", "!h"], Some("!new")),
            (["h", "!!h", "h", "new"], Some("!!new")),
            (["h", "*", "h", "new"], Some("*")),
            (["h", "new", "h", "*"], Some("*")),
            (["h", "!other", "h", "new"], Some("!other")),
            // No password at all is none to keep.
            (["h", "!h", "h", ""], Some("!h")),
            (["h", "", "h", "!h"], Some("!h")),
            // Locked on both.
            (["h", "!h", "h", "!new"], Some("!new")),
            (["h", "!new", "h", "!h"], Some("!new")),
            (["h", "!h", "h", "*"], Some("*")),
            (["h", "!new", "h", "!newer"], None),
            // Unlocked on one side alone.
            (["!h", "h", "!h", "!h"], Some("h")),
            (["!h", "h", "!h", "!new"], None),
            (["!h", "new", "!h", "*"], None),
            // Changed on both.
            (["h", "new", "h", "newer"], None),
            (["!h", "!new", "!h", "!newer"], None),
            // Different before.
            (["h", "!h", "g", "g"], Some("!g")),
            (["h", "!h", "!g", "!g"], Some("!g")),
            (["!h", "h", "g", "!g"], Some("!g")),
            (["h", "new", "!g", "!g"], Some("!new")),
            (["h", "new", "!g", "!new"], Some("!new")),
            (["h", "new", "!g", "!newer"], None),
            (["h", "new", "*", "*"], Some("*")),
        ] {
            let [base_source, source, base_target, target] = four.map(str::as_bytes);
            assert_eq!(
                merge(base_source, source, base_target, target).as_deref(),
                result.map(str::as_bytes),
                "{four:?}"
            );
        }
    }
}

//! A shorter history that still goes wrong.

/// How often a history is played again to make it shorter.
const REPLAYS: usize = 20;

/// Leaves out what is not needed for `fails`: halves, quarters, in the end each
/// one by itself. The least that was found within the replays there are.
pub fn shortest<T: Clone>(history: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut kept = history.to_vec();
    let mut replays = 0;
    let mut length = kept.len().div_ceil(2);
    while length > 0 {
        // From the end: the last ones are needed by nothing after them.
        let mut end = kept.len();
        let mut shorter = false;
        while end > 0 && replays < REPLAYS {
            let begin = end.saturating_sub(length);
            let mut without = kept.clone();
            without.drain(begin..end);
            replays += 1;
            if fails(&without) {
                kept = without;
                shorter = true;
            }
            end = begin;
        }
        if replays == REPLAYS {
            break;
        }
        if !(shorter && length == 1) {
            length /= 2;
        }
    }
    kept
}

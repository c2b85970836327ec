//! What must be true of every parser whatever it is given: one function per
//! fuzz target. `tests/parsers` runs the same functions over `corpus/`.

mod archives;
mod files;
mod listings;
mod loaders;
mod records;
mod simulator;
mod synchronization;

pub use archives::{archive_input, archive_list, archive_manifest, archive_rest, archive_token};
pub use files::{fstab, list_cache, mountinfo};
pub use listings::{
    holds, pools, program, properties, properties_values, send_size, settable, tree, tree_values,
    user_properties,
};
pub use loaders::{grub_block, grub_menu, label};
pub use records::{intent, marker, names, trial};
pub use simulator::sim_state;
pub use synchronization::{sync_append, sync_records, synclist};

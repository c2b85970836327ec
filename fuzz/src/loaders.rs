//! What is on a loader's partition, where anybody may have written; and what is
//! printed of a pool's labels.

use beadm_rs::boot::grub::block::Block;
use beadm_rs::boot::grub::envblock::{BYTES, EnvBlock};
use beadm_rs::boot::grub::menu::Menu;
use beadm_rs::boot::grub::stub::{self, Stub};
use beadm_rs::os::label::{Label, Vendor, dataset, device};

/// A block is read as GRUB reads it, or not at all, and written as it was read.
pub fn grub_block(data: &[u8]) {
    let mut bytes = b"# GRUB Environment Block\n".to_vec();
    bytes.extend(data);
    bytes.resize(BYTES, b'#');
    for bytes in [data, &bytes] {
        let read = EnvBlock::parse(bytes);
        if let Ok(block) = &read
            && let Ok(text) = block.text()
        {
            assert_eq!(text.len(), BYTES);
            assert_eq!(EnvBlock::parse(text.as_bytes()).as_ref(), Ok(block));
        }
        if let Ok(block) = Block::parse(bytes) {
            let text = block.text().expect("it stood in one");
            assert_eq!(Block::parse(text.as_bytes()), Ok(block));
        }
    }
}

/// A menu is read as it was written, whatever stands in it; and lines are put
/// into what somebody else wrote without changing any of that.
pub fn grub_menu(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(menu) = Menu::parse(&text) {
        let written = menu.text().expect("it is JSON");
        assert_eq!(Menu::parse(&written).expect("it was written"), menu);
    }
    match (stub::state(&text), stub::inserted(&text)) {
        (Stub::Damaged, inserted) => assert_eq!(inserted, None),
        (state, Some(inserted)) => {
            assert_eq!(stub::state(&inserted), Stub::Current);
            assert_eq!(inserted == text, state == Stub::Current);
            let behind = stub::behind(&text);
            assert!(inserted.ends_with(behind));
            let _ = stub::overruled(behind);
        }
        (state, None) => panic!("{state:?} and nothing inserted"),
    }
}

/// What boots once is one line of what was printed, and a dataset that is read from
/// it is written as it was read.
pub fn label(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for text in [text.as_ref(), &format!("nvlist version: 0\n{text}")] {
        for vendor in [Vendor::FreeBsd, Vendor::Illumos] {
            let Ok(label) = Label::parse(text, vendor) else {
                continue;
            };
            let Some(once) = label.once else { continue };
            let line = format!("\t{} = {once}", vendor.key());
            assert_eq!(text.lines().filter(|found| *found == line).count(), 1);
            if let Some(root) = dataset(&once) {
                assert_eq!(dataset(&device(&root)), Some(root));
            }
        }
    }
}

//! Sizes as libzfs writes them for people.

/// At most five characters: bytes and whole multiples without decimals, everything else with as
/// many as there is room for (`zfs_nicenum`, and `nicenum_scale` of illumos' libcmdutils).
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn nicenum(number: u64) -> String {
    const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
    let index = (number.checked_ilog2().unwrap_or(0) / 10) as usize;
    let unit = UNITS.get(index).copied().unwrap_or_default();
    let scale = 1_u64 << (10 * index);
    if number.is_multiple_of(scale) {
        return format!("{}{unit}", number / scale);
    }
    let value = number as f64 / scale as f64;
    let written = |decimals: usize| format!("{value:.decimals$}{unit}");
    [2, 1]
        .into_iter()
        .map(written)
        .find(|text| text.len() <= 5)
        .unwrap_or_else(|| written(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_libzfs() {
        for (number, text) in [
            (0, "0"),
            (512, "512"),
            (1023, "1023"),
            (1024, "1K"),
            (1536, "1.50K"),
            (98_304, "96K"),
            (104_960, "102K"),
            (10_342, "10.1K"),
            (1_048_575, "1024K"),
            (1_299_227_607, "1.21G"),
            (9_126_805_504, "8.50G"),
            (u64::MAX, "16.0E"),
        ] {
            assert_eq!(nicenum(number), text);
        }
    }
}

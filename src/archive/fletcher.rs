//! The checksum of ZFS's streams (`fletcher_4_native` in OpenZFS's `zfs_fletcher.c`):
//! four sums over words of four bytes, each the sum of the one before.

/// What was summed up so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fletcher4 {
    sums: [u64; 4],
    /// The beginning of a word whose end has not come yet.
    word: [u8; 4],
    begun: usize,
}

impl Fletcher4 {
    /// Takes what comes next, in parts of any length.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while self.begun > 0 || bytes.len() < 4 {
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            if let Some(place) = self.word.get_mut(self.begun) {
                *place = *first;
            }
            self.begun = (self.begun + 1) % 4;
            if self.begun == 0 {
                self.sum(self.word);
            }
        }
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            self.sum(*word);
        }
        if !rest.is_empty() {
            self.push(rest);
        }
    }

    fn sum(&mut self, word: [u8; 4]) {
        let [a, b, c, d] = &mut self.sums;
        *a = a.wrapping_add(u64::from(u32::from_le_bytes(word)));
        *b = b.wrapping_add(*a);
        *c = c.wrapping_add(*b);
        *d = d.wrapping_add(*c);
    }

    /// The sums over all whole words; what begins another does not count.
    #[must_use]
    pub fn sums(&self) -> [u64; 4] {
        self.sums
    }

    /// They as a little-endian machine writes them into a record.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (place, sum) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.sums) {
            *place = sum.to_le_bytes();
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Fletcher4;

    #[test]
    fn it_is_the_same_in_whatever_parts_it_comes() {
        let bytes: Vec<u8> = (0..1003_u32).map(|it| (it * 7 % 251) as u8).collect();
        let mut plain = [0_u64; 4];
        for word in bytes.as_chunks::<4>().0 {
            plain[0] += u64::from(u32::from_le_bytes(*word));
            for at in 1..4 {
                plain[at] += plain[at - 1];
            }
        }
        for length in [1, 2, 3, 4, 5, 7, 64, 1003] {
            let mut sum = Fletcher4::default();
            for part in bytes.chunks(length) {
                sum.push(part);
            }
            assert_eq!(sum.sums(), plain, "{length}");
        }
    }
}

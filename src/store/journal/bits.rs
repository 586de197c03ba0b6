//! One bit per event of a transaction.

/// A set of small numbers, stored as a bitmap: bit `i % 8` of byte `i / 8`. Bytes that aren't there are zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bits(Vec<u8>);

impl Bits {
    /// The set in its stored form.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The form in which it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `index` is in the set.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        let (byte, mask) = place(index);
        self.0.get(byte).is_some_and(|bits| bits & mask != 0)
    }

    /// Adds `index`; returns whether it is new.
    pub fn insert(&mut self, index: u32) -> bool {
        let (byte, mask) = place(index);
        if self.0.len() <= byte {
            self.0.resize(byte + 1, 0);
        }
        let new = self.0[byte] & mask == 0;
        self.0[byte] |= mask;
        new
    }

    /// The numbers below `end` that aren't in the set, in order.
    pub fn missing(&self, end: u32) -> impl Iterator<Item = u32> {
        (0..end).filter(|index| !self.contains(*index))
    }
}

fn place(index: u32) -> (usize, u8) {
    let byte = usize::try_from(index / 8).expect("an eighth of a u32 fits into usize");
    (byte, 1 << (index % 8))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_are_a_set(numbers in proptest::collection::vec(0_u32..300, 0..50)) {
            let mut bits = Bits::default();
            let mut set = BTreeSet::new();
            for number in numbers {
                prop_assert_eq!(bits.insert(number), set.insert(number));
            }
            let read_back = Bits::from_bytes(bits.as_bytes().to_vec());
            let missing: Vec<u32> = read_back.missing(300).collect();
            prop_assert_eq!(missing, (0..300).filter(|n| !set.contains(n)).collect::<Vec<_>>());
        }
    }
}

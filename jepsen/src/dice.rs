//! Dice: the only source of chance. One seed gives one sequence (`SplitMix64`).
//!
//! Holds: a seed fixes what is sent and when the faults fall. It does not fix the scheduler, so
//! a run can be repeated in kind, not to the microsecond.

#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice of their own for worker `n`, so that workers do not share a sequence.
    pub(crate) fn fork(&self, n: u64) -> Self {
        let mut forked = Self(self.0 ^ n.wrapping_mul(0xd6e8_feb8_6659_fd93));
        forked.roll();
        forked
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.roll().checked_rem(end).unwrap_or(0)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn one_seed_gives_one_sequence_and_forks_differ() {
        let (mut a, mut b) = (Dice::new(7), Dice::new(7));
        let rolls = (0..100).map(|_| (a.roll(), b.roll())).collect::<Vec<_>>();
        assert!(rolls.iter().all(|(a, b)| a == b));
        assert_ne!(Dice::new(7).fork(1).roll(), Dice::new(7).fork(2).roll());
    }
}

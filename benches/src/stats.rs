//! What rounds come to: medians, and how far apart the rounds were.

/// The middle one; the upper of two middle ones.
pub(crate) fn median<T: Copy + PartialOrd + Default>(values: &[T]) -> T {
    let sorted = sorted(values);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// The smallest and the largest.
pub(crate) fn spread<T: Copy + PartialOrd + Default>(values: &[T]) -> (T, T) {
    let sorted = sorted(values);
    (
        sorted.first().copied().unwrap_or_default(),
        sorted.last().copied().unwrap_or_default(),
    )
}

/// `part` by `whole`, round by round. Why not the ratio of the medians: the two of one round were
/// measured side by side, in the same minute.
pub(crate) fn ratios(part: &[f64], whole: &[f64]) -> Vec<f64> {
    part.iter().zip(whole).map(|(a, b)| a / b).collect()
}

fn sorted<T: Copy + PartialOrd>(values: &[T]) -> Vec<T> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wild_round_does_not_move_the_median() {
        assert_eq!(3, median(&[2, 900, 3, 4, 1]));
        assert_eq!(3, median(&[4, 3, 2, 1]));
        assert_eq!(0, median::<u64>(&[]));
    }

    #[test]
    fn the_spread_names_the_wild_round() {
        assert_eq!((1, 900), spread(&[2, 900, 3, 4, 1]));
        assert_eq!((0, 0), spread::<u64>(&[]));
    }

    #[test]
    fn a_ratio_is_taken_within_its_round() {
        // A disk that becomes ten times slower hits both; the ratio of the medians would not show it.
        let ratios = ratios(&[100.0, 10.0, 5.0], &[200.0, 20.0, 10.0]);
        assert_eq!(vec![0.5; 3], ratios);
    }
}

//! What an edit of rows or columns does to the places of others.

use std::ops::Range;

/// Rows or columns inserted, removed or moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shift {
    Insert {
        at: usize,
        count: usize,
    },
    Remove(Range<usize>),
    /// `to` is counted before anything is moved, and lies outside of what is moved.
    Move {
        from: Range<usize>,
        to: usize,
    },
}

impl Shift {
    /// Where that place is afterwards; `None`: it is gone.
    pub(crate) fn place(&self, place: usize) -> Option<usize> {
        match self {
            Self::Insert { at, count } => Some(if place >= *at { place + count } else { place }),
            Self::Remove(range) if range.contains(&place) => None,
            Self::Remove(range) if place >= range.end => Some(place - range.len()),
            Self::Remove(_) => Some(place),
            Self::Move { from, to } => {
                let start = if *to > from.start {
                    to - from.len()
                } else {
                    *to
                };
                if from.contains(&place) {
                    return Some(place - from.start + start);
                }
                let left = if place >= from.end {
                    place - from.len()
                } else {
                    place
                };
                Some(if left >= start {
                    left + from.len()
                } else {
                    left
                })
            }
        }
    }

    /// A range, without end where that is `None`; `None`: it is gone. One that is moved in part
    /// stays where it is.
    pub(crate) fn range(
        &self,
        (start, end): (usize, Option<usize>),
    ) -> Option<(usize, Option<usize>)> {
        match self {
            Self::Insert { at, count } => {
                let moved =
                    |place: usize, is_moved: bool| if is_moved { place + count } else { place };
                // What is inserted right before it does not belong to it, nor what is right behind.
                let start = if start == 0 && *at == 0 && end.is_none() {
                    0
                } else {
                    moved(start, start >= *at)
                };
                Some((start, end.map(|end| moved(end, end > *at))))
            }
            Self::Remove(range) => {
                let cut = |place: usize| {
                    let gone = range.end.min(place).saturating_sub(range.start);
                    place - gone.min(place)
                };
                let (start, end) = (cut(start), end.map(cut));
                (end.is_none_or(|end| start < end)).then_some((start, end))
            }
            Self::Move { from, .. } => match end {
                Some(end) if from.start <= start && end <= from.end => {
                    let moved = self.place(start)?;
                    Some((moved, Some(moved + end - start)))
                }
                end => Some((start, end)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Shift;

    /// The shift done to a plain list, for comparison.
    fn done(shift: &Shift, mut list: Vec<Option<usize>>) -> Vec<Option<usize>> {
        match shift {
            Shift::Insert { at, count } => {
                list.splice(at..at, vec![None; *count]);
            }
            Shift::Remove(range) => {
                list.drain(range.clone());
            }
            Shift::Move { from, to } => {
                let moved = list.drain(from.clone()).collect::<Vec<_>>();
                let at = if *to > from.start {
                    to - from.len()
                } else {
                    *to
                };
                list.splice(at..at, moved);
            }
        }
        list
    }

    #[test]
    fn a_place_is_where_a_plain_list_has_it() {
        let mut shifts = Vec::new();
        for a in 0..6 {
            for b in a + 1..=6 {
                shifts.push(Shift::Remove(a..b));
                shifts.push(Shift::Insert { at: a, count: b });
                let others = (0..=6).filter(|to| *to <= a || *to >= b);
                shifts.extend(others.map(|to| Shift::Move { from: a..b, to }));
            }
        }
        for shift in shifts {
            let list = done(&shift, (0..6).map(Some).collect());
            for place in 0..6 {
                let found = list.iter().position(|other| *other == Some(place));
                assert_eq!(shift.place(place), found, "{place} under {shift:?}");
            }
        }
    }

    #[test]
    fn a_range_grows_shrinks_and_goes() {
        let insert = Shift::Insert { at: 2, count: 3 };
        assert_eq!(insert.range((0, Some(2))), Some((0, Some(2))));
        assert_eq!(insert.range((1, Some(4))), Some((1, Some(7))));
        assert_eq!(insert.range((2, None)), Some((5, None)));
        let remove = Shift::Remove(1..3);
        assert_eq!(remove.range((1, Some(3))), None);
        assert_eq!(remove.range((0, Some(2))), Some((0, Some(1))));
        assert_eq!(remove.range((2, Some(5))), Some((1, Some(3))));
        assert_eq!(remove.range((4, None)), Some((2, None)));
        let shift = Shift::Move { from: 1..3, to: 5 };
        assert_eq!(shift.range((1, Some(2))), Some((3, Some(4))));
        assert_eq!(shift.range((0, Some(2))), Some((0, Some(2))));
    }
}

//! How much of a list fits one answer.

use serde::Serialize;

/// As much of a list as fits `room` bytes as JSON, and how many items were left out. Items of a lower rank are taken first, and within a
/// rank those at the front; what is taken keeps its order.
pub(super) fn fitting<T: Serialize>(items: Vec<T>, room: usize, rank: impl Fn(&T) -> u8) -> (Vec<T>, usize) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|place| rank(&items[*place]));
    let mut left = room;
    let mut fits = vec![false; items.len()];
    for place in order {
        // One byte for the comma.
        let Some(rest) = left.checked_sub(size(&items[place]).saturating_add(1)) else { break };
        (left, fits[place]) = (rest, true);
    }
    let all = items.len();
    let taken: Vec<T> = items.into_iter().zip(fits).filter_map(|(item, fits)| fits.then_some(item)).collect();
    let left_out = all - taken.len();
    (taken, left_out)
}

/// The length of a value as JSON, in bytes. What can't be told as JSON fits nowhere.
pub(super) fn size(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_by_rank_and_counted() {
        // Two characters, their quotes and a comma: five bytes each.
        let items = || vec!["b1", "a1", "b2", "a2"];
        let rank = |item: &&str| u8::from(item.starts_with('b'));
        assert_eq!(fitting(items(), 20, rank), (items(), 0));
        assert_eq!(fitting(items(), 19, rank), (vec!["b1", "a1", "a2"], 1));
        assert_eq!(fitting(items(), 10, rank), (vec!["a1", "a2"], 2));
        assert_eq!(fitting(items(), 10, |_| 0), (vec!["b1", "a1"], 2));
        assert_eq!(fitting(items(), 4, rank), (vec![], 4));
        assert_eq!(fitting(Vec::<u8>::new(), 0, |_| 0), (vec![], 0));
    }
}

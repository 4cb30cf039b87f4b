//! Age-ordered lists over one space of dense indices.
//!
//! Invariants: an index is in at most one of the `N` lists; `younger` and `older` of neighbours mirror each other.
//! Links lie in one vector that grows with the highest index and never shrinks; every verb is O(1).

use alloc::vec::Vec;

const NONE: u32 = u32::MAX;
const NO_LIST: u8 = u8::MAX;

#[derive(Clone, Copy)]
struct Link {
    older: u32,
    younger: u32,
    list: u8,
}

#[derive(Clone, Copy)]
struct Ends {
    oldest: u32,
    youngest: u32,
    len: usize,
}

/// `N` lists, each from its oldest to its youngest index.
pub(super) struct Lists<const N: usize> {
    links: Vec<Link>,
    ends: [Ends; N],
}

impl<const N: usize> Lists<N> {
    pub(super) const fn new() -> Self {
        Self { links: Vec::new(), ends: [Ends { oldest: NONE, youngest: NONE, len: 0 }; N] }
    }

    /// The list that holds `index`.
    pub(super) fn list_of(&self, index: u32) -> Option<usize> {
        let list = self.links.get(index as usize)?.list;
        (list != NO_LIST).then_some(usize::from(list))
    }

    pub(super) fn len(&self, list: usize) -> usize {
        self.ends[list].len
    }

    pub(super) fn total(&self) -> usize {
        self.ends.iter().map(|ends| ends.len).sum()
    }

    pub(super) fn oldest(&self, list: usize) -> Option<u32> {
        let oldest = self.ends[list].oldest;
        (oldest != NONE).then_some(oldest)
    }

    /// The members of `list` from the oldest on.
    pub(super) fn oldest_first(&self, list: usize) -> impl Iterator<Item = u32> {
        self.walk(self.ends[list].oldest, |link| link.younger)
    }

    /// The members of `list` from the youngest on.
    pub(super) fn youngest_first(&self, list: usize) -> impl Iterator<Item = u32> {
        self.walk(self.ends[list].youngest, |link| link.older)
    }

    fn walk(&self, first: u32, next: impl Fn(&Link) -> u32) -> impl Iterator<Item = u32> {
        let member = |index: u32| (index != NONE).then_some(index);
        core::iter::successors(member(first), move |&index| member(next(&self.links[index as usize])))
    }

    /// Puts `index`, which is in no list, at the young end of `list`.
    pub(super) fn push_young(&mut self, list: usize, index: u32) {
        let older = self.ends[list].youngest;
        self.link(index, Link { older, younger: NONE, list: list as u8 });
    }

    /// Puts `index`, which is in no list, right beside `anchor` on its older side.
    pub(super) fn push_older_than(&mut self, anchor: u32, index: u32) {
        let Link { older, list, .. } = self.links[anchor as usize];
        assert!(list != NO_LIST, "the anchor {anchor} is in no list");
        self.link(index, Link { older, younger: anchor, list });
    }

    /// Takes `index` out of its list, which is returned.
    pub(super) fn remove(&mut self, index: u32) -> Option<usize> {
        let list = self.list_of(index)?;
        let Link { older, younger, .. } = self.links[index as usize];
        *self.younger_of(older, list) = younger;
        *self.older_of(younger, list) = older;
        self.links[index as usize].list = NO_LIST;
        self.ends[list].len -= 1;
        Some(list)
    }

    fn link(&mut self, index: u32, link: Link) {
        assert!(index != NONE, "the last handle stands for no block");
        if self.links.len() <= index as usize {
            self.links.resize(index as usize + 1, Link { older: NONE, younger: NONE, list: NO_LIST });
        }
        assert!(self.links[index as usize].list == NO_LIST, "block {index} is resident already");
        let list = usize::from(link.list);
        self.links[index as usize] = link;
        *self.younger_of(link.older, list) = index;
        *self.older_of(link.younger, list) = index;
        self.ends[list].len += 1;
    }

    /// Where "the one younger than `index`" is written; below the oldest that is the list's old end.
    fn younger_of(&mut self, index: u32, list: usize) -> &mut u32 {
        if index == NONE { &mut self.ends[list].oldest } else { &mut self.links[index as usize].younger }
    }

    /// Where "the one older than `index`" is written; above the youngest that is the list's young end.
    fn older_of(&mut self, index: u32, list: usize) -> &mut u32 {
        if index == NONE { &mut self.ends[list].youngest } else { &mut self.links[index as usize].older }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Oldest first, and the reverse walk must agree.
    fn members<const N: usize>(lists: &Lists<N>, list: usize) -> Vec<u32> {
        let forth: Vec<_> = lists.oldest_first(list).collect();
        let mut back: Vec<_> = lists.youngest_first(list).collect();
        back.reverse();
        assert_eq!(forth, back);
        assert_eq!(forth.len(), lists.len(list));
        forth
    }

    #[test]
    fn young_end_and_older_side_are_where_they_say() {
        let mut lists = Lists::<2>::new();
        lists.push_young(0, 4);
        lists.push_young(0, 9);
        lists.push_older_than(9, 1);
        lists.push_older_than(4, 2);
        lists.push_young(1, 3);
        assert_eq!(members(&lists, 0), [2, 4, 1, 9]);
        assert_eq!(members(&lists, 1), [3]);
        assert_eq!(lists.total(), 5);
    }

    #[test]
    fn either_end_and_the_middle_can_leave_and_come_back() {
        let mut lists = Lists::<1>::new();
        for index in 0..5 {
            lists.push_young(0, index);
        }
        for index in [0, 2, 4] {
            assert_eq!(lists.remove(index), Some(0));
            assert_eq!(lists.remove(index), None);
        }
        assert_eq!(members(&lists, 0), [1, 3]);
        lists.push_young(0, 2);
        assert_eq!(members(&lists, 0), [1, 3, 2]);
    }

    #[test]
    #[should_panic(expected = "resident already")]
    fn an_index_is_in_one_list_at_most() {
        let mut lists = Lists::<2>::new();
        lists.push_young(0, 1);
        lists.push_young(1, 1);
    }
}

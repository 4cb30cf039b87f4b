//! The walk of a match against the plain way: try every length, the longest first.
#![cfg(not(loom))]

use cascade_core::rule::{Probe, Rule, Share, Walk};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// What is there, by block and share.
type Presence = Vec<Vec<bool>>;

/// The blocks that a rule requires of a part of so many blocks.
fn required(rule: Rule, length: usize) -> std::ops::Range<usize> {
    match rule {
        Rule::Prefix => 0..length,
        Rule::Window { blocks } => length.saturating_sub(blocks.max(1) as usize)..length,
        Rule::LastState => length.saturating_sub(1)..length,
    }
}

fn longest(presence: &Presence, shares: &[Share]) -> usize {
    let is_usable = |&length: &usize| {
        let mut shares = shares.iter().enumerate();
        shares.all(|(i, share)| required(share.rule, length).all(|block| presence[block][i]))
    };
    if shares.is_empty() {
        0
    } else {
        (0..=presence.len()).rev().find(is_usable).expect("nothing needs nothing")
    }
}

/// A walk's answer, drawing `ahead` probes at a time, and what was looked at.
fn walked(presence: &Presence, mut walk: Walk<impl AsRef<[Share]>>, ahead: usize) -> (usize, Vec<Probe>) {
    let mut looked_at = Vec::new();
    loop {
        let drawn: Vec<Probe> = walk.by_ref().take(ahead).collect();
        if drawn.is_empty() {
            return (walk.length(), looked_at);
        }
        for probe in drawn {
            looked_at.push(probe);
            if !presence[probe.block][probe.share] {
                walk.missing(probe);
                break;
            }
        }
    }
}

fn forwards(presence: &Presence, rules: &[Rule]) -> (usize, Vec<Probe>) {
    walked(presence, Walk::new(presence.len(), &shares(rules)), 8)
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule = prop_oneof![
        Just(Rule::Prefix),
        (0u32..8).prop_map(|blocks| Rule::Window { blocks }),
        Just(Rule::LastState),
    ];
    prop::collection::vec(rule, 0..5)
}

fn shares(rules: &[Rule]) -> Vec<Share> {
    rules.iter().zip(0..).map(|(&rule, group)| Share::new(0, group).under(rule)).collect()
}

/// A chain in which one piece in `sparsity` is missing.
fn presence(shares: usize) -> impl Strategy<Value = Presence> {
    (1u32..40).prop_flat_map(move |sparsity| {
        let is_there = (0..sparsity).prop_map(|draw| draw > 0);
        prop::collection::vec(prop::collection::vec(is_there, shares), 0..40)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]
    #[test]
    fn a_walk_finds_what_trying_every_length_finds_and_looks_at_nothing_twice(
        (rules, presence) in rules().prop_flat_map(|rules| {
            let presence = presence(rules.len());
            (Just(rules), presence)
        }),
        ahead in 1usize..9,
    ) {
        let shares = shares(&rules);
        for walk in [Walk::new(presence.len(), &shares), Walk::backwards(presence.len(), &shares)] {
            let (length, looked_at) = walked(&presence, walk, ahead);
            prop_assert_eq!(length, longest(&presence, &shares));
            let distinct: BTreeSet<_> = looked_at.iter().map(|probe| (probe.block, probe.share)).collect();
            prop_assert_eq!(distinct.len(), looked_at.len(), "looked at twice");
            for (i, share) in shares.iter().enumerate() {
                let needed = required(share.rule, length);
                prop_assert!(needed.into_iter().all(|block| distinct.contains(&(block, i))), "taken for granted");
            }
        }
        let as_the_node_reads_them: Vec<Share> =
            shares.iter().map(|share| Share::from_word(share.to_word())).collect();
        let (length, _) = walked(&presence, Walk::new(presence.len(), as_the_node_reads_them), ahead);
        prop_assert_eq!(length, longest(&presence, &shares), "a share changes in its word");
    }
}

#[test]
fn the_way_backwards_sees_every_block_after_its_child() {
    let shares = shares(&[Rule::Prefix, Rule::Window { blocks: 4 }]);
    let (length, looked_at) = walked(&vec![vec![true; 2]; 20], Walk::backwards(20, &shares), 8);
    assert_eq!((length, looked_at.len()), (20, 24));
    assert!(looked_at.is_sorted_by(|earlier, later| earlier.block >= later.block));
}

#[test]
fn a_chain_that_is_there_costs_what_its_rules_require_and_no_more() {
    let rules = [Rule::Prefix, Rule::Window { blocks: 4 }, Rule::LastState];
    let (length, looked_at) = forwards(&vec![vec![true; 3]; 100], &rules);
    assert_eq!((length, looked_at.len()), (100, 100 + 4 + 1));
}

#[test]
fn a_state_that_is_kept_now_and_then_is_found_where_it_was_kept_last() {
    let kept = |block: usize| vec![true, block == 31 || block == 63];
    let rules = [Rule::Prefix, Rule::LastState];
    let chain: Presence = (0..100).map(kept).collect();
    let matched = [100, 64, 63, 31].map(|blocks| forwards(&chain[..blocks].to_vec(), &rules).0);
    assert_eq!(matched, [64, 64, 32, 0]);
}

#[test]
fn a_window_that_reaches_beyond_the_first_block_needs_what_there_is() {
    let rules = [Rule::Window { blocks: 8 }];
    assert_eq!(forwards(&vec![vec![true]; 3], &rules).0, 3);
    let holed: Presence = [true, false, true, true].map(|is_there| vec![is_there]).into();
    assert_eq!(forwards(&holed, &rules).0, 1);
}

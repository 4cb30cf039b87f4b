//! What happened so far, counted by the pump alone.

use serde::Serialize;

/// Counters since the node started, and the few gauges that are cheapest kept here.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counters {
    /// Pieces published.
    pub puts_fresh: u64,
    /// Commits of a key that was there.
    pub puts_duplicate: u64,
    /// Commits of a key that was there with other bytes.
    pub put_conflicts: u64,
    /// Commits refused.
    pub puts_refused: u64,
    /// Bytes of the pieces published.
    pub put_bytes: u64,
    /// Bytes of the pieces that are resident.
    pub resident_bytes: u64,
    /// Slots granted.
    pub grants: u64,
    /// Chains that clients said they matched.
    pub touched_chains: u64,
    /// Blocks in those chains.
    pub touched_blocks: u64,
    /// Questions answered how much of a chain is usable.
    pub located_chains: u64,
    /// Questions answered for a chain to be brought into memory.
    pub promoted_chains: u64,
    /// Chains that were kept for a client that neither took them over nor let them go.
    pub lapsed_keeps: u64,
    /// Blocks evicted for want of room.
    pub evicted_blocks: u64,
    /// Of these, blocks of which no lower tier had all that left, though there is one: they are lost.
    pub evicted_undemoted_blocks: u64,
    /// Pieces written to lower tiers.
    pub demoted_pieces: u64,
    /// Bytes of these.
    pub demoted_bytes: u64,
    /// Pieces that could not be written.
    pub failed_demotions: u64,
    /// Pieces brought from lower tiers.
    pub promoted_pieces: u64,
    /// Bytes of these.
    pub promoted_bytes: u64,
    /// Pieces that did not come.
    pub failed_promotions: u64,
    /// Of these, pieces whose bytes below were not what they should be.
    pub corrupt_below: u64,
    /// Pieces brought without being asked for, because their chain went on.
    pub read_on_pieces: u64,
    /// Copies that lower tiers told of: from before, or made by others.
    pub found_pieces: u64,
    /// Copies that lower tiers lost: collected, purged or damaged.
    pub lost_pieces: u64,
    /// Copies that were removed below, because they are to be forgotten or of no use.
    pub removed_below: u64,
    /// Chains that would have come too late, in part or all of it.
    pub declined_chains: u64,
    /// Chains that a tier has which is given up for now.
    pub fenced_chains: u64,
    /// Chains of which some was still on its way at the deadline.
    pub expired_chains: u64,
    /// Requests for slots refused because the node drains.
    pub refused_draining: u64,
    /// Blocks dropped for another reason.
    pub dropped_blocks: u64,
    /// Victims that a client claimed, and that therefore stayed.
    pub claimed_victims: u64,
    /// Pieces that readers suspected.
    pub suspects: u64,
    /// Suspected pieces that were corrupt indeed, and dropped.
    pub corrupt_pieces: u64,
    /// Pieces dropped because a client said that they are of no use.
    pub discarded_pieces: u64,
    /// Times that both buckets of a piece were full.
    pub full_buckets: u64,
    /// Slots out of generations.
    pub retired_slots: u64,
    /// Slots whose words made no sense.
    pub damaged_slots: u64,
    /// Chunks whose words made no sense, and were set right.
    pub damaged_chunks: u64,
    /// Clients that attached, also again.
    pub attachments: u64,
    /// Clients that died with their page in use.
    pub deaths: u64,
    /// Clients cut off because they sent nonsense.
    pub confused_clients: u64,
    /// Chunks whose memory went back because others were short of it.
    pub released_chunks: u64,
    /// Chunks that could not get their memory.
    pub refused_growths: u64,
}

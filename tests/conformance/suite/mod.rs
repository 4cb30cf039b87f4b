//! What every tier must do, as one generic suite. What a tier says that it cannot do, it must refuse as such: nothing is
//! skipped.

mod boundary;
mod lifecycle;
mod memory;
mod moves;
mod news;
mod panics;
mod requests;
mod session;
mod storage;

pub(crate) use boundary::*;
pub(crate) use lifecycle::*;
pub(crate) use memory::*;
pub(crate) use news::*;
pub(crate) use panics::*;
pub(crate) use requests::*;
pub(crate) use session::{Scratch, Session, USED_BYTES};
pub(crate) use storage::*;

/// Instantiates the suite for a tier, as a module of tests.
macro_rules! conformance {
    ($($name:ident: $subject:ty;)*) => {
        $(mod $name { $crate::suite::cases!($subject); })*
    };
}

/// The cases, each a test of the tier.
macro_rules! cases {
    ($subject:ty) => {
        $crate::suite::cases! { $subject =>
            a_host_of_another_version_is_refused
            a_bad_configuration_is_refused_with_its_reason
            a_tier_opens_again_after_every_way_to_close
            closing_ends_what_is_under_way
            content_outlives_leave_but_not_discard
            exports_describe_memory_truthfully
            what_a_tier_can_do_is_consistent_and_constant
            stats_and_reports_are_json_objects
            a_handle_may_move_to_another_thread
            registered_memory_is_usable_until_it_is_forgotten
            two_registered_memories_are_told_apart
            memory_in_use_is_not_forgotten
            released_memory_reads_as_zeros_and_its_neighbours_stay
            allocating_keeps_content
            copies_are_exact_at_any_offset_and_length
            a_copy_within_the_tiers_memory_is_exact
            a_stored_piece_loads_until_it_is_removed
            a_load_of_anything_but_the_very_piece_fails
            many_pieces_keep_apart
            what_was_stored_is_synced_on_request
            what_one_handle_left_is_news_of_the_next
            two_handles_on_one_storage_see_each_others_pieces
            every_request_completes_exactly_once_in_any_order
            a_full_tier_takes_what_fits_and_goes_on_later
            an_empty_batch_is_no_request
            polling_with_little_room_loses_nothing
            a_cancelled_request_completes_once_and_its_buffer_is_the_tiers_until_then
            cancelling_what_is_not_under_way_is_not_found
            an_expired_request_completes_as_expired_and_does_nothing
            wrong_ranges_are_refused_and_their_neighbours_are_done
            the_event_is_readable_while_completions_wait_and_quiet_after
            null_is_refused_everywhere
            a_text_that_does_not_fit_is_handed_over_at_the_next_call
            a_panic_is_an_error_and_poisons_the_handle_alone
            a_panic_without_a_handle_is_an_error
        }
    };
    ($subject:ty => $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::suite::$case::<$subject>();
            }
        )*
    };
}

pub(crate) use {cases, conformance};

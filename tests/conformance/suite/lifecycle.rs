//! Opening, closing, and what a tier says of itself.

use super::{Scratch, Session};
use crate::subjects::Subject;
use cascade_tier::capability::{feature, operation};
use cascade_tier::memory::flag;
use cascade_tier::{ABI_VERSION, Action, CloseMode, Library, LoadError, Status};
use serde_json::Value;
use std::collections::HashSet;

pub(crate) fn a_host_of_another_version_is_refused<S: Subject>() {
    assert!((S::ENTRY)(ABI_VERSION + 1).is_null());
    assert!((S::ENTRY)(0).is_null());
    assert!(!(S::ENTRY)(ABI_VERSION).is_null());
    let library: Result<Library, LoadError> = Library::from_entry(S::ENTRY);
    assert!(!library.unwrap().version().is_empty());
}

pub(crate) fn a_bad_configuration_is_refused_with_its_reason<S: Subject>() {
    let scratch = Scratch::new();
    for (config, word) in S::bad_configs(scratch.path()) {
        let error = S::library().open(&config).unwrap_err();
        assert_eq!(error.status, Status::INVALID, "{config}: {error}");
        assert!(error.message.contains(word), "{config}: {error}");
    }
}

pub(crate) fn a_tier_opens_again_after_every_way_to_close<S: Subject>() {
    let scratch = Scratch::new();
    for mode in [CloseMode::Leave, CloseMode::Discard, CloseMode::Unlink, CloseMode::Leave, CloseMode::Unlink]
    {
        Session::open::<S>(&scratch).close(mode).unwrap();
    }
    // Without being closed, too.
    drop(Session::open::<S>(&scratch));
    Session::open::<S>(&scratch).close(CloseMode::Unlink).unwrap();
}

pub(crate) fn closing_ends_what_is_under_way<S: Subject>() {
    let scratch = Scratch::new();
    for _ in 0..20 {
        let mut session = Session::open::<S>(&scratch);
        let (moves, _) = session.moves(8);
        session.offer(&moves);
        // The buffers go with the session: a tier that still used them would be found by the next round or a sanitizer.
        session.close(CloseMode::Unlink).unwrap();
    }
}

pub(crate) fn content_outlives_leave_but_not_discard<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    if !session.can(operation::COPY) {
        return pieces_outlive_leave_but_not_discard::<S>(&scratch, session);
    }
    let is_persistent = session.capabilities().has(feature::PERSISTENT);
    assert!(!session.capabilities().has(feature::ADOPTED));
    let (source, bytes) = session.host_with_bytes(4096);
    let target = session.exported(8192, 4096);
    session.perform(Action::Copy { source, target });
    session.close(CloseMode::Leave).unwrap();

    let mut session = Session::open::<S>(&scratch);
    assert_eq!(session.capabilities().has(feature::ADOPTED), is_persistent);
    let there = session.exported(8192, 4096);
    assert_eq!(session.read_back(there) == bytes, is_persistent);
    session.close(CloseMode::Discard).unwrap();

    let mut session = Session::open::<S>(&scratch);
    assert!(!session.capabilities().has(feature::ADOPTED));
    assert_ne!(session.read_back(there), bytes);
    session.close(CloseMode::Unlink).unwrap();
}

fn pieces_outlive_leave_but_not_discard<S: Subject>(scratch: &Scratch, mut session: Session) {
    assert!(session.capabilities().has(feature::PERSISTENT | feature::NEWS), "nobody would find its pieces");
    let (source, bytes) = session.host_with_bytes(4096);
    session.put(source, 0);
    let kept = session.kept.clone();
    session.close(CloseMode::Leave).unwrap();

    let mut session = Session::open::<S>(scratch);
    session.kept = kept;
    assert_eq!(session.get_back(0, &bytes), bytes);
    session.close(CloseMode::Discard).unwrap();

    let mut session = Session::open::<S>(scratch);
    assert_eq!(session.news_until_listed(), []);
    session.close(CloseMode::Unlink).unwrap();
}

pub(crate) fn exports_describe_memory_truthfully<S: Subject>() {
    let scratch = Scratch::new();
    let session = Session::open::<S>(&scratch);
    let exports = session.tier.exports().unwrap();
    let names: HashSet<_> = exports.iter().map(|memory| memory.name().to_owned()).collect();
    let ids: HashSet<_> = exports.iter().map(|memory| memory.id).collect();
    assert_eq!((names.len(), ids.len()), (exports.len(), exports.len()), "names and ids are unique");
    for memory in exports {
        assert!(!memory.name().is_empty() && memory.length_bytes > 0, "{memory:?}");
        let claims_address = memory.flags & flag::CPU_ADDRESSABLE != 0;
        assert_eq!(claims_address, !memory.cpu_pointer.is_null(), "{memory:?}");
        if let Some(address) = memory.cpu_address().filter(|_| memory.id == 0) {
            // SAFETY: the first page was allocated by the session, and the tier says that the CPU may read it.
            assert_eq!(unsafe { address.read_volatile() }, 0);
        }
    }
}

pub(crate) fn what_a_tier_can_do_is_consistent_and_constant<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let capabilities = session.capabilities();
    assert!(capabilities.queue_depth > 0);
    assert!(capabilities.alignment_bytes.is_power_of_two());
    let storage = operation::STORE | operation::LOAD | operation::REMOVE;
    assert!(
        capabilities.can(storage) || capabilities.operations & storage == 0,
        "storage comes whole or not at all"
    );
    assert_eq!(capabilities.piece_bytes_max > 0, capabilities.can(storage));
    assert_eq!(session.tier.event_fd().unwrap().is_some(), capabilities.has(feature::EVENT_FD));
    let (moves, _) = session.moves(1);
    session.run(&moves);
    assert_eq!(session.capabilities(), capabilities);
}

pub(crate) fn stats_and_reports_are_json_objects<S: Subject>() {
    let scratch = Scratch::new();
    let session = Session::open::<S>(&scratch);
    let is_object = |text: &str| serde_json::from_str::<Value>(text).unwrap().is_object();
    assert!(is_object(&session.tier.stats().unwrap()));
    assert!(is_object(&S::library().probe("{}").unwrap()));
    let collected = S::library().collect_garbage(&format!(r#"{{"root": {:?}}}"#, scratch.path()));
    match collected {
        Ok(report) => assert!(is_object(&report)),
        Err(error) => assert_eq!(error.status, Status::UNSUPPORTED, "{error}"),
    }
}

pub(crate) fn a_handle_may_move_to_another_thread<S: Subject>() {
    let scratch = Scratch::new();
    let session = Session::open::<S>(&scratch);
    let tier = session.tier;
    let stats = std::thread::spawn(move || {
        let stats = tier.stats();
        tier.close(CloseMode::Unlink).unwrap();
        stats
    });
    assert!(stats.join().unwrap().is_ok());
}

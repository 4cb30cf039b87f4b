//! What outlives a handle, and what handles on one storage see of each other; for a tier without news, that it says so.

use super::storage::{PLACE, checksum};
use super::{Scratch, Session};
use crate::subjects::Subject;
use cascade_tier::capability::{feature, operation};
use cascade_tier::{Action, CloseMode, MemoryRange, News, NewsKind, PieceId, Record, Status};
use std::time::{Duration, Instant};

impl Session {
    /// The news that are there now.
    fn news(&mut self) -> Vec<News> {
        let mut news = [News::default(); 7];
        let mut all = Vec::new();
        loop {
            let count = self.tier.news(&mut news).unwrap();
            all.extend_from_slice(&news[..count]);
            if count == 0 {
                return all;
            }
        }
    }

    /// The news until `is_last`, that one included.
    fn news_until(&mut self, is_last: impl Fn(&News) -> bool) -> Vec<News> {
        let patience = Instant::now() + Duration::from_secs(60);
        let mut all: Vec<News> = Vec::new();
        while !all.iter().any(&is_last) {
            assert!(Instant::now() < patience, "waited in vain for news; so far: {all:?}");
            all.extend(self.news());
            std::thread::sleep(Duration::from_millis(2));
        }
        all
    }

    /// What was there when the tier was opened.
    pub(crate) fn news_until_listed(&mut self) -> Vec<News> {
        let mut all = self.news_until(|news| news.kind == NewsKind::LISTED);
        assert_eq!(all.pop().map(|news| news.kind), Some(NewsKind::LISTED), "nothing comes behind it yet");
        all
    }

    /// Stores some pieces of different lengths; what must be told of them, and their bytes.
    fn store_some(&mut self, salt: u8) -> Vec<(Record, Vec<u8>)> {
        let lengths = [1, 100, 4096, 32_768, 33_000, 70_001];
        let mut stored = Vec::new();
        for (number, length) in (salt..).zip(lengths) {
            let (source, bytes) = self.host_with_bytes(length);
            let piece = PieceId { key: [number; 32], rank: 1, group: u16::from(number) };
            let checksum = checksum(piece, &bytes);
            let completion = self.perform(Action::Store { source, piece, checksum, place: PLACE });
            assert_eq!(completion.status, Status::OK);
            let (extent, stored_unix_s) = (completion.extent, 0);
            let record =
                Record { piece, checksum, length_bytes: length, place: PLACE, stored_unix_s, extent };
            stored.push((record, bytes));
        }
        stored
    }

    /// Loads what a record names.
    fn load(&mut self, record: &Record) -> (Status, Vec<u8>) {
        let target: MemoryRange = self.host(record.length_bytes);
        let Record { extent, piece, checksum, .. } = *record;
        let completion = self.perform(Action::Load { extent, piece, checksum, target });
        (completion.status, self.bytes(target).to_vec())
    }

    /// That these are found, each once, and load.
    fn finds(&mut self, news: &[News], stored: &[(Record, Vec<u8>)]) {
        for (record, bytes) in stored {
            let told: Vec<_> = news.iter().filter(|news| news.record.piece == record.piece).collect();
            assert_eq!(told.len(), 1, "{record:?} is told {} times", told.len());
            assert_eq!(told[0].kind, NewsKind::FOUND);
            let found = told[0].record;
            assert!(found.stored_unix_s > 1_700_000_000, "it was stored in our days");
            assert_eq!(Record { stored_unix_s: 0, ..found }, *record);
            assert_eq!(self.load(&found), (Status::OK, bytes.clone()));
        }
    }
}

pub(crate) fn what_was_stored_is_synced_on_request<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let expected = if session.can(operation::SYNC) { Status::OK } else { Status::UNSUPPORTED };
    // Nothing is to be done, which is done.
    assert_eq!(session.perform(Action::Sync).status, expected);
    if session.can(operation::STORE) {
        session.store_some(1);
        assert_eq!(session.perform(Action::Sync).status, expected);
    }
}

pub(crate) fn what_one_handle_left_is_news_of_the_next<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    if !session.capabilities().has(feature::NEWS) {
        assert_eq!(session.tier.news(&mut [News::default()]).unwrap_err().status, Status::UNSUPPORTED);
        return;
    }
    assert!(session.can(operation::STORE | operation::LOAD));
    assert_eq!(session.news_until_listed(), [], "nobody left anything");
    let mut stored = session.store_some(1);
    assert_eq!(session.news(), [], "what it stored itself is no news");
    let (removed, _) = stored.remove(2);
    assert_eq!(session.perform(Action::Remove { extent: removed.extent }).status, Status::OK);
    session.close(CloseMode::Leave).unwrap();

    let mut session = Session::open::<S>(&scratch);
    let news = session.news_until_listed();
    session.finds(&news, &stored);
    assert_eq!(news.len(), stored.len(), "and nothing else, not what was removed");
    assert_eq!(session.load(&removed).0, Status::NOT_FOUND);
    assert_eq!(session.news(), [], "news are told once");
    let more = session.store_some(101);
    session.close(CloseMode::Leave).unwrap();

    let mut session = Session::open::<S>(&scratch);
    let news = session.news_until_listed();
    session.finds(&news, &stored);
    session.finds(&news, &more);
}

pub(crate) fn two_handles_on_one_storage_see_each_others_pieces<S: Subject>() {
    let scratch = Scratch::new();
    let mut first = Session::open::<S>(&scratch);
    if !first.capabilities().has(feature::NEWS) {
        assert_eq!(first.tier.news(&mut [News::default()]).unwrap_err().status, Status::UNSUPPORTED);
        return;
    }
    let mut second = Session::open::<S>(&scratch);
    first.news_until_listed();
    second.news_until_listed();
    let of_first = first.store_some(1);
    let of_second = second.store_some(101);
    let last_of = |stored: &[(Record, Vec<u8>)]| stored.last().unwrap().0.piece;
    let (first_last, second_last) = (last_of(&of_first), last_of(&of_second));
    let news = second.news_until(|news| news.record.piece == first_last);
    second.finds(&news, &of_first);
    let news = first.news_until(|news| news.record.piece == second_last);
    first.finds(&news, &of_second);

    let (gone, _) = of_first[3].clone();
    assert_eq!(second.perform(Action::Remove { extent: gone.extent }).status, Status::OK);
    let news = first.news_until(|news| news.kind == NewsKind::LOST);
    assert_eq!(news.iter().map(|news| news.record.piece).collect::<Vec<_>>(), [gone.piece]);
    assert_eq!(first.load(&gone).0, Status::NOT_FOUND);
    second.close(CloseMode::Leave).unwrap();
    first.close(CloseMode::Leave).unwrap();
}

//! The shared-memory tier as the host sees it.

use crate::cgroup::Groups;
use crate::config::{self, Config};
use crate::region::{Region, page_bytes};
use crate::segment::{Origin, Segment};
use crate::transfer::Memories;
use crate::worker::{QUEUE_DEPTH, Worker};
use crate::{garbage, probe};
use cascade_tier::capability::{feature, operation};
use cascade_tier::{Capabilities, CloseMode, Completion, Memory, MemoryId, Operation, Tier, TierError};
use serde_json::json;
use std::os::fd::BorrowedFd;

/// An open segment.
#[derive(Debug)]
pub struct ShmTier {
    // Before the segment: the worker ends before the lock goes.
    worker: Worker,
    segment: Segment,
    exports: Vec<Memory>,
    reserve_bytes: u64,
}

impl Tier for ShmTier {
    fn probe(config: &str) -> Result<String, TierError> {
        probe::probe(&config::parse(config)?)
    }

    fn collect_garbage(config: &str) -> Result<String, TierError> {
        garbage::collect(&config::parse(config)?)
    }

    fn open(config: &str) -> Result<ShmTier, TierError> {
        let config = Config::parse(config)?;
        let (segment, regions) = Segment::open(&config)?;
        let exports = regions.iter().zip(0..).map(|(region, id)| region.export(id)).collect();
        let reserve_bytes = config.reserve_bytes;
        let worker = Worker::start(Memories { regions, groups: Groups::of_this_process(), reserve_bytes })?;
        Ok(ShmTier { worker, segment, exports, reserve_bytes })
    }

    fn close(self, mode: CloseMode) -> Result<(), TierError> {
        let ShmTier { worker, segment, .. } = self;
        drop(worker);
        segment.close(mode)
    }

    fn capabilities(&self) -> Capabilities {
        let adopted = match self.segment.origin {
            Origin::Adopted(_) => feature::ADOPTED,
            Origin::Created(_) => 0,
        };
        Capabilities {
            operations: operation::ALLOCATE | operation::RELEASE | operation::COPY,
            features: feature::REGISTER | feature::IMPORT | feature::EVENT_FD | feature::PERSISTENT | adopted,
            queue_depth: QUEUE_DEPTH as u64,
            alignment_bytes: page_bytes(),
            piece_bytes_max: 0,
        }
    }

    fn exports(&self) -> &[Memory] {
        &self.exports
    }

    fn register_memory(&mut self, memory: &Memory) -> Result<MemoryId, TierError> {
        if memory.cpu_address().is_none() || memory.length_bytes == 0 {
            return Err(TierError::invalid(format!(
                "memory {:?}: shared memory is copied by the CPU, which cannot reach this",
                memory.name()
            )));
        }
        self.worker.learn(memory)
    }

    fn import_memory(&mut self, memory: &Memory) -> Result<MemoryId, TierError> {
        self.register_memory(memory)
    }

    fn forget_memory(&mut self, id: MemoryId) -> Result<(), TierError> {
        self.worker.forget(id)
    }

    fn submit(&mut self, operations: &[Operation]) -> Result<usize, TierError> {
        self.worker.check()?;
        Ok(self.worker.submit(operations))
    }

    fn poll(&mut self, completions: &mut [Completion]) -> Result<usize, TierError> {
        self.worker.check()?;
        Ok(self.worker.poll(completions))
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.worker.event())
    }

    fn cancel(&mut self, request_id: u64) -> Result<(), TierError> {
        self.worker.cancel(request_id)
    }

    fn stats(&self) -> String {
        let (adopted, reason) = match &self.segment.origin {
            Origin::Adopted(previous) => (true, format!("left by {previous}")),
            Origin::Created(reason) => (false, reason.clone()),
        };
        let regions = self.worker.memories().regions.iter().map(|region| {
            json!({
                "name": region.name(),
                "bytes": region.length_bytes(),
                "allocated_bytes": region.allocated_bytes(),
                "numa": region.numa(),
                "huge_pages": region.huge_pages(),
            })
        });
        let mut warnings = self.segment.warnings.clone();
        if self.worker.memories().regions.iter().any(Region::lacks_prefault) {
            warnings.push(
                "first writes are slow: this kernel does not prefault (Linux 5.14 and later do)".to_owned(),
            );
        }
        let stats = json!({
            "directory": self.segment.directory.path(),
            "adopted": adopted,
            "origin": reason,
            "regions": regions.collect::<Vec<_>>(),
            "reserve_bytes": self.reserve_bytes,
            "under_way": self.worker.under_way(),
            "counts": self.worker.counts(),
            "warnings": warnings,
        });
        stats.to_string()
    }
}

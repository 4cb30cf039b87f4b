//! One suite that every tier passes, and the loading of plugins.
//!
//! To add a tier: a type in `subjects.rs`, a line here.

mod loading;
mod reference;
mod subjects;
mod suite;

suite::conformance! {
    reference_tier: crate::subjects::Reference;
    shm: crate::subjects::Shm;
    shm_loaded: crate::subjects::LoadedShm;
    lustre: crate::subjects::Lustre;
    lustre_loaded: crate::subjects::LoadedLustre;
}

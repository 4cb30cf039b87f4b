//! The profiles that are built in: commented TOML, the same text that `config init` writes.
//!
//! `laptop` sets every key and is the bottom of all layers; any other profile sets only what differs from it.

/// A named set of values for one kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// How it is asked for.
    pub name: &'static str,
    /// Its TOML, with comments.
    pub text: &'static str,
}

/// The bottom layer: the defaults and the manual.
pub const DEFAULT: Profile = Profile { name: "laptop", text: include_str!("../../profiles/laptop.toml") };

/// All profiles.
pub const ALL: [Profile; 2] =
    [DEFAULT, Profile { name: "perlmutter", text: include_str!("../../profiles/perlmutter.toml") }];

impl Profile {
    /// The profile of that name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|profile| profile.name == name)
    }

    /// The names of all profiles, for messages and help.
    pub fn names() -> Vec<&'static str> {
        ALL.iter().map(|profile| profile.name).collect()
    }
}

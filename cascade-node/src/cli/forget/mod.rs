//! `forget`: a namespace, a tenant, or what is old goes, bytes and all.
//!
//! A node does it for its memory and its store. Without one, and for a store that `--store` names, it is done here, in the store
//! alone, by the same rules: a block that cannot be told apart goes too, for prompts can be read out of KV.

mod in_store;

use std::io::{IsTerminal, Write};

use cascade_client::BlockKey;

use super::age::Age;
use super::follow::follow;
use super::output::Format;
use super::reach::{Node, PATIENCE};
use super::store::StoreFlag;
use super::{Context, Exit, Failure, Run, reach};
use crate::config::Override;

/// Remove blocks, bytes and all, from memory and from the store
///
/// With a node, from its memory and its store; without one, or with --store, from the store alone. Other nodes drop
/// what is gone from the store, and keep what they have in memory: run it for each of them. What hangs in no namespace
/// that is known goes with every namespace and tenant, as it may belong to them. Asks before it begins.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node forget --tenant alice
  cascade-node forget --namespace 5a1c… --yes         `du` shows the roots
  cascade-node forget --older-than 30d --store /scratch/me/cascade
")]
pub(super) struct Args {
    #[command(flatten)]
    what: What,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    store: StoreFlag,
    #[command(flatten)]
    format: Format,
}

/// What is to be forgotten; exactly one of these.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// All chains of the namespace with this root: 64 hexadecimal digits, or @NAME
    #[arg(long, value_name = "ROOT", value_parser = reach::key)]
    namespace: Option<BlockKey>,

    /// All namespaces of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,

    /// What was stored so long ago, or before: 90s, 15min, 12h, 7d, 2w
    #[arg(long, value_name = "AGE")]
    older_than: Option<Age>,
}

impl Run for Args {
    fn overrides(&self) -> Vec<Override> {
        self.store.overrides()
    }

    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let order = self.what.order()?;
        let node = if self.store.is_given() { None } else { living(context)? };
        // Before the question: what is asked must be possible.
        let place = if node.is_none() { Some(self.store.place(context)?) } else { None };
        let whose = match &place {
            Some(place) => format!("the store {}", place.directory().display()),
            None => "the node's memory and its store".to_owned(),
        };
        if !self.yes {
            confirm(&format!("Forget {} in {whose}?", self.what.sentence()))?;
        }
        match (node, place) {
            (Some(node), _) => follow(&node, &order, "forgot", self.format),
            (None, Some(place)) => in_store::forget(&self.what, &place, self.format),
            (None, None) => unreachable!("one of the two was looked up"),
        }
    }
}

/// The node, if one answers.
fn living(context: &Context) -> Result<Option<Node>, Failure> {
    let node = Node::of(context)?;
    match node.ask_within("status", PATIENCE) {
        Ok(_) => Ok(Some(node)),
        Err(Failure { exit: Exit::Unreachable, .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn confirm(question: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::new(Exit::Usage, "nobody is here to ask: --yes forgets without asking"));
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Failed, "nothing was forgotten")),
    }
}

impl What {
    /// As the node takes it.
    fn order(&self) -> Result<String, Failure> {
        Ok(match (&self.namespace, &self.tenant, &self.older_than) {
            (Some(root), ..) => format!("forget namespace {root}"),
            (_, Some(tenant), _)
                if tenant.trim().is_empty() || tenant.trim() != tenant || tenant.contains('\n') =>
            {
                let hint = "a tenant has a name without blanks around it and line ends in it";
                return Err(Failure::new(Exit::Usage, hint));
            }
            (_, Some(tenant), _) => format!("forget tenant {tenant}"),
            (.., Some(Age(seconds))) => format!("forget older_than {seconds}"),
            (None, None, None) => unreachable!("clap demands one"),
        })
    }

    fn sentence(&self) -> String {
        match (&self.namespace, &self.tenant, &self.older_than) {
            (Some(root), ..) => format!("namespace {root}"),
            (_, Some(tenant), _) => format!("tenant {tenant}"),
            (.., age) => format!("what is older than {}", age.unwrap_or(Age(0))),
        }
    }
}

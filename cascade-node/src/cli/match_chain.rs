//! `match`: how many leading blocks of a chain are there.

use cascade_client::{BlockKey, Client, Located, Rule, Share};

use super::output::Format;
use super::{Context, Exit, Failure, Run, output, reach};

/// Count the leading blocks of a chain that can be used
///
/// Counts those that lower tiers have too, and tells how many are in memory. Counts as a use of them, as a match of an
/// engine does. Ends with 3 if not even the first one is there.
#[derive(Debug, clap::Args)]
#[command(
    name = "match",
    after_help = "\
Examples:
  cascade-node match @first @second @third
  cascade-node match --json 5a1c… 77d0…
  cascade-node match --groups 0,1:window=8,2:last @first @second
"
)]
pub(super) struct Args {
    /// Block keys, root first: 64 hexadecimal digits each, or @NAME
    #[arg(value_name = "KEY", required = true, value_parser = reach::key)]
    keys: Vec<BlockKey>,

    /// Tensor-parallel ranks whose pieces must all be there
    #[arg(long, value_delimiter = ',', default_value = "0")]
    ranks: Vec<u16>,

    /// KV groups, of which all blocks must be there, or with :window=BLOCKS so many at the end, or with :last the last one
    #[arg(long, value_name = "GROUP[:RULE]", value_delimiter = ',', default_value = "0", value_parser = group)]
    groups: Vec<(u16, Rule)>,

    #[command(flatten)]
    format: Format,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = reach::client(context)?;
        let shares: Vec<Share> = self
            .ranks
            .iter()
            .flat_map(|&rank| {
                self.groups.iter().map(move |&(group, rule)| Share::new(rank, group).under(rule))
            })
            .collect();
        let Located { blocks, memory_blocks, tiers } = client.locate(&self.keys, &shares, reach::deadline())?;
        let tiers = names(tiers, &client)?;
        if self.format.json {
            output::json(&serde_json::json!({
                "blocks": self.keys.len(),
                "matched_blocks": blocks,
                "memory_blocks": memory_blocks,
                "tiers": tiers,
            }))?;
        } else {
            let of = self.keys.len();
            let below = match blocks - memory_blocks {
                0 => String::new(),
                more => format!(", {memory_blocks} in memory, {more} more with {}", tiers.join(" and ")),
            };
            output::text(&format!("{blocks} of {of} blocks{below}\n"))?;
        }
        Ok(if blocks == 0 { Exit::Miss } else { Exit::Done })
    }
}

/// The names of lower tiers, as the node's status lists them behind memory.
fn names(tiers: u64, client: &Client) -> Result<Vec<String>, Failure> {
    let needed: Vec<usize> = (0..64).filter(|tier| tiers & 1 << tier != 0).collect();
    if needed.is_empty() {
        return Ok(Vec::new());
    }
    let status: serde_json::Value = serde_json::from_str(&client.status(reach::deadline())?)
        .map_err(|error| Failure::new(Exit::Failed, format!("the node's answer is not JSON: {error}")))?;
    let tiers = status.get("tiers").and_then(serde_json::Value::as_object);
    let listed: Vec<&String> = tiers.into_iter().flat_map(|tiers| tiers.keys()).filter(|&name| name != "shm").collect();
    let name = |&tier: &usize| listed.get(tier).map_or_else(|| format!("lower tier {tier}"), ToString::to_string);
    Ok(needed.iter().map(name).collect())
}

/// Reads `GROUP`, `GROUP:window=BLOCKS` or `GROUP:last`.
fn group(text: &str) -> Result<(u16, Rule), String> {
    let (number, rule) = text.split_once(':').map_or((text, None), |(number, rule)| (number, Some(rule)));
    let number = number.parse().map_err(|_| format!("{number:?} is no KV group: a number up to 65535"))?;
    let rule = match rule.map(|rule| rule.split_once('=').unwrap_or((rule, ""))) {
        None => Rule::Prefix,
        Some(("last", "")) => Rule::LastState,
        Some(("window", blocks)) => {
            let blocks = blocks.parse().ok().filter(|&blocks| blocks > 0);
            Rule::Window { blocks: blocks.ok_or("a window has a number of blocks, as in 1:window=8")? }
        }
        Some(_) => return Err("a rule is window=BLOCKS or last".into()),
    };
    Ok((number, rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_have_a_rule() {
        assert_eq!(group("3"), Ok((3, Rule::Prefix)));
        assert_eq!(group("1:window=8"), Ok((1, Rule::Window { blocks: 8 })));
        assert_eq!(group("2:last"), Ok((2, Rule::LastState)));
    }

    #[test]
    fn a_rule_that_is_none_is_refused_with_what_is_one() {
        for (text, says) in [
            ("x", "is no KV group"),
            ("65536", "is no KV group"),
            ("1:", "a rule is"),
            ("1:full", "a rule is"),
            ("1:last=2", "a rule is"),
            ("1:window", "a number of blocks"),
            ("1:window=0", "a number of blocks"),
        ] {
            let complaint = group(text).expect_err(text);
            assert!(complaint.contains(says), "{text}: {complaint}");
        }
    }
}

//! Puts a chain of blocks, matches it, and reads it back, against the node of this user and job.
//!
//! ```text
//! cascade-node run &
//! cargo run -p cascade-client --example hello
//! ```

use cascade_client::{Client, Deadline, Lineage, Lookup, PieceId, Share};
use cascade_core::key::{Namespace, chain};
use std::time::Duration;

fn main() -> Result<(), cascade_client::Error> {
    let deadline = Deadline::after(Duration::from_secs(5));
    let client = Client::connect(deadline)?;

    // The keys follow from the tokens: whoever computes the same prefix finds the same blocks.
    let namespace = Namespace { model: "hello".into(), block_tokens: 16, ..Namespace::default() };
    let tokens: Vec<u32> = (0..64).collect();
    let keys: Vec<_> = chain(namespace.root(), 16, &tokens).collect();

    let _ = client.describe(&namespace, deadline)?;
    let there = client.match_chain(&keys, &[Share::default()])?;
    println!("{there} of {} blocks were there", keys.len());
    for (i, key) in keys.iter().enumerate().skip(there) {
        let block = vec![i as u8; 64 << 10];
        let stored = client.put(
            &PieceId::sole(*key),
            Lineage::in_chain(namespace.root(), &keys, i),
            &block,
            deadline,
        )?;
        println!("block {i}: {stored:?}");
    }
    client.flush(deadline)?;

    // Claimed, the chain stays until the hold is dropped, also for other processes.
    let hold = client.hold(&keys, &[Share::default()])?.hit();
    println!("holding {} blocks", hold.as_ref().map_or(0, |hold| hold.blocks()));
    let mut block = vec![0; 64 << 10];
    for (i, key) in keys.iter().enumerate() {
        match client.get_into(&PieceId::sole(*key), &mut block)? {
            Lookup::Hit(len) => println!("block {i}: {len} bytes, all {}", block[0]),
            Lookup::Miss(reason) => println!("block {i}: {reason:?}"),
        }
    }
    println!("{:?}", client.stats());
    Ok(())
}

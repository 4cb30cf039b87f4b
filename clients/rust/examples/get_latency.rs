//! What a get costs a Rust program, asked for by another program that measures the same from its own language.
//!
//! Reads lines `KEY LENGTH COUNT` (the key in hexadecimal) and answers each with the median of COUNT gets of that piece, in
//! nanoseconds. Attaches to the node of `CASCADE_SOCKET`. See `bench/python/latency.py`.

use cascade_client::{BlockKey, Client, Deadline, Lookup, PieceId};
use std::error::Error;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(Deadline::after(Duration::from_secs(10)))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let [key, length, count] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("not KEY LENGTH COUNT: {line}").into());
        };
        let id = PieceId::sole(BlockKey::from_hex(key).ok_or("a key is 64 hexadecimal digits")?);
        let mut target = vec![1; length.parse()?];
        let mut times = Vec::new();
        for _ in 0..count.parse()? {
            let start = Instant::now();
            let found = client.get_into(&id, &mut target)?;
            times.push(start.elapsed().as_nanos());
            if found != Lookup::Hit(target.len()) {
                return Err(format!("{found:?} is no hit of {length} bytes").into());
            }
        }
        times.sort_unstable();
        println!("{}", times.get(times.len() / 2).ok_or("COUNT is at least 1")?);
        std::io::stdout().flush()?;
    }
    Ok(())
}

//! A client process for the tests: does what it is told on its standard input, a line at a time.
//!
//! See `support::player` for the verbs. It ends with its input.

use std::io::{BufRead, Write};

use support::player::Player;

fn main() {
    let mut player = Player::default();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = player.play(&line);
        let mut output = std::io::stdout().lock();
        if writeln!(output, "{answer}").and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}

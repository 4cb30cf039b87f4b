//! Sizes on the command line: `4KiB`, `2MiB`, or a number of bytes.

/// Reads a size of at least one byte.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let unit = units.into_iter().find_map(|(name, shift)| Some((text.strip_suffix(name)?, shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    let number: u64 = number.trim_end().parse().map_err(|_| wanted(text))?;
    number.checked_mul(1 << shift).filter(|&bytes| bytes > 0).ok_or_else(|| wanted(text))
}

fn wanted(text: &str) -> String {
    format!("{text:?} is no size: write bytes, or a number with KiB, MiB or GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        assert_eq!(
            ["512", "4KiB", "2 MiB", "1GiB"].map(parse),
            [Ok(512), Ok(4096), Ok(2 << 20), Ok(1 << 30)]
        );
    }

    #[test]
    fn what_is_no_size_is_refused_with_what_is() {
        for bad in ["", "KiB", "-1", "4kb", "0", "99999999999GiB"] {
            assert!(parse(bad).expect_err(bad).contains("KiB"), "{bad}");
        }
    }
}

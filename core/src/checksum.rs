//! CRC32C, the checksum of every piece, record and frame.
//!
//! The standard one (Castagnoli polynomial, reflected, all ones in and out; RFC 3720, `crc32c` of iSCSI and ext4), so
//! any other program can verify what Cascade wrote. A [`Crc32c`] is a value: it names the bytes seen so far and goes
//! on from there, however they are cut into fragments.
//!
//! Headers and keys are summed here, with tables, also in `const`. Payloads are summed while they are copied, by
//! [`crate::copy`]; both continue each other's values.

/// The Castagnoli polynomial, lowest power in the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLES[k][b]`: byte `b` followed by `k` zero bytes (slice-by-8; Kounavis and Berry, 2005).
static TABLES: [[u32; 256]; 8] = tables();

/// The CRC32C of the bytes seen so far.
///
/// ```
/// use cascade_core::checksum::Crc32c;
///
/// let whole = Crc32c::EMPTY.update(b"123456789");
/// assert_eq!(whole.value(), 0xe306_9283);
/// assert_eq!(Crc32c::EMPTY.update(b"1234").update(b"56789"), whole);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a checksum is a value: updating it returns the new one"]
#[repr(transparent)]
pub struct Crc32c(u32);

impl Crc32c {
    /// The checksum of no bytes: zero.
    pub const EMPTY: Self = Self(0);

    /// Takes up a checksum where an earlier computation left it, or one that was stored.
    pub const fn from_value(value: u32) -> Self {
        Self(value)
    }

    /// The checksum as it is stored and compared: four bytes, little-endian wherever Cascade writes it.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The checksum of the bytes so far followed by `bytes`.
    ///
    /// Meant for headers: about a byte per cycle. [`crate::copy::checksum`] is for payloads.
    pub const fn update(self, bytes: &[u8]) -> Self {
        let mut register = self.register();
        let (words, tail) = bytes.as_chunks::<8>();
        let mut i = 0;
        while i < words.len() {
            register = step_word(register, u64::from_le_bytes(words[i]));
            i += 1;
        }
        let mut i = 0;
        while i < tail.len() {
            register = step_byte(register, tail[i]);
            i += 1;
        }
        Self::from_register(register)
    }

    /// The shift register behind the value, as `crc32` instructions hold it.
    pub(crate) const fn register(self) -> u32 {
        !self.0
    }

    /// The value of a shift register.
    pub(crate) const fn from_register(register: u32) -> Self {
        Self(!register)
    }
}

/// Shifts one byte through the register.
#[inline]
pub(crate) const fn step_byte(register: u32, byte: u8) -> u32 {
    TABLES[0][((register ^ byte as u32) & 0xff) as usize] ^ (register >> 8)
}

/// Shifts eight bytes through the register, lowest byte first.
#[inline]
pub(crate) const fn step_word(register: u32, word: u64) -> u32 {
    let bytes = (word ^ register as u64).to_le_bytes();
    TABLES[7][bytes[0] as usize]
        ^ TABLES[6][bytes[1] as usize]
        ^ TABLES[5][bytes[2] as usize]
        ^ TABLES[4][bytes[3] as usize]
        ^ TABLES[3][bytes[4] as usize]
        ^ TABLES[2][bytes[5] as usize]
        ^ TABLES[1][bytes[6] as usize]
        ^ TABLES[0][bytes[7] as usize]
}

/// x^`exponent` modulo the polynomial, lowest power in the highest bit.
///
/// Multiplying by it moves a remainder `exponent` bits ahead: how lanes and folds are put together.
pub(crate) const fn power_of_x(exponent: u32) -> u32 {
    let mut power = 1 << 31;
    let mut i = 0;
    while i < exponent {
        power = times_x(power);
        i += 1;
    }
    power
}

/// Multiplies by x modulo the polynomial.
const fn times_x(remainder: u32) -> u32 {
    (remainder >> 1) ^ if remainder & 1 == 1 { POLYNOMIAL } else { 0 }
}

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut register = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            register = times_x(register);
            bit += 1;
        }
        tables[0][byte] = register;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[zeros - 1][byte];
            tables[zeros][byte] = tables[0][(shorter & 0xff) as usize] ^ (shorter >> 8);
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_standard_comes_out() {
        const CHECK: Crc32c = Crc32c::EMPTY.update(b"123456789");
        assert_eq!(CHECK.value(), 0xe306_9283);
    }

    #[test]
    fn the_vectors_of_rfc_3720_come_out() {
        let ascending: [u8; 32] = core::array::from_fn(|i| i as u8);
        let descending: [u8; 32] = core::array::from_fn(|i| 31 - i as u8);
        assert_eq!(Crc32c::EMPTY.update(&[0; 32]).value(), 0x8a91_36aa);
        assert_eq!(Crc32c::EMPTY.update(&[0xff; 32]).value(), 0x62a8_ab43);
        assert_eq!(Crc32c::EMPTY.update(&ascending).value(), 0x46dd_794e);
        assert_eq!(Crc32c::EMPTY.update(&descending).value(), 0x113f_db5c);
    }

    #[test]
    fn no_bytes_change_nothing() {
        let some = Crc32c::EMPTY.update(b"some");
        assert_eq!(some.update(&[]), some);
        assert_eq!(Crc32c::EMPTY.value(), 0);
    }

    #[test]
    fn thirty_two_powers_of_x_wrap_into_the_polynomial() {
        assert_eq!(power_of_x(0), 1 << 31);
        assert_eq!(power_of_x(31), 1);
        assert_eq!(power_of_x(32), POLYNOMIAL);
    }
}

//! Hexadecimal digits for ids, eight at a time.

/// The eight digits of a number, in lower case.
pub(super) fn digits(number: u32) -> [u8; 8] {
    // Spread the nibbles over the bytes, then turn all of them into digits at once.
    let mut nibbles = u64::from(number);
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let are_letters = ((nibbles + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (nibbles + 0x3030_3030_3030_3030 + are_letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// The sixteen digits of a number.
pub(super) fn digits_of_u64(number: u64) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    let mut all = [0; 16];
    let (first, last) = all.split_at_mut(8);
    first.copy_from_slice(&digits(u32::from_be_bytes([a, b, c, d])));
    last.copy_from_slice(&digits(u32::from_be_bytes([e, f, g, h])));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_standard_library_writes_them() {
        let mut number = 0_u64;
        for step in 0..10_000 {
            number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(step);
            assert_eq!(digits_of_u64(number), *format!("{number:016x}").as_bytes());
        }
        assert_eq!(digits_of_u64(u64::MAX), *b"ffffffffffffffff");
        assert_eq!(digits(0x0123_4567), *b"01234567");
        assert_eq!(digits(0x89ab_cdef), *b"89abcdef");
    }
}

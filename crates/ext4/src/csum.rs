//! Checksums of metadata: crc32c with ext4's conventions, and the old crc16 of group descriptors.

/// crc32c as ext4 uses it: no inversion before or after, so that pieces chain.
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    !::crc32c::crc32c_append(!seed, data)
}

/// crc16 (polynomial 0x8005 reflected), for uninit_bg's descriptors. Start with `!0`.
pub fn crc16(mut crc: u16, data: &[u8]) -> u16 {
    for &byte in data {
        crc ^= u16::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
        }
    }
    crc
}

/// The seed of everything that belongs to one inode: number and generation.
pub fn inode_seed(fs_seed: u32, ino: u32, generation: u32) -> u32 {
    let crc = crc32c(fs_seed, &ino.to_le_bytes());
    crc32c(crc, &generation.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_is_the_raw_register() {
        // "123456789" has the published CRC-32C 0xE3069283 with inversion on both ends.
        assert_eq!(!crc32c(!0, b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(crc32c(!0, b"1234"), b"56789"), crc32c(!0, b"123456789"));
    }

    #[test]
    fn crc16_is_arc() {
        // CRC-16/ARC's check value.
        assert_eq!(crc16(0, b"123456789"), 0xBB3D);
    }
}

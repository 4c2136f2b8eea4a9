//! The hashes of hash-tree directories: legacy, half MD4, TEA; each for signed and unsigned characters.

/// `dx_root_info.hash_version`.
pub(crate) const HASH_LEGACY: u8 = 0;
/// Half MD4.
pub(crate) const HASH_HALF_MD4: u8 = 1;
/// TEA.
pub(crate) const HASH_TEA: u8 = 2;

/// The largest hash, which marks the end of a directory and is never a name's.
const EOF: u32 = 0x7FFF_FFFF;

/// How a directory hashes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hasher {
    /// [`HASH_LEGACY`] to [`HASH_TEA`].
    pub version: u8,
    /// Characters are unsigned.
    pub unsigned: bool,
    /// All zero: the default of MD4.
    pub seed: [u32; 4],
}

impl Hasher {
    /// Major hash (even) and minor hash of a name.
    pub(crate) fn hash(&self, name: &[u8]) -> (u32, u32) {
        let mut buf = match self.seed {
            [0, 0, 0, 0] => [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476],
            seed => seed,
        };
        let (major, minor) = match self.version {
            HASH_LEGACY => (self.legacy(name), 0),
            HASH_TEA => {
                // An empty name hashes nothing at all.
                for at in (0..name.len()).step_by(16) {
                    tea(&mut buf, &self.words::<4>(&name[at..]));
                }
                (buf[0], buf[1])
            }
            _ => {
                for at in (0..name.len()).step_by(32) {
                    half_md4(&mut buf, &self.words::<8>(&name[at..]));
                }
                (buf[1], buf[2])
            }
        };
        let major = major & !1;
        (if major == EOF << 1 { (EOF - 1) << 1 } else { major }, minor)
    }

    fn char(&self, c: u8) -> u32 {
        if self.unsigned { u32::from(c) } else { i32::from(c.cast_signed()).cast_unsigned() }
    }

    fn legacy(&self, name: &[u8]) -> u32 {
        let (mut hash0, mut hash1) = (0x12A3_FE2Du32, 0x37AB_E8F9u32);
        for &c in name {
            let mut hash = hash1.wrapping_add(hash0 ^ self.char(c).wrapping_mul(7_152_373));
            if hash & 0x8000_0000 != 0 {
                hash = hash.wrapping_sub(0x7FFF_FFFF);
            }
            hash1 = hash0;
            hash0 = hash;
        }
        hash0 << 1
    }

    /// The next `N` words of a name: big end first, padded with its remaining length.
    fn words<const N: usize>(&self, rest: &[u8]) -> [u32; N] {
        let len = rest.len() as u32;
        let pad = (len | len << 8) | (len | len << 8) << 16;
        let mut words = [pad; N];
        for (word, chunk) in words.iter_mut().zip(rest[..rest.len().min(N * 4)].chunks(4)) {
            *word = chunk.iter().fold(pad, |value, &c| self.char(c).wrapping_add(value << 8));
        }
        words
    }
}

fn tea(buf: &mut [u32; 4], words: &[u32; 4]) {
    let [a, b, c, d] = *words;
    let (mut x, mut y) = (buf[0], buf[1]);
    let mut sum = 0u32;
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9E37_79B9);
        x = x.wrapping_add((y << 4).wrapping_add(a) ^ y.wrapping_add(sum) ^ (y >> 5).wrapping_add(b));
        y = y.wrapping_add((x << 4).wrapping_add(c) ^ x.wrapping_add(sum) ^ (x >> 5).wrapping_add(d));
    }
    buf[0] = buf[0].wrapping_add(x);
    buf[1] = buf[1].wrapping_add(y);
}

/// MD4's compression function over half a block: eight words, three rounds of eight steps.
fn half_md4(buf: &mut [u32; 4], words: &[u32; 8]) {
    /// Word order, shifts and constant of a round.
    const ROUNDS: [([usize; 8], [u32; 4], u32); 3] = [
        ([0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19], 0),
        ([1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13], 0x5A82_7999),
        ([3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15], 0x6ED9_EBA1),
    ];
    let mix = |round: usize, x: u32, y: u32, z: u32| match round {
        0 => z ^ (x & (y ^ z)),
        1 => (x & y).wrapping_add((x ^ y) & z),
        _ => x ^ y ^ z,
    };
    let [mut a, mut b, mut c, mut d] = *buf;
    for (round, (order, shifts, constant)) in ROUNDS.iter().enumerate() {
        for (step, &word) in order.iter().enumerate() {
            let sum = a.wrapping_add(mix(round, b, c, d)).wrapping_add(words[word]).wrapping_add(*constant);
            (a, d, c, b) = (d, c, b, sum.rotate_left(shifts[step % 4]));
        }
    }
    for (out, value) in buf.iter_mut().zip([a, b, c, d]) {
        *out = out.wrapping_add(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `debugfs -R "dx_hash -h VERSION -s SEED NAME"` of e2fsprogs 1.47 says.
    #[test]
    fn hashes_are_those_of_e2fsprogs() {
        let seed = [0x6745_2301, 0xEFCD_AB89, 0x6745_2301, 0xEFCD_AB89];
        let long = "some-quite-long-file-name-with-more-than-32-characters.txt";
        for (version, name, major, minor) in [
            (HASH_LEGACY, "a", 0xE74B_53E2, 0),
            (HASH_LEGACY, "hello", 0x3225_2546, 0),
            (HASH_LEGACY, long, 0x9A0_CAE0, 0),
            (HASH_LEGACY, "grüße", 0xCC69_FABA, 0),
            (HASH_HALF_MD4, "a", 0x35DC_0CC4, 0x3F1D_ACEF),
            (HASH_HALF_MD4, "hello", 0xA26E_4A80, 0x97E5_B7F7),
            (HASH_HALF_MD4, long, 0x9F46_5314, 0x781A_7313),
            (HASH_HALF_MD4, "grüße", 0xB408_7BEC, 0x8701_CE0D),
            (HASH_TEA, "a", 0x6D0E_A4C0, 0xC189_22DF),
            (HASH_TEA, "hello", 0x6F5B_B1A8, 0x2319_17C2),
            (HASH_TEA, long, 0xC44E_F7F4, 0xC755_9514),
            (HASH_TEA, "grüße", 0xC271_DF04, 0x8FB0_97D8),
        ] {
            let hasher = Hasher { version, unsigned: false, seed };
            assert_eq!(hasher.hash(name.as_bytes()), (major, minor), "{version} {name}");
        }
        let unseeded = Hasher { version: HASH_HALF_MD4, unsigned: false, seed: [0; 4] };
        assert_eq!(unseeded.hash(b"hello"), (0x1746_DA32, 0x4200_13B5));
    }
}

//! The first stack of a program: strings, auxiliary vector, pointer arrays (getauxval(3), the x86-64 psABI).

use abi::elf::AT_NULL;

/// What goes onto the stack.
pub struct StackContents<'a> {
    /// Name under which the program was found (AT_EXECFN).
    pub execfn: &'a [u8],
    /// argv
    pub argv: &'a [Vec<u8>],
    /// envp
    pub envp: &'a [Vec<u8>],
    /// AT_RANDOM
    pub random: [u8; 16],
    /// Bytes, below 8192, that the stack begins lower: part of the address randomisation.
    pub shift: u64,
}

/// Addresses of the strings, for the auxiliary vector.
pub struct Strings {
    /// AT_EXECFN
    pub execfn: u64,
    /// AT_PLATFORM
    pub platform: u64,
    /// AT_RANDOM
    pub random: u64,
}

/// A stack ready to be copied to the guest.
pub struct StackImage {
    /// Where it begins: the first stack pointer.
    pub sp: u64,
    /// From there to the top.
    pub bytes: Vec<u8>,
    /// argv's strings.
    pub args: (u64, u64),
    /// envp's strings.
    pub env: (u64, u64),
    /// The auxiliary vector.
    pub auxv: Vec<u64>,
}

const PLATFORM: &[u8] = b"x86_64\0";

/// Lays the stack out below `top`. `auxv` gives pairs for the vector without its AT_NULL.
pub fn build(
    top: u64,
    contents: &StackContents<'_>,
    auxv: impl FnOnce(&Strings) -> Vec<(u64, u64)>,
) -> StackImage {
    let size = |strings: &[Vec<u8>]| strings.iter().map(|s| s.len() as u64 + 1).sum::<u64>();
    // From the top: a null word, the program's name, environment, arguments.
    let execfn = top - 8 - (contents.execfn.len() as u64 + 1);
    let env = execfn - size(contents.envp);
    let args = env - size(contents.argv);
    let platform = ((args & !15) - contents.shift - PLATFORM.len() as u64) & !15;
    let random = platform - 16;
    let strings = Strings { execfn, platform, random };
    let mut vector: Vec<u64> = auxv(&strings).into_iter().flat_map(|(key, value)| [key, value]).collect();
    vector.extend([AT_NULL, 0]);
    let words = 1 + contents.argv.len() + 1 + contents.envp.len() + 1 + vector.len();
    let sp = (random - 8 * words as u64) & !15;

    let mut bytes = Vec::with_capacity((top - sp) as usize);
    let mut word = |word: u64| bytes.extend_from_slice(&word.to_le_bytes());
    word(contents.argv.len() as u64);
    for (strings, mut at) in [(contents.argv, args), (contents.envp, env)] {
        for string in strings {
            word(at);
            at += string.len() as u64 + 1;
        }
        word(0);
    }
    vector.iter().for_each(|&w| word(w));
    let mut put = |at: u64, data: &[u8]| {
        bytes.resize((at - sp) as usize, 0);
        bytes.extend_from_slice(data);
    };
    put(random, &contents.random);
    put(platform, PLATFORM);
    put(args, &[]);
    for string in contents.argv.iter().chain(contents.envp) {
        bytes.extend_from_slice(string);
        bytes.push(0);
    }
    bytes.extend_from_slice(contents.execfn);
    bytes.resize((top - sp) as usize, 0);
    StackImage { sp, bytes, args: (args, env), env: (env, execfn), auxv: vector }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_lead_to_strings() {
        let argv = [b"prog".to_vec(), b"".to_vec()];
        let envp = [b"A=1".to_vec()];
        let contents =
            StackContents { execfn: b"/bin/prog", argv: &argv, envp: &envp, random: [7; 16], shift: 4000 };
        let top = 0x7000_0000_0000;
        let image = build(top, &contents, |s| vec![(31, s.execfn), (25, s.random), (15, s.platform)]);
        assert_eq!(image.sp % 16, 0);
        assert_eq!(image.sp + image.bytes.len() as u64, top);
        let word = |i: usize| u64::from_le_bytes(image.bytes[i * 8..i * 8 + 8].try_into().unwrap());
        let string = |addr: u64| {
            let rest = &image.bytes[(addr - image.sp) as usize..];
            rest[..rest.iter().position(|&b| b == 0).unwrap()].to_vec()
        };
        assert_eq!(word(0), 2);
        assert_eq!(string(word(1)), b"prog");
        assert_eq!(string(word(2)), b"");
        assert_eq!(word(3), 0);
        assert_eq!(string(word(4)), b"A=1");
        assert_eq!(word(5), 0);
        assert_eq!((word(6), string(word(7))), (31, b"/bin/prog".to_vec()));
        let random = (word(9) - image.sp) as usize;
        assert_eq!(image.bytes[random..random + 16], [7; 16]);
        assert_eq!(string(word(11)), b"x86_64");
        assert_eq!((word(12), word(13)), (AT_NULL, 0));
        assert_eq!(image.args.1 - image.args.0, 6);
        assert_eq!(image.env.1 - image.env.0, 4);
    }
}

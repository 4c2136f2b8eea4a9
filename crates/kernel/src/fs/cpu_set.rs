//! Sets of CPUs as /proc and /sys show them.

use crate::sched::vcpus;

/// Number of vCPUs, 64 at most in such a set.
pub fn count() -> usize {
    vcpus().len().clamp(1, 64)
}

/// All vCPUs.
pub fn all() -> u64 {
    u64::MAX >> (64 - count())
}

/// A set of `count` CPUs as hexadecimal words of 32 bits with commas between them.
pub fn mask(set: u64, count: usize) -> String {
    if count <= 32 {
        return format!("{set:0width$x}", width = count.div_ceil(4));
    }
    format!("{:0width$x},{:08x}", set >> 32, set as u32, width = (count - 32).div_ceil(4))
}

/// A set as `0-3,5`.
pub fn list(set: u64) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for cpu in (0..64).filter(|&cpu| set >> cpu & 1 != 0) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let show = |(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(show).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_cpus() {
        assert_eq!(list(0b10_1111), "0-3,5");
        assert_eq!(list(0), "");
        assert_eq!(list(u64::MAX), "0-63");
        assert_eq!(mask(3, 2), "3");
        assert_eq!(mask(0xff, 8), "ff");
        assert_eq!(mask(1 << 33 | 1, 34), "2,00000001");
    }
}

use super::*;

/// Runs a filter as the host would.
fn run(code: &[sock_filter], nr: i64, arch: u32, ip: u64, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend((nr as u32).to_le_bytes());
    data.extend(arch.to_le_bytes());
    data.extend(ip.to_le_bytes());
    args.iter().for_each(|arg| data.extend(arg.to_le_bytes()));
    let (mut a, mut x, mut m, mut pc) = (0u32, 0u32, [0u32; 16], 0);
    loop {
        let i = &code[pc];
        pc += 1;
        let mut jump = |taken: bool| pc += usize::from(if taken { i.jt } else { i.jf });
        match i.code {
            LD_ABS => a = u32::from_le_bytes(data[i.k as usize..][..4].try_into().unwrap()),
            LD_MEM => a = m[i.k as usize],
            ST => m[i.k as usize] = a,
            TAX => x = a,
            ADD_X => a = a.wrapping_add(x),
            ADD_K => a = a.wrapping_add(i.k),
            AND_K => a &= i.k,
            JEQ => jump(a == i.k),
            JGT => jump(a > i.k),
            JGE => jump(a >= i.k),
            JGE_X => jump(a >= x),
            JSET => jump(a & i.k != 0),
            RET => return i.k,
            code => panic!("unknown instruction {code:#x}"),
        }
    }
}

fn text(nr: libc::c_long, args: [u64; 6]) -> bool {
    run(&strict(), nr, ARCH_X86_64, STUB_BASE + 0x200, args) == ALLOW
}

const FIXED: u64 = 0x32;

#[test]
fn guest_code_always_traps() {
    for ip in [0x40_0000, STUB_BASE - 1, STUB_BASE + TEXT_LEN, SLOTS, 0xffff_ffff_ff60_0000] {
        assert_eq!(run(&strict(), libc::SYS_getppid, ARCH_X86_64, ip, [0; 6]), TRAP);
        assert_eq!(run(&listener(), libc::SYS_clone, ARCH_X86_64, ip, [0; 6]), ALLOW);
    }
    assert_eq!(run(&strict(), libc::SYS_getppid, 0x4000_0003, STUB_BASE + 8, [0; 6]), TRAP);
    assert!(text(libc::SYS_getppid, [0; 6]));
    for nr in (0..600).filter(|nr| !calls().iter().any(|(call, _)| call == nr)) {
        assert!(!text(nr, [0; 6]), "{nr}");
    }
}

#[test]
fn ranges_end_below_the_stub() {
    let map = |addr, len| text(libc::SYS_mmap, [addr, len, 3, FIXED, !0, 0]);
    assert!(map(0x1000, 0x1000));
    assert!(map(STUB_BASE - 0x1000, 0x1000));
    assert!(!map(STUB_BASE - 0x1000, 0x2000));
    assert!(map(0xffff_f000, 0x2000));
    assert!(map(0x7fef_ffff_f000, 0x1000));
    assert!(map(0x7fee_ffff_f000, 0x1_0000_1000));
    assert!(!map(0x7fee_ffff_f000, 0x1_0000_2000));
    assert!(map(0, STUB_BASE - 0x1000));
    assert!(!map(STUB_BASE, 0x1000));
    assert!(!map(SLOTS, 0x1000));
    assert!(!map(!0xfff, 0x2000));
    assert!(!map(0x1000, !0xfff));
    assert!(!map(0x7000_0000_0000, 0x7000_0000_0000));
}

#[test]
fn arguments_are_checked() {
    let map = |prot, flags| text(libc::SYS_mmap, [0x1000, 0x1000, prot, flags, !0, 0]);
    assert!(map(7, FIXED));
    assert!(!map(8, FIXED));
    assert!(!map(3, 0x22));
    assert!(!map(3, FIXED | 0x100));
    assert!(!map(3, FIXED | 1 << 32));
    assert!(map(3, 0x11));
    assert!(map(3, 0x12));
    assert!(!map(3, 0x31));
    assert!(!map(3, 0x33));
    for nr in [libc::SYS_clock_gettime, libc::SYS_clock_getres] {
        assert!(text(nr, [1, 0x1000, 0, 0, 0, 0]));
        // The processor time of process 1, and a clock by descriptor.
        assert!(!text(nr, [u64::from(!1u32 << 3 | 2), 0x1000, 0, 0, 0, 0]));
        assert!(!text(nr, [u64::from(!3u32 << 3 | 3), 0x1000, 0, 0, 0, 0]));
    }
    let window = [SLOTS + SLOT_LEN, WINDOW_LEN, 3, 0x11, 4, 0];
    assert!(text(libc::SYS_mmap, window));
    for (arg, value) in [(0, SLOTS + 0x1000), (1, 0x1000), (2, 7), (3, 0x12), (5, 0x1000)] {
        let mut bad = window;
        bad[arg] = value;
        assert!(!text(libc::SYS_mmap, bad), "{arg}");
    }
    assert!(text(libc::SYS_mremap, [0x1000, 0x1000, 0x2000, 3, 0x8000, 0]));
    assert!(!text(libc::SYS_mremap, [0x1000, 0x1000, 0x2000, 1, 0x8000, 0]));
    assert!(!text(libc::SYS_mremap, [SLOTS, 0, 0x1000, 3, 0x8000, 0]));
    assert!(!text(libc::SYS_mremap, [0x1000, 0x1000, 0x1000, 3, SLOTS, 0]));
    assert!(text(libc::SYS_madvise, [SLOTS, WINDOW_LEN, 10, 0, 0, 0]));
    assert!(!text(libc::SYS_madvise, [SLOTS, WINDOW_LEN, 11, 0, 0, 0]));
    assert!(!text(libc::SYS_madvise, [0, 0x1000, 100, 0, 0, 0]));
    assert!(text(libc::SYS_futex, [SLOTS, 1, 1, 0, 0, 0]));
    assert!(!text(libc::SYS_futex, [SLOTS, 3, 1, 0, 0, 0]));
    assert!(!text(libc::SYS_futex, [0x1000, 0, 1, 0, 0, 0]));
    assert!(!text(libc::SYS_recvmsg, [4, 0, 0, 0, 0, 0]));
    assert!(!text(libc::SYS_prctl, [1, 0, 0, 0, 0, 0]));
    assert!(text(libc::SYS_clone, [FORK_FLAGS, 0, 0, 0, 0, 0]));
    assert!(!text(libc::SYS_clone, [FORK_FLAGS | 1 << 32, 0, 0, 0, 0, 0]));
    assert!(!text(libc::SYS_clone, [THREAD_FLAGS, 0x1000, 0, 0, 0, 0]));
    assert!(!text(libc::SYS_clone, [17, 0, 0, 0, 0, 0]));
}

#[test]
fn clone_is_asked_for() {
    assert_eq!(run(&listener(), libc::SYS_clone, ARCH_X86_64, STUB_BASE + 8, [0; 6]), USER_NOTIF);
    assert_eq!(run(&listener(), libc::SYS_mmap, ARCH_X86_64, STUB_BASE + 8, [0; 6]), ALLOW);
    assert!(strict().len() <= FILTER_MAX && listener().len() <= 16);
}

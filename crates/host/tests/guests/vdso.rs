//! The guest's vDSO, called from guest code.

use crate::guest::*;
use host::cpu::Cpu;
use host::{clock, vdso};
use std::arch::global_asm;

code! {
    // Calls rbx, then exits with its result in rdi.
    call: "call rbx", "mov rdi, rax", "mov eax, 60", "syscall";
}

const VDSO: u64 = 0x7000_0000;
const OUT: u64 = STACK - PAGE;

#[test]
fn clocks_are_the_hosts_and_an_offset() {
    let cpu = Cpu::new(0);
    let (space, mut thread) = guest(call());
    for op in vdso::map_ops(VDSO).unwrap() {
        thread.defer(op);
    }
    let mut ask = |name: &str, rdi: u64, rsi: u64| {
        thread.regs_mut().rip = CODE;
        thread.regs_mut().rbx = vdso::ehdr(VDSO) + vdso::symbol(name).unwrap();
        thread.regs_mut().rdi = rdi;
        thread.regs_mut().rsi = rsi;
        let nr = syscall(&mut thread, &cpu);
        let mut out = [0; 16];
        space.read(OUT, &mut out);
        let word = |at: usize| u64::from_le_bytes(out[at..at + 8].try_into().unwrap());
        (nr, thread.regs().rdi, word(0), word(8))
    };
    for (id, now) in [(0, clock::realtime as fn() -> u64), (1, clock::monotonic), (7, clock::boottime)] {
        vdso::set_offsets(0, 0, 0);
        let before = now();
        let (nr, ret, sec, nsec) = ask("__vdso_clock_gettime", id, OUT);
        assert_eq!((nr, ret), (60, 0));
        let guest = sec * 1_000_000_000 + nsec;
        assert!(before <= guest && guest <= now(), "{before} {guest}");
        vdso::set_offsets(-5_000_000_001, -5_000_000_001, -5_000_000_001);
        let before = now();
        let (_, _, sec, nsec) = ask("clock_gettime", id, OUT);
        let guest = sec * 1_000_000_000 + nsec + 5_000_000_001;
        assert!(before <= guest && guest <= now() && nsec < 1_000_000_000);
    }
    vdso::set_offsets(0, 0, 0);
    let (nr, ret, sec, _) = ask("__vdso_time", OUT, 0);
    assert_eq!(nr, 60);
    assert!(ret == sec && clock::realtime() / 1_000_000_000 - ret <= 1);
    let (nr, _, sec, usec) = ask("__vdso_gettimeofday", OUT, 0);
    assert_eq!(nr, 60);
    assert!(sec - ret <= 1 && usec < 1_000_000);
    let (nr, ret, sec, nsec) = ask("__vdso_clock_getres", 1, OUT);
    assert_eq!((nr, ret, sec, nsec), (60, 0, 0, 1));
    // What only the kernel can tell is a system call.
    assert_eq!(ask("__vdso_clock_gettime", 2, OUT).0, 228);
    assert_eq!(ask("__vdso_clock_gettime", 12, OUT).0, 228);
    assert_eq!(ask("__vdso_clock_gettime", u64::MAX, OUT).0, 228);
    assert_eq!(ask("__vdso_getcpu", OUT, 0).0, 309);
}

//! Guest threads on the real host: events, memory, forks, threads.

use crate::guest::*;
use host::cpu::Cpu;
use host::stub::*;
use std::arch::global_asm;

#[test]
fn system_calls() {
    let cpu = Cpu::new(0);
    let (_space, mut thread) = guest(getppid());
    thread.regs_mut().rbx = 3;
    thread.regs_mut().r12 = 12;
    for _ in 0..3 {
        assert_eq!(syscall(&mut thread, &cpu), 110);
        assert_eq!(thread.regs().rip, CODE + 7);
        assert_eq!(thread.regs().rcx, CODE + 7);
        assert_eq!(thread.regs().r11 & 0x200, 0x200);
        assert_eq!(thread.regs().r12, 12);
        thread.regs_mut().rax = 1;
    }
    assert_eq!(syscall(&mut thread, &cpu), 60);
}

#[test]
fn faults_and_retry() {
    let cpu = Cpu::new(0);
    let (space, mut thread) = guest(touch());
    thread.regs_mut().rdi = 0x1234_5000;
    let Event::Fault(fault) = run(&mut thread, &cpu) else { panic!() };
    let expected = Fault { signal: libc::SIGSEGV, code: 1, addr: 0x1234_5000, trapno: 14, error_code: 4 };
    assert_eq!(fault, expected);
    assert_eq!(thread.regs().rip, CODE);
    thread.defer(anonymous(0x1234_5000, PAGE, 1));
    let Event::Fault(fault) = run(&mut thread, &cpu) else { panic!() };
    assert_eq!((fault.code, fault.error_code & 7), (2, 7));
    thread.defer(MemOp::Protect { addr: 0x1234_5000, len: PAGE, prot: RW });
    assert_eq!(syscall(&mut thread, &cpu), 60);
    assert_eq!(thread.regs().rdi, 0);
    let mut word = [0; 8];
    assert_eq!(space.read(0x1234_5000, &mut word), 8);
    assert_eq!(word[0], 1);
}

#[test]
fn forks_copy_memory_and_registers() {
    let cpu = Cpu::new(0);
    let (space, mut parent) = guest(getppid());
    parent.regs_mut().rbx = 100;
    assert_eq!(syscall(&mut parent, &cpu), 110);
    let (child_space, mut child) = parent.fork().unwrap();
    assert_ne!(child_space.host_pid(), space.host_pid());
    assert_eq!(child.regs(), parent.regs());
    space.write(STACK - 8, &[1; 8]);
    let mut word = [9; 8];
    assert_eq!(child_space.read(STACK - 8, &mut word), 8);
    assert_eq!(word, [0; 8]);
    child.regs_mut().rbx = 7;
    for n in [7, 100] {
        let thread = if n == 7 { &mut child } else { &mut parent };
        for _ in 1..n {
            assert_eq!(syscall(thread, &cpu), 110);
        }
        assert_eq!(syscall(thread, &cpu), 60);
    }
}

#[test]
fn threads_share_memory() {
    let cpu = Cpu::new(0);
    let (space, mut first) = guest(touch());
    let mut threads = Vec::new();
    for i in 0..20 {
        let mut thread = first.spawn().unwrap();
        thread.regs_mut().rdi = STACK - 8;
        assert_eq!(syscall(&mut thread, &cpu), 60);
        assert_eq!(thread.regs().rdi, i);
        threads.push(thread);
    }
    threads.clear();
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", space.host_pid())).unwrap().lines().count();
    for i in 20..100 {
        let mut thread = first.spawn().unwrap();
        thread.regs_mut().rdi = STACK - 8;
        assert_eq!(syscall(&mut thread, &cpu), 60);
        assert_eq!(thread.regs().rdi, i);
    }
    let after = std::fs::read_to_string(format!("/proc/{}/maps", space.host_pid())).unwrap().lines().count();
    assert!(after < maps + 80, "slots are used again: {maps} {after}");
}

#[test]
fn spinning_guests_are_interrupted() {
    let cpu = Cpu::new(0);
    let (_space, mut thread) = guest(spin());
    let start = host::clock::monotonic();
    let mut ticks = 0;
    let event = thread.run(&cpu, Wait::Until(start + 3_000_000), &mut || {
        ticks += 1;
        if ticks == 3 { Wait::Interrupt } else { Wait::Until(start + (ticks + 1) * 3_000_000) }
    });
    assert_eq!(event, Event::Interrupted);
    assert!(host::clock::monotonic() >= start + 9_000_000);
    assert!((CODE + 2..CODE + 8).contains(&thread.regs().rip));
    let kicked = cpu.clone();
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        kicked.kick();
    });
    assert_eq!(thread.run(&cpu, Wait::Forever, &mut || Wait::Interrupt), Event::Interrupted);
}

#[test]
fn killed_processes_are_dead() {
    let cpu = Cpu::new(0);
    let (space, mut thread) = guest(spin());
    let killer = space.clone();
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        killer.kill();
    });
    assert_eq!(run(&mut thread, &cpu), Event::Dead);
    assert!(space.is_dead());
    assert_eq!(space.read(CODE, &mut [0; 8]), 0);
    assert_eq!(run(&mut thread, &cpu), Event::Dead);
    assert!(thread.fork().is_err());
    assert!(thread.spawn().is_err());
    assert!(thread.batch(vec![anonymous(CODE, PAGE, 1)]).is_err());
}

#[test]
fn failed_operations_name_themselves() {
    let cpu = Cpu::new(0);
    let (_space, mut thread) = guest(touch());
    let unmapped = MemOp::Protect { addr: 0x5000_0000, len: PAGE, prot: 1 };
    let ops = vec![anonymous(0x6000_0000, PAGE, 1), unmapped.clone(), anonymous(0x7000_0000, PAGE, 1)];
    assert_eq!(thread.batch(ops), Err((1, abi::errno::ENOMEM)));
    for addr in [0x6000_0000, 0x7000_0000u64] {
        thread.regs_mut().rip = CODE;
        thread.regs_mut().rdi = addr;
        let Event::Fault(fault) = run(&mut thread, &cpu) else { panic!() };
        assert_eq!(fault.code, if addr == 0x6000_0000 { 2 } else { 1 });
    }
    for i in 0..100 {
        thread.defer(anonymous(0x6000_0000 + i * PAGE, PAGE, 1));
    }
    thread.defer(MemOp::Unmap { addr: TASK_SIZE, len: PAGE });
    assert_eq!(run(&mut thread, &cpu), failed(100, abi::errno::ENOMEM));
    for i in 0..100 {
        thread.defer(anonymous(0x6000_0000 + i * PAGE, PAGE, RW));
    }
    thread.defer(unmapped);
    assert_eq!(run(&mut thread, &cpu), failed(100, abi::errno::ENOMEM));
    thread.regs_mut().rip = CODE;
    thread.regs_mut().rdi = 0x6000_0000 + 99 * PAGE;
    assert_eq!(syscall(&mut thread, &cpu), 60);
}

#[test]
fn words_are_compared_and_exchanged() {
    let (space, mut thread) = guest(touch());
    let (word, readable) = (0x6000_0000u64, 0x7000_0000u64);
    thread.batch(vec![anonymous(word, PAGE, RW), anonymous(readable, PAGE, 1)]).unwrap();
    let read = |addr| {
        let mut bytes = [0; 4];
        (space.read(addr, &mut bytes) == 4).then(|| u32::from_ne_bytes(bytes))
    };
    assert_eq!(thread.compare_exchange(word, 1, 2), Ok(0));
    assert_eq!(read(word), Some(0));
    assert_eq!(thread.compare_exchange(word, 0, u32::MAX), Ok(0));
    assert_eq!(thread.compare_exchange(word, 0, 7), Ok(u32::MAX));
    assert_eq!(read(word), Some(u32::MAX));
    assert_eq!(thread.compare_exchange(readable, 0, 1), Err(abi::errno::EFAULT));
    assert_eq!(thread.compare_exchange(0x5000_0000, 0, 1), Err(abi::errno::EFAULT));
    assert_eq!(thread.compare_exchange(TASK_SIZE, 0, 1), Err(abi::errno::EFAULT));
    assert_eq!(thread.compare_exchange(word + 1, 0, 1), Err(abi::errno::EINVAL));
    thread.regs_mut().rdi = word;
    assert_eq!(syscall(&mut thread, &Cpu::new(0)), 60);
}

#[test]
fn objects_are_shared() {
    let cpu = Cpu::new(0);
    let object = host::object::Object::create("test").unwrap();
    object.set_len(3 * PAGE).unwrap();
    object.pwrite(2 * PAGE, &[5]).unwrap();
    let (_space, mut thread) = guest(touch());
    let map = |fd, prot| MemOp::Map {
        addr: 0x5000_0000,
        len: 2 * PAGE,
        prot,
        shared: true,
        noreserve: false,
        populate: false,
        source: MapSource::Object { fd, offset: 2 * PAGE },
    };
    let read_only = object.readonly_fd().unwrap();
    assert_eq!(thread.batch(vec![map(read_only.clone(), RW)]), Err((0, abi::errno::EACCES)));
    thread.batch(vec![map(read_only, 1)]).unwrap();
    thread.defer(map(object.fd(), RW));
    thread.regs_mut().rdi = 0x5000_0000;
    assert_eq!(syscall(&mut thread, &cpu), 60);
    assert_eq!(thread.regs().rdi, 5);
    let mut byte = [0];
    object.pread(2 * PAGE, &mut byte).unwrap();
    assert_eq!(byte, [6]);
    thread.regs_mut().rip = CODE;
    thread.regs_mut().rdi = 0x5000_0000 + PAGE;
    let Event::Fault(fault) = run(&mut thread, &cpu) else { panic!() };
    assert_eq!((fault.signal, fault.code), (libc::SIGBUS, 2));
}

code! {
    int80: "mov eax, 20", "int 0x80", "nop", "nop";
    segments: "mov rbx, fs:[0]", "mov rbp, gs:[8]", "syscall";
    strange: "mov rax, rbx", "syscall", "nop";
}

#[test]
fn legacy_calls_and_single_steps() {
    let cpu = Cpu::new(0);
    let (_space, mut thread) = guest(int80());
    assert_eq!(run(&mut thread, &cpu), Event::Syscall { abi: SyscallAbi::I386 });
    assert_eq!((thread.regs().orig_rax, thread.regs().rip), (20, CODE + 7));
    thread.regs_mut().eflags |= 0x100;
    let Event::Fault(fault) = run(&mut thread, &cpu) else { panic!() };
    assert_eq!((fault.signal, fault.code, thread.regs().rip), (libc::SIGTRAP, 2, CODE + 8));
}

#[test]
fn numbers_like_restart_codes_are_numbers() {
    let cpu = Cpu::new(0);
    let (_space, mut thread) = guest(strange());
    for number in [-1i64, -4, -512, -513, -514, -516, -4095, i64::MIN, 1 << 40] {
        thread.regs_mut().rip = CODE;
        thread.regs_mut().rbx = number as u64;
        let seen = syscall(&mut thread, &cpu);
        assert_eq!((seen as i32, thread.regs().rip), (number as i32, CODE + 5), "{number}");
    }
}

#[test]
fn several_vcpus() {
    init();
    let vcpus: Vec<_> = (0..4)
        .map(|index| {
            std::thread::spawn(move || {
                let cpu = Cpu::new(index);
                for _ in 0..20 {
                    let (_space, mut thread) = guest(getppid());
                    thread.regs_mut().rbx = 200;
                    for round in 0..200 {
                        assert_eq!(syscall(&mut thread, &cpu), 110);
                        if round % 50 == 0 {
                            let (_, mut child) = thread.fork().unwrap();
                            assert_eq!(run(&mut child, &cpu), Event::Syscall { abi: SyscallAbi::X86_64 });
                            let mut sibling = thread.spawn().unwrap();
                            assert_eq!(run(&mut sibling, &cpu), Event::Syscall { abi: SyscallAbi::X86_64 });
                            cpu.idle(Some(host::clock::monotonic() + 50_000));
                        }
                    }
                    assert_eq!(syscall(&mut thread, &cpu), 60);
                }
            })
        })
        .collect();
    vcpus.into_iter().for_each(|vcpu| vcpu.join().unwrap());
}

#[test]
fn segment_bases_go_both_ways() {
    let cpu = Cpu::new(0);
    let (space, mut thread) = guest(segments());
    for n in 1..20u64 {
        space.write(STACK - 64, &n.to_le_bytes());
        thread.regs_mut().rip = CODE;
        thread.regs_mut().fs_base = STACK - 64;
        thread.regs_mut().gs_base = STACK - 72;
        syscall(&mut thread, &cpu);
        let regs = *thread.regs();
        assert_eq!((regs.rbx, regs.rbp, regs.fs_base, regs.gs_base), (n, n, STACK - 64, STACK - 72));
    }
    // What no processor takes as an address is made into one it does.
    thread.regs_mut().rip = CODE;
    thread.regs_mut().fs_base = 1 << 63;
    assert!(matches!(run(&mut thread, &cpu), Event::Fault(_)));
}

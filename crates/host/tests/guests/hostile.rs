//! Guests that jump into the stub's text with registers of their choice, or spoil what the stub relies on.

use crate::guest::*;
use host::cpu::Cpu;
use host::stub::*;
use std::arch::global_asm;
use std::time::Duration;

code! {
    // Where the stub's `ret` after a host call comes back to.
    landing: "mov rbx, rax", "ud2";
}

const SLOT: u64 = TASK_SIZE + (1 << 32);

/// The `syscall` of the stub's fork, after which it returns to the guest's stack.
fn gadget(space: &AddressSpace) -> u64 {
    let mut text = vec![0u8; 0x1000];
    let local = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    let remote = libc::iovec { iov_base: TASK_SIZE as *mut _, iov_len: text.len() };
    // SAFETY: `text` is writable for its length.
    let n = unsafe { libc::process_vm_readv(space.host_pid(), &local, 1, &remote, 1, 0) };
    assert_eq!(n, 0x1000);
    let code = [0xb8, 56, 0, 0, 0, 0x0f, 0x05];
    TASK_SIZE + text.windows(7).position(|bytes| bytes == code).unwrap() as u64 + 5
}

fn aim(space: &AddressSpace, thread: &mut StubThread, nr: libc::c_long, args: [u64; 6]) {
    let at = gadget(space);
    space.write(STACK - 8, &CODE.to_le_bytes());
    let regs = thread.regs_mut();
    regs.rip = at;
    regs.rsp = STACK - 8;
    regs.rax = nr as u64;
    [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
}

/// Makes a host call from the stub's text: its result, or None if it was trapped.
fn call(thread: &mut StubThread, cpu: &Cpu, nr: libc::c_long, args: [u64; 6]) -> Option<i64> {
    let space = thread.address_space().clone();
    aim(&space, thread, nr, args);
    match run(thread, cpu) {
        Event::Syscall { .. } if thread.regs().rip == gadget(&space) + 2 => None,
        Event::Fault(Fault { signal: libc::SIGILL, .. }) => Some(thread.regs().rbx as i64),
        event => panic!("{event:?} at {:#x}", thread.regs().rip),
    }
}

#[test]
fn forbidden_calls_trap() {
    let cpu = Cpu::new(0);
    let (space, mut thread) = guest(landing());
    let fixed = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
    let page = 0x5000_0000;
    assert_eq!(call(&mut thread, &cpu, libc::SYS_mmap, [page, PAGE, 7, fixed, !0, 0]), Some(page as i64));
    let forbidden: &[(libc::c_long, [u64; 6])] = &[
        (libc::SYS_mmap, [page, PAGE, 7, fixed & !0x10, !0, 0]),
        (libc::SYS_mmap, [TASK_SIZE, PAGE, 7, fixed, !0, 0]),
        (libc::SYS_mmap, [TASK_SIZE + 0x8000, PAGE, 7, fixed, !0, 0]),
        (libc::SYS_mmap, [SLOT, PAGE, 3, fixed, !0, 0]),
        (libc::SYS_munmap, [TASK_SIZE, PAGE, 0, 0, 0, 0]),
        (libc::SYS_munmap, [TASK_SIZE - PAGE, 2 * PAGE, 0, 0, 0, 0]),
        (libc::SYS_mprotect, [TASK_SIZE, PAGE, 7, 0, 0, 0]),
        (libc::SYS_mremap, [SLOT, 0, PAGE, 3, page, 0]),
        (libc::SYS_mremap, [page, PAGE, PAGE, 3, TASK_SIZE, 0]),
        (libc::SYS_madvise, [SLOT, PAGE, libc::MADV_DOFORK as u64, 0, 0, 0]),
        (libc::SYS_openat, [libc::AT_FDCWD as u64, page, 0, 0, 0, 0]),
        (libc::SYS_socket, [1, 1, 0, 0, 0, 0]),
        (libc::SYS_kill, [1, 9, 0, 0, 0, 0]),
        (libc::SYS_tgkill, [1, 1, 9, 0, 0, 0]),
        (libc::SYS_execve, [page, 0, 0, 0, 0, 0]),
        (libc::SYS_fork, [0; 6]),
        (libc::SYS_vfork, [0; 6]),
        (libc::SYS_clone3, [page, 88, 0, 0, 0, 0]),
        (libc::SYS_clone, [17, 0, 0, 0, 0, 0]),
        (libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as u64, 0, 0, 0, 0, 0]),
        (libc::SYS_prctl, [libc::PR_SET_DUMPABLE as u64, 0, 0, 0, 0, 0]),
        (libc::SYS_seccomp, [1, 0, page, 0, 0, 0]),
        (libc::SYS_sigaltstack, [page, 0, 0, 0, 0, 0]),
        (libc::SYS_rt_sigaction, [11, page, 0, 8, 0, 0]),
        (libc::SYS_sendmsg, [3, page, 0, 0, 0, 0]),
        (libc::SYS_ptrace, [16, 1, 0, 0, 0, 0]),
        (libc::SYS_process_vm_readv, [1, page, 1, page, 1, 0]),
        (libc::SYS_io_uring_setup, [1, page, 0, 0, 0, 0]),
        (libc::SYS_getppid | 0x4000_0000, [0; 6]),
    ];
    for (nr, args) in forbidden {
        assert_eq!(call(&mut thread, &cpu, *nr, *args), None, "{nr} {args:x?}");
    }
    assert!(!space.is_dead());
}

#[test]
fn clones_that_were_not_ordered_wait_and_are_refused() {
    let cpu = Cpu::new(0);
    let (space, mut rogue) = guest(landing());
    aim(&space, &mut rogue, libc::SYS_clone, [0x8000 | 17, 0, 0, 0, 0, 0]);
    let deadline = host::clock::monotonic() + 20_000_000;
    let event = rogue.run(&cpu, Wait::Until(deadline), &mut || Wait::Interrupt);
    // Whoever else forks meanwhile refuses it.
    assert!(matches!(event, Event::Interrupted | Event::Fault(_)), "{event:?}");
    aim(&space, &mut rogue, libc::SYS_clone, [0x8000 | 17, 0, 0, 0, 0, 0]);
    let runner = std::thread::spawn(move || {
        let cpu = Cpu::new(1);
        let event = run(&mut rogue, &cpu);
        (event, rogue)
    });
    std::thread::sleep(Duration::from_millis(20));
    let (_other, mut thread) = guest(getppid());
    thread.regs_mut().rbx = 10;
    syscall(&mut thread, &cpu);
    let (_, mut child) = thread.fork().unwrap();
    assert_eq!(syscall(&mut child, &cpu), 110);
    let (event, rogue) = runner.join().unwrap();
    assert!(matches!(event, Event::Fault(Fault { signal: libc::SIGILL, .. })), "{event:?}");
    assert_eq!(rogue.regs().rbx as i64, -i64::from(libc::EPERM));
}

#[test]
fn leaving_threads_are_dead() {
    let cpu = Cpu::new(0);
    for nr in [libc::SYS_exit, libc::SYS_exit_group] {
        let (space, mut thread) = guest(landing());
        aim(&space, &mut thread, nr, [0; 6]);
        let mut run = || {
            let deadline = host::clock::monotonic() + 20_000_000;
            thread.run(&cpu, Wait::Until(deadline), &mut || Wait::Interrupt)
        };
        // On a busy host it may be stopped before it leaves.
        let events: Vec<Event> =
            (0..50).map(|_| run()).skip_while(|event| *event == Event::Interrupted).collect();
        assert!(!events.is_empty() && events.iter().all(|event| *event == Event::Dead), "{events:?}");
    }
}

#[test]
fn forged_signal_frames_kill_only_their_process() {
    let cpu = Cpu::new(0);
    // All zeros: segments and flags make no sense to the host.
    let (space, mut thread) = guest(landing());
    aim(&space, &mut thread, libc::SYS_rt_sigreturn, [0; 6]);
    thread.regs_mut().rsp = STACK - 2 * PAGE;
    let deadline = host::clock::monotonic() + 20_000_000;
    let event = thread.run(&cpu, Wait::Until(deadline), &mut || Wait::Interrupt);
    assert!(matches!(event, Event::Dead | Event::Fault(_)), "{event:?}");

    // A sound frame that blocks every signal: the guest cannot be stopped, and is killed for it.
    let (space, mut thread) = guest(spin());
    let mut frame = [0u64; 64];
    frame[0] = 6; // UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
    frame[5 + 15] = STACK;
    frame[5 + 16] = CODE;
    frame[5 + 17] = 0x202;
    frame[5 + 18] = 0x33 | 0x2b << 48;
    frame[37] = !0;
    let bytes: Vec<u8> = frame.iter().flat_map(|word| word.to_le_bytes()).collect();
    space.write(STACK - 2 * PAGE, &bytes);
    aim(&space, &mut thread, libc::SYS_rt_sigreturn, [0; 6]);
    thread.regs_mut().rsp = STACK - 2 * PAGE;
    let start = host::clock::monotonic();
    let event = thread.run(&cpu, Wait::Until(start + 20_000_000), &mut || Wait::Interrupt);
    assert_eq!(event, Event::Dead);
    assert!(host::clock::monotonic() < start + 3_000_000_000);
}

#[test]
fn spoilt_windows_and_stacks_kill_only_their_process() {
    let cpu = Cpu::new(0);
    guest_code_writes_over_the_slot(&cpu, SLOT, 0x5000);
    guest_code_writes_over_the_slot(&cpu, SLOT + 0x8000, 0x8000);
}

code! {
    // Fills rcx words at rdi with rax, then calls getppid for ever.
    fill: "rep stosq", "2: mov eax, 110", "syscall", "jmp 2b";
}

fn guest_code_writes_over_the_slot(cpu: &Cpu, at: u64, len: u64) {
    for value in [0, !0, 0x4141_4141_4141_4141, TASK_SIZE, 1] {
        let (_space, mut thread) = guest(fill());
        thread.regs_mut().rdi = at;
        thread.regs_mut().rcx = len / 8;
        thread.regs_mut().rax = value;
        for _ in 0..10 {
            let deadline = host::clock::monotonic() + 20_000_000;
            let event = thread.run(cpu, Wait::Until(deadline), &mut || Wait::Interrupt);
            if event == Event::Dead {
                break;
            }
            let _ = thread.batch(vec![anonymous(0x5000_0000, PAGE, RW)]);
            let _ = thread.fpstate();
            if let Ok((_, mut child)) = thread.fork() {
                let deadline = host::clock::monotonic() + 20_000_000;
                child.run(cpu, Wait::Until(deadline), &mut || Wait::Interrupt);
            }
        }
    }
}

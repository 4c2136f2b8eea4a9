//! Stubs and host threads that serve again, and what becomes of the rest when the host kills the first stub.

use crate::guest::*;
use crate::life::alone;
use host::cpu::Cpu;
use host::stub::*;
use std::arch::global_asm;
use std::sync::Arc;

code! {
    // Gives xmm0 in rbx when it ends.
    leave: "mov eax, 39", "syscall", "movq rbx, xmm0", "mov eax, 60", "syscall";
}

fn host_threads(space: &AddressSpace) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", space.host_pid())).unwrap().count()
}

fn ended(code: &[u8], cpu: &Cpu) -> (Arc<AddressSpace>, StubThread) {
    let (space, mut thread) = guest(code);
    thread.batch(vec![anonymous(STACK, PAGE, RW)]).unwrap();
    thread.regs_mut().rdi = STACK;
    assert_eq!(syscall(&mut thread, cpu), 60);
    (space, thread)
}

#[test]
fn a_stub_is_used_again_in_its_domain_and_empty() {
    let cpu = Cpu::new(0);
    let (space, thread) = ended(touch(), &cpu);
    let pid = space.host_pid();
    drop(space);
    thread.retire(77);
    assert!(StubThread::reuse(78).is_none());
    let mut thread = StubThread::reuse(77).unwrap();
    assert!(StubThread::reuse(77).is_none());
    assert_eq!(thread.address_space().host_pid(), pid);
    thread.batch(vec![anonymous(CODE, PAGE, 7)]).unwrap();
    let space = thread.address_space().clone();
    assert_eq!(space.read(STACK, &mut [0; 8]), 0);
    let mut old = [1; 16];
    assert_eq!(space.read(CODE, &mut old), 16);
    assert_eq!(old, [0; 16]);
    assert_eq!(space.write(CODE, getppid()), getppid().len());
    thread.regs_mut().rip = CODE;
    assert_eq!(thread.regs().rbx, 0);
    thread.regs_mut().rbx = 1;
    assert_eq!(syscall(&mut thread, &cpu), 110);
    assert_eq!(syscall(&mut thread, &cpu), 60);
    // Who else knows the address space would see the next program.
    thread.retire(77);
    assert!(StubThread::reuse(77).is_none());
    assert!(!space.is_dead() || space.read(CODE, &mut old) == 0);
}

#[test]
fn only_a_program_that_has_ended_leaves_its_stub() {
    let cpu = Cpu::new(0);
    let (space, mut thread) = guest(getppid());
    thread.regs_mut().rbx = 5;
    assert_eq!(syscall(&mut thread, &cpu), 110);
    drop(space);
    thread.retire(79);
    assert!(StubThread::reuse(79).is_none());
    let (space, mut thread) = ended(touch(), &cpu);
    drop(thread.spawn().unwrap());
    drop(space);
    thread.retire(79);
    assert!(StubThread::reuse(79).is_none());
}

#[test]
fn an_ended_threads_host_thread_serves_the_next() {
    let cpu = Cpu::new(0);
    let (space, mut thread) = guest(leave());
    assert_eq!(syscall(&mut thread, &cpu), 39);
    for value in [0x1111_u64, 0x2222, 0x3333] {
        let mut image = thread.fpstate().unwrap();
        image[160..168].copy_from_slice(&value.to_le_bytes());
        // XSTATE_BV: the vector registers are not in their initial state.
        image[512] |= 3;
        thread.set_fpstate(&image).unwrap();
        thread.regs_mut().r12 = value;
        let mut sibling = thread.spawn().unwrap();
        assert_eq!(syscall(&mut sibling, &cpu), 60);
        assert_eq!((sibling.regs().rbx, sibling.regs().r12), (value, value));
        drop(sibling);
        assert_eq!(host_threads(&space), 2);
    }
    let many: Vec<StubThread> = (0..20).map(|_| thread.spawn().unwrap()).collect();
    assert_eq!(host_threads(&space), 21);
    for mut sibling in many {
        assert_eq!(syscall(&mut sibling, &cpu), 60);
    }
    // Its stack is gone in the child, and every slot can be used again in both.
    let (_, mut child) = thread.fork().unwrap();
    for maker in [&mut thread, &mut child] {
        let many: Vec<StubThread> = (0..20).map(|_| maker.spawn().unwrap()).collect();
        for mut sibling in many {
            let (_, mut forked) = sibling.fork().unwrap();
            assert_eq!(syscall(&mut forked, &cpu), 60);
            assert_eq!(syscall(&mut sibling, &cpu), 60);
            assert_eq!(sibling.regs().rbx, 0x3333);
        }
    }
}

#[test]
fn the_first_stub_has_heirs() {
    if alone("reuse::the_first_stub_has_heirs") {
        return;
    }
    let cpu = Cpu::new(0);
    drop(guest(getppid()));
    for _ in 0..3 {
        // Until the pool is full and the dead are gone.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let mut children = Vec::new();
        for task in std::fs::read_dir("/proc/self/task").unwrap() {
            let text = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
            children.extend(text.split_whitespace().map(|pid| pid.parse::<i32>().unwrap()));
        }
        let first = *children.iter().min().unwrap();
        let killed = std::process::Command::new("kill").args(["-9", &first.to_string()]).status().unwrap();
        assert!(killed.success());
        for _ in 0..6 {
            let (_space, mut thread) = guest(getppid());
            thread.regs_mut().rbx = 1;
            assert_eq!(syscall(&mut thread, &cpu), 110);
        }
    }
}

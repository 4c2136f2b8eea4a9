//! What is left over: processes, descriptors, mappings, vector state.

use crate::guest::*;
use host::cpu::Cpu;
use host::stub::*;
use std::arch::global_asm;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

code! {
    // Puts rax into xmm0 and st0's exponent, makes a call, and gives xmm0 back in rbx.
    vectors: "movq xmm0, rax", "mov eax, 39", "syscall", "movq rbx, xmm0", "mov eax, 60", "syscall";
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// How many there are once the pool is full and the dead are gone: what has ended is given back when there is nothing else
/// to do, and deaths are noticed a little later.
fn settled_descriptors(cpu: &Cpu) -> usize {
    let start = std::time::Instant::now();
    let (mut last, mut since) = (descriptors(), start);
    while since.elapsed() < Duration::from_millis(300) && start.elapsed() < Duration::from_secs(5) {
        cpu.idle(Some(host::clock::monotonic() + 10_000_000));
        let now = descriptors();
        if now != last {
            (last, since) = (now, std::time::Instant::now());
        }
    }
    last
}

#[test]
fn vector_state_can_be_read_and_replaced() {
    let cpu = Cpu::new(0);
    let (_space, mut thread) = guest(vectors());
    let initial = thread.fpstate().unwrap();
    assert_eq!(initial[0..2], [0x7f, 3]);
    thread.regs_mut().rax = 0x1122_3344_5566_7788;
    assert_eq!(syscall(&mut thread, &cpu), 39);
    let mut image = thread.fpstate().unwrap();
    assert_eq!(image.len(), initial.len());
    assert_eq!(u64::from_le_bytes(image[160..168].try_into().unwrap()), 0x1122_3344_5566_7788);
    let mut sibling = thread.spawn().unwrap();
    let (_, mut child) = thread.fork().unwrap();
    image[160] = 0x99;
    thread.set_fpstate(&image).unwrap();
    assert_eq!(syscall(&mut thread, &cpu), 60);
    assert_eq!(thread.regs().rbx, 0x1122_3344_5566_7799);
    for copy in [&mut sibling, &mut child] {
        assert_eq!(syscall(copy, &cpu), 60);
        assert_eq!(copy.regs().rbx, 0x1122_3344_5566_7788);
    }
    for garbage in [vec![0xff; image.len()], vec![0; 100], vec![]] {
        assert!(thread.set_fpstate(&garbage).is_err());
    }
    thread.reset_fpstate();
    thread.regs_mut().rip = CODE + 12;
    assert_eq!(syscall(&mut thread, &cpu), 60);
    assert_eq!(thread.regs().rbx, 0);
}

/// The tests below look at this whole process, so each runs in one of its own.
pub(crate) fn alone(test: &str) -> bool {
    if std::env::var_os("RUML_ALONE").is_some() {
        return false;
    }
    let exe = std::env::current_exe().unwrap();
    let output = Command::new(exe).args(["--exact", test]).env("RUML_ALONE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    true
}

#[test]
fn forks_leak_nothing() {
    if alone("life::forks_leak_nothing") {
        return;
    }
    let cpu = Cpu::new(0);
    let (space, mut thread) = guest(getppid());
    thread.regs_mut().rbx = 1 << 40;
    let mut round = || {
        let (_, mut child) = thread.fork().unwrap();
        assert_eq!(syscall(&mut child, &cpu), 110);
        drop(child);
        assert_eq!(syscall(&mut thread, &cpu), 110);
    };
    (0..20).for_each(|_| round());
    let before = settled_descriptors(&cpu);
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let maps_before = maps();
    (0..1000).for_each(|_| round());
    assert_eq!(settled_descriptors(&cpu), before);
    assert!(maps() <= maps_before + 5);
    let children = || {
        let list = std::fs::read_dir("/proc/self/task").unwrap();
        let read = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children"));
        list.flatten()
            .filter_map(|task| read(task).ok())
            .flat_map(|s| s.split(' ').map(str::len).collect::<Vec<_>>())
            .filter(|n| *n > 0)
            .count()
    };
    std::thread::sleep(Duration::from_millis(200));
    // The zygote, the pool, its heir and this one.
    assert!(children() <= 5, "{}", children());
    let fds = std::fs::read_dir(format!("/proc/{}/fd", space.host_pid())).unwrap().count();
    assert_eq!(fds, 1, "a stub has its control socket only");
}

#[test]
fn copies_need_no_help_of_the_host() {
    if alone("life::copies_need_no_help_of_the_host") {
        return;
    }
    host::machine::copy_by_window();
    let cpu = Cpu::new(0);
    let (space, mut thread) = guest(vectors());
    thread.batch(vec![anonymous(0x5000_0000, 0x10_0000, RW)]).unwrap();
    let bytes: Vec<u8> = (0..0x10_0000u32).map(|i| (i * 7 / 8) as u8).collect();
    assert_eq!(space.write(0x5000_0000, &bytes), bytes.len());
    let mut back = vec![0; bytes.len() + 100];
    assert_eq!(space.read(0x5000_0000, &mut back), bytes.len());
    assert_eq!(back[..bytes.len()], bytes);
    thread.batch(vec![MemOp::Protect { addr: 0x5000_3000, len: PAGE, prot: 1 }]).unwrap();
    assert_eq!(space.write(0x5000_2ff0, &[1; 100]), 16);
    assert_eq!(space.read(0x5000_2ff0, &mut [0; 100]), 100);
    assert_eq!(space.read(0x6000_0000, &mut [0; 1]), 0);
    assert_eq!(space.read(TASK_SIZE, &mut [0; 1]), 0);
    assert_eq!(space.write(TASK_SIZE - 8, &[0; 16]), 0);
    thread.regs_mut().rax = 5;
    assert_eq!(syscall(&mut thread, &cpu), 39);
    let (child_space, mut child) = thread.fork().unwrap();
    assert_eq!(thread.fpstate().unwrap()[160], 5);
    assert_eq!(child_space.write(0x5000_0000, &[9; 10]), 10);
    assert_eq!(space.read(0x5000_0000, &mut back[..10]), 10);
    assert_eq!(back[..10], bytes[..10]);
    assert_eq!(syscall(&mut child, &cpu), 60);
    let mut sibling = thread.spawn().unwrap();
    drop(thread);
    assert_eq!(syscall(&mut sibling, &cpu), 60);
    drop(sibling);
    cpu.idle(Some(host::clock::monotonic()));
    let end = host::clock::monotonic() + 1_000_000_000;
    while !space.is_dead() {
        assert!(host::clock::monotonic() < end, "the last guest thread's end is the process's");
    }
}

#[test]
fn idle_machines_use_no_cpu() {
    if alone("life::idle_machines_use_no_cpu") {
        return;
    }
    let cpu = Cpu::new(0);
    let (_space, mut thread) = guest(getppid());
    thread.regs_mut().rbx = 10;
    syscall(&mut thread, &cpu);
    cpu.idle(Some(host::clock::monotonic() + 20_000_000));
    let ticks = || {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", thread.address_space().host_pid())).unwrap();
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        let used = |stat: &str| {
            stat.split(' ').skip(13).take(2).map(|word| word.parse::<u64>().unwrap()).sum::<u64>()
        };
        used(&stat) + used(&own)
    };
    let before = ticks();
    cpu.idle(Some(host::clock::monotonic() + 500_000_000));
    assert!(ticks() - before <= 1);
}

/// Runs guests until it is killed; the test after it does that.
#[test]
fn victim() {
    if std::env::var_os("RUML_VICTIM").is_none() {
        return;
    }
    let cpu = Cpu::new(0);
    let (space, mut thread) = guest(spin());
    let mut sibling = thread.spawn().unwrap();
    let (child_space, mut child) = thread.fork().unwrap();
    let (grandchild_space, mut grandchild) = child.fork().unwrap();
    println!("\npids {} {} {}", space.host_pid(), child_space.host_pid(), grandchild_space.host_pid());
    let deadline = |thread: &mut StubThread| {
        let soon = host::clock::monotonic() + 1_000_000;
        thread.run(&cpu, Wait::Until(soon), &mut || Wait::Interrupt)
    };
    loop {
        deadline(&mut thread);
        deadline(&mut sibling);
        deadline(&mut child);
        deadline(&mut grandchild);
    }
}

#[test]
fn killing_the_kernel_kills_every_stub() {
    let exe = std::env::current_exe().unwrap();
    let mut kernel = Command::new(exe)
        .args(["--exact", "life::victim", "--nocapture"])
        .env("RUML_VICTIM", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(kernel.stdout.take().unwrap());
    let line = out.lines().map_while(Result::ok).find(|line| line.starts_with("pids")).unwrap();
    let pids: Vec<u32> = line.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    std::thread::sleep(Duration::from_millis(50));
    kernel.kill().unwrap();
    kernel.wait().unwrap();
    let running = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| stat.contains("(ruml-stub)") && !stat.contains(") Z"))
    };
    let end = host::clock::monotonic() + 5_000_000_000;
    while pids.iter().any(running) {
        assert!(host::clock::monotonic() < end, "stubs outlive their kernel");
        std::thread::sleep(Duration::from_millis(5));
    }
}

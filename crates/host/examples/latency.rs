//! What the machine room's primitives cost, as a small table: `latency [shared]`.
//!
//! With `shared` a second vCPU counts as busy, so that vCPU and stub share one core even where there are two.

#[path = "../tests/guests/guest.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod guest;

use guest::*;
use host::clock::monotonic;
use host::cpu::Cpu;
use host::stub::*;

fn measure(name: &str, rounds: u64, mut f: impl FnMut(u64)) {
    f(rounds / 10 + 1);
    let rounds = rounds / 10;
    let best = (0..50)
        .map(|_| {
            let start = monotonic();
            f(rounds);
            (monotonic() - start) as f64 / rounds as f64 / 1000.0
        })
        .fold(f64::MAX, f64::min);
    println!("{name:40} {best:9.3} us");
}

fn calls(name: &str, cpu: &Cpu) {
    let (_space, mut thread) = guest(getppid());
    measure(name, 20_000, |n| {
        thread.regs_mut().rip = CODE;
        thread.regs_mut().rbx = n;
        for _ in 0..n {
            assert_eq!(syscall(&mut thread, cpu), 110);
        }
    });
}

fn main() {
    init();
    let cpu = Cpu::new(0);
    let shared = std::env::args().nth(1).as_deref() == Some("shared");
    let busy = shared.then(|| {
        let (_space, mut thread) = guest(getppid());
        std::thread::spawn(move || {
            let other = Cpu::new(1);
            thread.regs_mut().rbx = 1;
            syscall(&mut thread, &other);
            std::thread::sleep(std::time::Duration::from_secs(3600));
        })
    });
    std::thread::sleep(std::time::Duration::from_millis(50));
    calls("getppid", &cpu);

    let (space, mut thread) = guest(getppid());
    measure("read 8 bytes", 10_000, |n| (0..n).for_each(|_| assert_eq!(space.read(CODE, &mut [0; 8]), 8)));
    thread.regs_mut().rbx = 1 << 40;
    measure("mmap, in the call's own handoff", 5000, |n| {
        for _ in 0..n {
            thread.defer(anonymous(0x5000_0000, PAGE, RW));
            syscall(&mut thread, &cpu);
        }
    });
    measure("batch of one mmap", 5000, |n| {
        for _ in 0..n {
            thread.batch(vec![anonymous(0x5000_0000, PAGE, RW)]).unwrap();
        }
    });
    let object = host::object::Object::create("latency").unwrap();
    object.set_len(PAGE).unwrap();
    let fd = object.fd();
    measure("batch of one mmap of an object", 5000, |n| {
        for _ in 0..n {
            let source = MapSource::Object { fd: fd.clone(), offset: 0 };
            let (shared, noreserve, populate) = (true, false, false);
            let (addr, len, prot) = (0x5000_0000, PAGE, RW);
            thread.batch(vec![MemOp::Map { addr, len, prot, shared, noreserve, populate, source }]).unwrap();
        }
    });
    measure("fork, first call of child, kill, parent", 300, |n| {
        for _ in 0..n {
            let (_, mut child) = thread.fork().unwrap();
            syscall(&mut child, &cpu);
            drop(child);
            syscall(&mut thread, &cpu);
        }
    });
    let (_other_space, mut other) = thread.fork().unwrap();
    measure("switch between two processes", 5000, |n| {
        for _ in 0..n / 2 {
            syscall(&mut other, &cpu);
            syscall(&mut thread, &cpu);
        }
    });
    measure("spawn, first call of thread, exit", 1000, |n| {
        for _ in 0..n {
            let mut thread = thread.spawn().unwrap();
            syscall(&mut thread, &cpu);
        }
    });
    measure("fresh from the pool, map, first call", 100, |n| {
        for _ in 0..n {
            let (_space, mut thread) = guest(getppid());
            syscall(&mut thread, &cpu);
        }
    });
    drop(busy);
}

//! Guest programs of a few instructions, and what every test needs to run them.

use abi::Errno;
use host::cpu::Cpu;
use host::stub::{AddressSpace, Event, MapSource, MemOp, StubThread, SyscallAbi, Wait};
use std::arch::global_asm;
use std::sync::{Arc, Once};

pub(crate) const CODE: u64 = 0x40_0000;
pub(crate) const STACK: u64 = 0x80_0000;
pub(crate) const PAGE: u64 = 0x1000;
pub(crate) const RW: u32 = 3;

/// Position-independent guest code between two symbols of the test program.
macro_rules! code {
    ($($name:ident: $($line:literal),+ $(,)?;)+) => {
        $(
            global_asm!(
                concat!(".globl guest_", stringify!($name)),
                concat!(".globl guest_", stringify!($name), "_end"),
                concat!("guest_", stringify!($name), ":"),
                $($line,)+
                concat!("guest_", stringify!($name), "_end:"),
            );
            pub(crate) fn $name() -> &'static [u8] {
                unsafe extern "C" {
                    #[link_name = concat!("guest_", stringify!($name))]
                    static START: u8;
                    #[link_name = concat!("guest_", stringify!($name), "_end")]
                    static END: u8;
                }
                // SAFETY: both symbols delimit the code above.
                unsafe {
                    let start = &raw const START;
                    std::slice::from_raw_parts(start, (&raw const END).offset_from_unsigned(start))
                }
            }
        )+
    };
}
pub(crate) use code;

code! {
    // getppid rbx times, then exit.
    getppid: "2: mov eax, 110", "syscall", "dec rbx", "jnz 2b", "mov eax, 60", "syscall";
    // Reads and writes where rdi points, then exits with what it read.
    touch: "mov rbx, [rdi]", "inc qword ptr [rdi]", "mov rdi, rbx", "mov eax, 60", "syscall";
    spin: "xor eax, eax", "2: inc rax", "jmp 2b";
}

pub(crate) fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| host::machine::init(host::machine::Config::default()).unwrap());
}

pub(crate) fn anonymous(addr: u64, len: u64, prot: u32) -> MemOp {
    MemOp::Map {
        addr,
        len,
        prot,
        shared: false,
        noreserve: false,
        populate: false,
        source: MapSource::Anonymous,
    }
}

/// A fresh guest with `code` at [`CODE`] and a stack below [`STACK`].
pub(crate) fn guest(code: &[u8]) -> (Arc<AddressSpace>, StubThread) {
    init();
    let (space, mut thread) = StubThread::fresh().unwrap();
    thread.batch(vec![anonymous(CODE, PAGE, 7), anonymous(STACK - 4 * PAGE, 4 * PAGE, RW)]).unwrap();
    assert_eq!(space.write(CODE, code), code.len());
    thread.regs_mut().rip = CODE;
    thread.regs_mut().rsp = STACK;
    (space, thread)
}

/// Runs until an event, without a tick.
pub(crate) fn run(thread: &mut StubThread, cpu: &Cpu) -> Event {
    thread.run(cpu, Wait::Forever, &mut || Wait::Forever)
}

/// Expects a 64-bit system call and returns its number.
#[track_caller]
pub(crate) fn syscall(thread: &mut StubThread, cpu: &Cpu) -> u64 {
    assert_eq!(run(thread, cpu), Event::Syscall { abi: SyscallAbi::X86_64 });
    thread.regs().orig_rax
}

pub(crate) fn failed(index: usize, errno: Errno) -> Event {
    Event::BatchFailed { index, errno }
}

//! What becomes of a syscall that a signal interrupted.
//!
//! | the call answers | no handler runs | a handler runs |
//! |---|---|---|
//! | ERESTARTNOINTR | made again | made again |
//! | ERESTARTSYS | made again | made again with SA_RESTART, else EINTR |
//! | ERESTARTNOHAND | made again | EINTR |
//! | ERESTART_RESTARTBLOCK | restart_syscall(2) goes on with it | EINTR |

use abi::errno::{EINTR, ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS};
use abi::signal::SA_RESTART;
use abi::{Errno, Result, nr};
use host::stub::Regs;

use crate::task::{Task, current};

/// Goes on with an interrupted call.
pub type RestartBlock = Box<dyn FnOnce() -> Result<u64> + Send>;

/// Length of the syscall instruction.
const SYSCALL_LEN: u64 = 2;

/// Lets restart_syscall(2) go on with `block` after a signal without handler. The answer is the errno to return:
/// ERESTART_RESTARTBLOCK.
pub fn restart_with(block: impl FnOnce() -> Result<u64> + Send + 'static) -> Errno {
    current().signal.lock().state.restart_block = Some(Box::new(block));
    ERESTART_RESTARTBLOCK
}

/// restart_syscall(2)
pub fn restart_syscall() -> Result<u64> {
    let block = current().signal.lock().state.restart_block.take();
    block.map_or(Err(EINTR), |run| run())
}

/// Ends a syscall: puts its result into `rax`, or leaves the decision on its restart to [`super::before_user`].
pub fn syscall_exit(task: &Task, result: Result<u64>) {
    match result {
        Err(errno) if errno.is_restart() => {
            // What a tracer sees meanwhile.
            let _ = task.with_regs(|r| r.rax = errno.to_rax());
            task.signal.lock().state.restart = Some(errno);
            task.notify_work();
        }
        result => {
            let rax = result.unwrap_or_else(Errno::to_rax);
            let _ = task.with_regs(|r| r.rax = rax);
        }
    }
}

/// A tracer may have changed the registers: whether a call is to be settled follows from them.
pub fn from_registers(task: &Task) {
    let Ok((rax, nr)) = task.with_regs(|r| (r.rax, r.orig_rax)) else { return };
    let codes = [ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK];
    let found = codes.into_iter().find(|e| e.to_rax() == rax && nr as i64 >= 0);
    task.signal.lock().state.restart = found;
    if found.is_some() {
        task.mark_work();
    }
}

/// Settles the interrupted call, if there is one, before a handler with these flags runs.
pub(super) fn before_handler(task: &Task, sa_flags: u64) {
    settle(task, |errno| match errno {
        ERESTARTNOINTR => Outcome::Again,
        ERESTARTSYS if sa_flags & SA_RESTART != 0 => Outcome::Again,
        _ => Outcome::Interrupted,
    });
}

/// Settles the interrupted call, if there is one, when no handler runs.
pub(super) fn without_handler(task: &Task) {
    settle(task, |errno| match errno {
        ERESTART_RESTARTBLOCK => Outcome::Block,
        _ => Outcome::Again,
    });
}

enum Outcome {
    Again,
    Block,
    Interrupted,
}

fn settle(task: &Task, decide: impl FnOnce(Errno) -> Outcome) {
    let Some(errno) = task.signal.lock().state.restart.take() else { return };
    let outcome = decide(errno);
    let _ = task.with_regs(|regs| apply(regs, outcome));
}

fn apply(regs: &mut Regs, outcome: Outcome) {
    regs.rax = match outcome {
        Outcome::Interrupted => {
            regs.rax = EINTR.to_rax();
            return;
        }
        Outcome::Again => regs.orig_rax,
        Outcome::Block => nr::RESTART_SYSCALL,
    };
    regs.rip = regs.rip.wrapping_sub(SYSCALL_LEN);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewinds_to_the_instruction() {
        let before = Regs { rip: 0x1002, orig_rax: 35, rax: 35, ..Regs::default() };
        let mut regs = before;
        apply(&mut regs, Outcome::Again);
        assert_eq!((regs.rip, regs.rax), (0x1000, 35));
        let mut regs = before;
        apply(&mut regs, Outcome::Block);
        assert_eq!((regs.rip, regs.rax), (0x1000, 219));
        let mut regs = before;
        apply(&mut regs, Outcome::Interrupted);
        assert_eq!((regs.rip, regs.rax as i64), (0x1002, -4));
    }
}

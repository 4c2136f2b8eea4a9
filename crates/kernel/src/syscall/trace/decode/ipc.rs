//! Futexes and System V IPC.

use abi::futex::{
    FUTEX_CLOCK_REALTIME, FUTEX_CMD_MASK, FUTEX_CMP_REQUEUE, FUTEX_CMP_REQUEUE_PI, FUTEX_LOCK_PI,
    FUTEX_LOCK_PI2, FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE, FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI,
    FUTEX_WAKE_BITSET, FUTEX_WAKE_OP,
};
use abi::ipc::Sembuf;

use super::super::line::Line;
use super::{address, octal};

values! {
    futex_cmd(u32) in futex {
        FUTEX_WAIT FUTEX_WAKE FUTEX_FD FUTEX_REQUEUE FUTEX_CMP_REQUEUE FUTEX_WAKE_OP FUTEX_LOCK_PI FUTEX_UNLOCK_PI
        FUTEX_TRYLOCK_PI FUTEX_WAIT_BITSET FUTEX_WAKE_BITSET FUTEX_WAIT_REQUEUE_PI FUTEX_CMP_REQUEUE_PI FUTEX_LOCK_PI2
    }
    shm_cmd(u32) in ipc { IPC_RMID IPC_SET IPC_STAT IPC_INFO SHM_LOCK SHM_UNLOCK SHM_STAT SHM_INFO SHM_STAT_ANY }
    sem_cmd(u32) in ipc {
        IPC_RMID IPC_SET IPC_STAT IPC_INFO GETPID GETVAL GETALL GETNCNT GETZCNT SETVAL SETALL SEM_STAT SEM_INFO
        SEM_STAT_ANY
    }
    msg_cmd(u32) in ipc { IPC_RMID IPC_SET IPC_STAT IPC_INFO MSG_STAT MSG_INFO MSG_STAT_ANY }
}

flags! {
    ipc_bits(u32) in ipc { IPC_CREAT IPC_EXCL IPC_NOWAIT }
    /// msgrcv(2), msgsnd(2)
    msgop_flags(u32) in ipc { IPC_NOWAIT MSG_NOERROR MSG_EXCEPT MSG_COPY }
    /// shmat(2)
    shmat_flags(u32) in ipc { SHM_RDONLY SHM_RND SHM_REMAP SHM_EXEC }
    semop_flags(u16) in ipc { IPC_NOWAIT SEM_UNDO }
}

/// The operation of futex(2).
pub fn futex_op(raw: u64, line: &mut Line<'_>) {
    let op = raw as u32;
    futex_cmd(u64::from(op & FUTEX_CMD_MASK), line);
    line.put(if op & FUTEX_PRIVATE_FLAG != 0 { "_PRIVATE" } else { "" });
    line.put(if op & FUTEX_CLOCK_REALTIME != 0 { "|FUTEX_CLOCK_REALTIME" } else { "" });
}

fn command(line: &Line<'_>) -> u32 {
    line.arg(1) as u32 & FUTEX_CMD_MASK
}

/// The fourth argument of futex(2): a time, or a second count.
pub fn futex_timeout(raw: u64, line: &mut Line<'_>) {
    match command(line) {
        FUTEX_WAIT | FUTEX_WAIT_BITSET | FUTEX_LOCK_PI | FUTEX_LOCK_PI2 | FUTEX_WAIT_REQUEUE_PI => {
            super::timespec(raw, line);
        }
        FUTEX_REQUEUE | FUTEX_CMP_REQUEUE | FUTEX_CMP_REQUEUE_PI | FUTEX_WAKE_OP => {
            write!(line, "{}", raw as i32);
        }
        FUTEX_WAKE_BITSET => address(raw, line),
        _ => line.omit(),
    }
}

/// The second futex of futex(2).
pub fn futex_second(raw: u64, line: &mut Line<'_>) {
    match command(line) {
        FUTEX_REQUEUE
        | FUTEX_CMP_REQUEUE
        | FUTEX_CMP_REQUEUE_PI
        | FUTEX_WAKE_OP
        | FUTEX_WAIT_REQUEUE_PI
        | FUTEX_WAIT_BITSET
        | FUTEX_WAKE_BITSET => address(raw, line),
        _ => line.omit(),
    }
}

/// The last argument of futex(2).
pub fn futex_value3(raw: u64, line: &mut Line<'_>) {
    match command(line) {
        FUTEX_WAIT_BITSET | FUTEX_WAKE_BITSET if raw as u32 == u32::MAX => line.put("FUTEX_BITSET_MATCH_ANY"),
        FUTEX_WAIT_BITSET | FUTEX_WAKE_BITSET | FUTEX_WAKE_OP | FUTEX_CMP_REQUEUE | FUTEX_CMP_REQUEUE_PI => {
            write!(line, "{:#x}", raw as u32);
        }
        _ => line.omit(),
    }
}

/// A key of System V IPC.
pub fn ipc_key(raw: u64, line: &mut Line<'_>) {
    if raw as u32 == 0 { write!(line, "IPC_PRIVATE") } else { write!(line, "{:#x}", raw as u32) }
}

/// The flags and mode of shmget(2), semget(2), msgget(2).
pub fn ipc_flags(raw: u64, line: &mut Line<'_>) {
    let bits = raw & !0o777;
    if bits as u32 != 0 {
        ipc_bits(bits, line);
        line.put("|");
    }
    octal(raw & 0o777, line);
}

/// The operations of semop(2); their count is the next argument.
pub fn sembufs(raw: u64, line: &mut Line<'_>) {
    let count = line.next_arg();
    line.array(raw, count, |op: &Sembuf, line| {
        write!(line, "{{{}, {}, ", op.sem_num, op.sem_op);
        semop_flags(u64::from(op.sem_flg), line);
        line.put("}");
    });
}

//! futex(2), futex_waitv(2), get_robust_list(2).

uapi! {
    /// `struct robust_list_head`.
    pub struct RobustListHead {
        /// The first `struct robust_list`, or this head itself for none. Bit 0 marks a PI futex.
        pub list: u64,
        pub futex_offset: i64,
        pub list_op_pending: u64,
    }

    /// `struct futex_waitv`.
    pub struct FutexWaitv {
        pub val: u64,
        pub uaddr: u64,
        pub flags: u32,
        pub _reserved: u32,
    }
}

consts! { u32;
    FUTEX_WAIT = 0,
    FUTEX_WAKE = 1,
    FUTEX_FD = 2,
    FUTEX_REQUEUE = 3,
    FUTEX_CMP_REQUEUE = 4,
    FUTEX_WAKE_OP = 5,
    FUTEX_LOCK_PI = 6,
    FUTEX_UNLOCK_PI = 7,
    FUTEX_TRYLOCK_PI = 8,
    FUTEX_WAIT_BITSET = 9,
    FUTEX_WAKE_BITSET = 10,
    FUTEX_WAIT_REQUEUE_PI = 11,
    FUTEX_CMP_REQUEUE_PI = 12,
    FUTEX_LOCK_PI2 = 13,
    FUTEX_PRIVATE_FLAG = 128,
    FUTEX_CLOCK_REALTIME = 256,
    FUTEX_CMD_MASK = !(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME),
    FUTEX_BITSET_MATCH_ANY = u32::MAX,
}

// The futex word of robust and PI futexes
consts! { u32;
    FUTEX_WAITERS = 0x8000_0000,
    FUTEX_OWNER_DIED = 0x4000_0000,
    FUTEX_TID_MASK = 0x3fff_ffff,
}
/// Entries of a robust list that the kernel walks at most, against a circle.
pub const ROBUST_LIST_LIMIT: usize = 2048;

// FUTEX_WAKE_OP
consts! { u32;
    FUTEX_OP_SET = 0,
    FUTEX_OP_ADD = 1,
    FUTEX_OP_OR = 2,
    FUTEX_OP_ANDN = 3,
    FUTEX_OP_XOR = 4,
    FUTEX_OP_OPARG_SHIFT = 8,
    FUTEX_OP_CMP_EQ = 0,
    FUTEX_OP_CMP_NE = 1,
    FUTEX_OP_CMP_LT = 2,
    FUTEX_OP_CMP_LE = 3,
    FUTEX_OP_CMP_GT = 4,
    FUTEX_OP_CMP_GE = 5,
}

// futex_waitv(2) and the futex2 calls
consts! { u32;
    FUTEX2_SIZE_U8 = 0x00,
    FUTEX2_SIZE_U16 = 0x01,
    FUTEX2_SIZE_U32 = 0x02,
    FUTEX2_SIZE_U64 = 0x03,
    FUTEX2_SIZE_MASK = 0x03,
    FUTEX2_NUMA = 0x04,
    FUTEX2_MPOL = 0x08,
    FUTEX2_PRIVATE = 128,
}
pub const FUTEX_WAITV_MAX: usize = 128;

//! [`PollEvents`]: what a file is ready for, poll(2).

use bitflags::bitflags;

bitflags! {
    /// The `POLL*` bits, which `EPOLL*` share.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PollEvents: u32 {
        /// There is something to read.
        const IN = 0x001;
        /// Urgent data.
        const PRI = 0x002;
        /// Writing will not block.
        const OUT = 0x004;
        /// An error is pending.
        const ERR = 0x008;
        /// The other side has gone.
        const HUP = 0x010;
        /// Not an open descriptor.
        const NVAL = 0x020;
        /// As IN, for normal data.
        const RDNORM = 0x040;
        /// Priority band data.
        const RDBAND = 0x080;
        /// As OUT.
        const WRNORM = 0x100;
        /// Priority band data may be written.
        const WRBAND = 0x200;
        /// A message.
        const MSG = 0x400;
        /// The peer has shut down its writing half.
        const RDHUP = 0x2000;
    }
}

impl PollEvents {
    /// IN and RDNORM.
    pub const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
    /// OUT and WRNORM.
    pub const WRITABLE: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM);
    /// Reported whether asked for or not.
    pub const ALWAYS: PollEvents = PollEvents::ERR.union(PollEvents::HUP);
}

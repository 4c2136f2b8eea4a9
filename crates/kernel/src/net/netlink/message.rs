//! Netlink messages: a header, a fixed part, attributes; all of them aligned to four bytes.

use abi::Errno;
use abi::netlink::{NLMSG_DONE, NLMSG_ERROR, Nlmsgerr, Nlmsghdr, Rtattr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const HEADER: usize = size_of::<Nlmsghdr>();
const ATTR: usize = size_of::<Rtattr>();

fn align(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// A request: its header and what follows it.
pub struct Request<'a> {
    /// Header.
    pub header: Nlmsghdr,
    /// All of its bytes, for the echo of an error.
    pub whole: &'a [u8],
    /// The bytes after the header.
    pub body: &'a [u8],
}

impl Request<'_> {
    /// Whether a flag (NLM_F_*) is set.
    pub fn has(&self, flag: u16) -> bool {
        self.header.nlmsg_flags & flag != 0
    }

    /// The fixed part, zero where the request is shorter, and the attributes after it.
    pub fn fixed<T: FromBytes + IntoBytes>(&self) -> (T, &[u8]) {
        let mut value = T::new_zeroed();
        let size = size_of::<T>();
        let n = size.min(self.body.len());
        value.as_mut_bytes()[..n].copy_from_slice(&self.body[..n]);
        (value, self.body.get(align(size)..).unwrap_or_default())
    }
}

/// The messages in a datagram; it ends at the first that makes no sense.
pub fn requests(mut data: &[u8]) -> impl Iterator<Item = Request<'_>> {
    std::iter::from_fn(move || {
        let (header, _) = Nlmsghdr::read_from_prefix(data).ok()?;
        let len = usize::try_from(header.nlmsg_len).ok().filter(|&n| n >= HEADER && n <= data.len())?;
        let whole = &data[..len];
        data = data.get(align(len)..).unwrap_or_default();
        Some(Request { header, whole, body: &whole[HEADER..] })
    })
}

/// Types and contents of attributes.
pub fn attributes(mut data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (attr, _) = Rtattr::read_from_prefix(data).ok()?;
        let len = usize::from(attr.rta_len);
        let value = data.get(ATTR..len)?;
        data = data.get(align(len)..).unwrap_or_default();
        // The two high bits say how it is stored.
        Some((attr.rta_type & 0x3fff, value))
    })
}

/// A number of four bytes.
pub fn u32_of(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

/// A name up to its zero.
pub fn name_of(value: &[u8]) -> &[u8] {
    value.split(|&b| b == 0).next().unwrap_or_default()
}

/// Messages in the making: a datagram.
#[derive(Default)]
pub struct Builder {
    bytes: Vec<u8>,
    start: usize,
}

impl Builder {
    /// Begins a message with its fixed part.
    pub fn begin<T: IntoBytes + Immutable>(&mut self, header: Nlmsghdr, fixed: &T) -> &mut Builder {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(header.as_bytes());
        self.raw(fixed.as_bytes());
        self
    }

    fn raw(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        self.bytes.resize(align(self.bytes.len()), 0);
        let len = (self.bytes.len() - self.start) as u32;
        if let Some(field) = self.bytes.get_mut(self.start..self.start + 4) {
            field.copy_from_slice(&len.to_ne_bytes());
        }
    }

    /// An attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Builder {
        let attr = Rtattr { rta_len: (ATTR + value.len()) as u16, rta_type: kind };
        self.bytes.extend_from_slice(attr.as_bytes());
        self.raw(value);
        self
    }

    /// An attribute of four bytes.
    pub fn attr_u32(&mut self, kind: u16, value: u32) -> &mut Builder {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// An attribute that is a name with its zero.
    pub fn attr_name(&mut self, kind: u16, name: &str) -> &mut Builder {
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Whether nothing was built.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The datagram.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// NLMSG_ERROR: the answer to a request that asked for one (`Ok`), or failed. The request's own bytes are echoed after an
/// error unless `cap` says to leave them out (NETLINK_CAP_ACK).
pub fn ack(request: &Request<'_>, outcome: Result<(), Errno>, portid: u32, cap: bool) -> Vec<u8> {
    let error = outcome.err().map_or(0, |e| -e.raw());
    let echo = if error != 0 && !cap { &request.whole[HEADER..] } else { &[][..] };
    let len = HEADER + size_of::<Nlmsgerr>() + echo.len();
    let flags = if error != 0 && !cap { 0 } else { abi::netlink::NLM_F_CAPPED };
    let header = Nlmsghdr {
        nlmsg_len: len as u32,
        nlmsg_type: NLMSG_ERROR,
        nlmsg_flags: flags,
        nlmsg_seq: request.header.nlmsg_seq,
        nlmsg_pid: portid,
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(Nlmsgerr { error, msg: request.header }.as_bytes());
    bytes.extend_from_slice(echo);
    bytes.resize(align(bytes.len()), 0);
    bytes
}

/// NLMSG_DONE: the end of a dump.
pub fn done(request: &Request<'_>, portid: u32) -> Vec<u8> {
    let mut builder = Builder::default();
    let header = Nlmsghdr {
        nlmsg_len: 0,
        nlmsg_type: NLMSG_DONE,
        nlmsg_flags: abi::netlink::NLM_F_MULTI,
        nlmsg_seq: request.header.nlmsg_seq,
        nlmsg_pid: portid,
    };
    builder.begin(header, &0i32);
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_again() {
        let mut builder = Builder::default();
        let header = Nlmsghdr { nlmsg_type: 18, nlmsg_seq: 7, ..Nlmsghdr::default() };
        builder.begin(header, &5u32).attr_name(3, "lo").attr_u32(4, 65536);
        builder.begin(header, &6u32);
        let bytes = builder.finish();
        let all: Vec<_> = requests(&bytes).collect();
        assert_eq!(all.len(), 2);
        let (fixed, rest): (u32, _) = all[0].fixed();
        let attrs: Vec<_> = attributes(rest).collect();
        assert_eq!(fixed, 5);
        assert_eq!(attrs, [(3, &b"lo\0"[..]), (4, &65536u32.to_ne_bytes()[..])]);
        assert_eq!(name_of(attrs[0].1), b"lo");
        assert_eq!(all[1].fixed::<u32>().0, 6);
    }

    #[test]
    fn lengths_that_lie_end_the_reading() {
        let header = Nlmsghdr { nlmsg_len: 100, ..Nlmsghdr::default() };
        assert_eq!(requests(header.as_bytes()).count(), 0);
        assert_eq!(requests(Nlmsghdr { nlmsg_len: 3, ..header }.as_bytes()).count(), 0);
        assert_eq!(attributes(&[9, 0, 1, 0, 1]).count(), 0);
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
    }
}

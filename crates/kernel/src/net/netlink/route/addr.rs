//! Addresses: RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR.

use abi::Result;
use abi::errno::{EADDRNOTAVAIL, EAFNOSUPPORT, EEXIST, EINVAL, ENODEV, EOPNOTSUPP};
use abi::net::{AF_INET, AF_INET6, AF_UNSPEC};
use abi::netlink::*;
use zerocopy::IntoBytes;

use super::super::message::{Builder, Request, attributes};
use crate::net::device::{self, Addr, LO_INDEX, LO_NAME, loopback};

/// `struct ifa_cacheinfo` of an address that stays: preferred and valid for ever.
const FOREVER: [u32; 4] = [u32::MAX, u32::MAX, 0, 0];

/// Describes one address.
pub(super) fn put(builder: &mut Builder, header: Nlmsghdr, addr: &Addr) {
    let fixed = Ifaddrmsg {
        ifa_family: AF_INET as u8,
        ifa_prefixlen: addr.prefix,
        ifa_flags: IFA_F_PERMANENT,
        ifa_scope: addr.scope,
        ifa_index: LO_INDEX as u32,
    };
    builder
        .begin(header, &fixed)
        .attr(IFA_ADDRESS, &addr.local)
        .attr(IFA_LOCAL, &addr.local)
        .attr_name(IFA_LABEL, LO_NAME)
        .attr_u32(IFA_FLAGS, u32::from(IFA_F_PERMANENT))
        .attr(IFA_CACHEINFO, FOREVER.as_bytes());
}

/// All addresses of the family that is asked for.
pub(super) fn dump(builder: &mut Builder, header: Nlmsghdr, request: &Request<'_>) {
    let (asked, _) = request.fixed::<Ifaddrmsg>();
    let family = u16::from(asked.ifa_family);
    // With strict checks a dump may name an interface.
    let other = asked.ifa_index != 0 && asked.ifa_index != LO_INDEX as u32;
    if (family != AF_UNSPEC && family != AF_INET) || other {
        return;
    }
    for addr in loopback().addrs {
        put(builder, header, &addr);
    }
}

struct Asked {
    local: Option<[u8; 4]>,
    prefix: u8,
    scope: u8,
}

fn parse(request: &Request<'_>) -> Result<Asked> {
    let (fixed, rest) = request.fixed::<Ifaddrmsg>();
    match u16::from(fixed.ifa_family) {
        AF_INET => {}
        AF_INET6 => return Err(EOPNOTSUPP),
        _ => return Err(EAFNOSUPPORT),
    }
    if fixed.ifa_prefixlen > 32 {
        return Err(EINVAL);
    }
    if fixed.ifa_index != LO_INDEX as u32 {
        return Err(ENODEV);
    }
    let four = |wanted: u16| {
        let found = attributes(rest).find(|(kind, _)| *kind == wanted);
        found.map(|(_, value)| value.first_chunk().copied().ok_or(EINVAL)).transpose()
    };
    let local = four(IFA_LOCAL)?.or(four(IFA_ADDRESS)?);
    Ok(Asked { local, prefix: fixed.ifa_prefixlen, scope: fixed.ifa_scope })
}

/// RTM_NEWADDR. EEXIST unless NLM_F_REPLACE says that it may be there.
pub(super) fn add(request: &Request<'_>) -> Result<()> {
    let asked = parse(request)?;
    let local = asked.local.ok_or(EINVAL)?;
    match device::add_addr(Addr { local, prefix: asked.prefix, scope: asked.scope }) {
        Err(EEXIST) if request.has(NLM_F_REPLACE) && !request.has(NLM_F_EXCL) => Ok(()),
        outcome => outcome,
    }
}

/// RTM_DELADDR. EADDRNOTAVAIL.
pub(super) fn remove(request: &Request<'_>) -> Result<()> {
    let asked = parse(request)?;
    let local = asked.local.ok_or(EADDRNOTAVAIL)?;
    device::remove_addr(|a| a.local == local && a.prefix == asked.prefix)
}

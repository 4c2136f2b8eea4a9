//! Routes: RTM_GETROUTE. They follow from the addresses of the device; there are no others.

use abi::Result;
use abi::errno::{EINVAL, ENETUNREACH, EOPNOTSUPP};
use abi::net::{AF_INET, AF_UNSPEC};
use abi::netlink::*;

use super::super::message::{Builder, Request, attributes, u32_of};
use crate::net::device::{Addr, LO_INDEX, loopback};

struct Route {
    kind: u8,
    dst: [u8; 4],
    len: u8,
    scope: u8,
    src: [u8; 4],
}

/// The routes of table `local` that an address on the device makes.
fn of(addr: Addr) -> Vec<Route> {
    let local = |dst, len| Route { kind: RTN_LOCAL, dst, len, scope: RT_SCOPE_HOST, src: addr.local };
    let mut routes = vec![local(addr.local, 32)];
    if addr.prefix < 32 {
        routes.insert(0, local(addr.network(), addr.prefix));
    }
    if addr.prefix < 31 {
        let dst = addr.broadcast();
        routes.push(Route { kind: RTN_BROADCAST, dst, len: 32, scope: RT_SCOPE_LINK, src: addr.local });
    }
    routes
}

fn put(builder: &mut Builder, header: Nlmsghdr, route: &Route, protocol: u8, flags: u32) {
    let fixed = Rtmsg {
        rtm_family: AF_INET as u8,
        rtm_dst_len: route.len,
        rtm_src_len: 0,
        rtm_tos: 0,
        rtm_table: RT_TABLE_LOCAL,
        rtm_protocol: protocol,
        rtm_scope: route.scope,
        rtm_type: route.kind,
        rtm_flags: flags,
    };
    builder
        .begin(header, &fixed)
        .attr_u32(RTA_TABLE, u32::from(RT_TABLE_LOCAL))
        .attr(RTA_DST, &route.dst)
        .attr(RTA_PREFSRC, &route.src)
        .attr_u32(RTA_OIF, LO_INDEX as u32);
}

/// All routes of the family and table that are asked for.
pub(super) fn dump(builder: &mut Builder, header: Nlmsghdr, request: &Request<'_>) {
    let (asked, rest) = request.fixed::<Rtmsg>();
    let family = u16::from(asked.rtm_family);
    let table = attributes(rest).find(|(kind, _)| *kind == RTA_TABLE).and_then(|(_, value)| u32_of(value));
    let table = table.unwrap_or(u32::from(asked.rtm_table));
    let other = table != 0 && table != u32::from(RT_TABLE_LOCAL);
    let lo = loopback();
    if (family != AF_UNSPEC && family != AF_INET) || other || !lo.is_up() {
        return;
    }
    for route in lo.addrs.into_iter().flat_map(of) {
        put(builder, header, &route, RTPROT_KERNEL, 0);
    }
}

/// The route to one address. ENETUNREACH.
pub(super) fn get(builder: &mut Builder, header: Nlmsghdr, request: &Request<'_>) -> Result<()> {
    /// The answer was made for this question: RTM_F_CLONED.
    const CLONED: u32 = 0x200;
    let (asked, rest) = request.fixed::<Rtmsg>();
    if u16::from(asked.rtm_family) != AF_INET {
        return Err(EOPNOTSUPP);
    }
    let dst = attributes(rest).find(|(kind, _)| *kind == RTA_DST).ok_or(EINVAL)?;
    let dst: [u8; 4] = dst.1.first_chunk().copied().ok_or(EINVAL)?;
    let lo = loopback();
    let within = |a: &&Addr| u32::from_be_bytes(dst) & a.mask() == u32::from_be_bytes(a.network());
    let addr = lo.addrs.iter().find(within).filter(|_| lo.is_up()).ok_or(ENETUNREACH)?;
    // A loopback address answers for itself.
    let src = if dst[0] == 127 { dst } else { addr.local };
    let route = Route { kind: RTN_LOCAL, dst, len: 32, scope: RT_SCOPE_UNIVERSE, src };
    put(builder, header, &route, RTPROT_UNSPEC, CLONED);
    Ok(())
}

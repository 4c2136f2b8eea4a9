//! Links: RTM_NEWLINK, RTM_GETLINK, RTM_SETLINK.

use abi::Result;
use abi::errno::{EINVAL, ENODEV, EOPNOTSUPP};
use abi::netlink::*;

use super::super::message::{Builder, Request, attributes, name_of, u32_of};
use crate::net::device::{self, LO_INDEX, LO_NAME, Loopback};

/// Counters of `struct rtnl_link_stats64` up to Linux 5.
const STATS: usize = 24;

/// Describes the device.
pub(super) fn put(builder: &mut Builder, header: Nlmsghdr, lo: &Loopback) {
    let info = Ifinfomsg {
        ifi_family: 0,
        _pad: 0,
        ifi_type: ARPHRD_LOOPBACK,
        ifi_index: LO_INDEX,
        ifi_flags: lo.all_flags(),
        ifi_change: 0,
    };
    let [packets, bytes] = device::traffic();
    let mut stats = [0u64; STATS];
    [stats[0], stats[1], stats[2], stats[3]] = [packets, packets, bytes, bytes];
    let wide: Vec<u8> = stats.iter().flat_map(|n| n.to_ne_bytes()).collect();
    let narrow: Vec<u8> = stats.iter().flat_map(|&n| (n as u32).to_ne_bytes()).collect();
    let state = if lo.is_up() { IF_OPER_UNKNOWN } else { IF_OPER_DOWN };
    builder
        .begin(header, &info)
        .attr_name(IFLA_IFNAME, LO_NAME)
        .attr_u32(IFLA_TXQLEN, lo.tx_queue_len)
        .attr(IFLA_OPERSTATE, &[state])
        .attr(IFLA_LINKMODE, &[0])
        .attr_u32(IFLA_MTU, lo.mtu)
        .attr_u32(IFLA_GROUP, 0)
        .attr(IFLA_CARRIER, &[u8::from(lo.is_up())])
        .attr_name(IFLA_QDISC, if lo.is_up() { "noqueue" } else { "noop" })
        .attr(IFLA_ADDRESS, &[0; 6])
        .attr(IFLA_BROADCAST, &[0; 6])
        .attr(IFLA_STATS64, &wide)
        .attr(IFLA_STATS, &narrow);
}

/// The device that a request names: the loopback device. ENODEV; EINVAL if it names none.
pub(super) fn find(request: &Request<'_>) -> Result<()> {
    let (info, rest) = request.fixed::<Ifinfomsg>();
    let by_name = |&(kind, _): &(u16, &[u8])| kind == IFLA_IFNAME || kind == IFLA_ALT_IFNAME;
    let name = attributes(rest).find(by_name).map(|(_, value)| name_of(value));
    let matches = match (info.ifi_index, name) {
        (1.., _) => info.ifi_index == LO_INDEX,
        (_, Some(name)) => name == LO_NAME.as_bytes(),
        _ => return Err(EINVAL),
    };
    if matches { Ok(()) } else { Err(ENODEV) }
}

/// RTM_NEWLINK and RTM_SETLINK of the device that is there. EOPNOTSUPP for a new one.
pub(super) fn change(request: &Request<'_>) -> Result<()> {
    let (info, rest) = request.fixed::<Ifinfomsg>();
    let is_new = request.header.nlmsg_type == RTM_NEWLINK;
    find(request).map_err(|e| match e {
        ENODEV | EINVAL if is_new && request.has(NLM_F_CREATE) => EOPNOTSUPP,
        EINVAL if is_new => ENODEV,
        e => e,
    })?;
    for (kind, value) in attributes(rest) {
        match kind {
            IFLA_MTU => device::set_mtu(u32_of(value).ok_or(EINVAL)?)?,
            IFLA_TXQLEN => device::set_tx_queue_len(u32_of(value).ok_or(EINVAL)?)?,
            IFLA_IFNAME if name_of(value) != LO_NAME.as_bytes() => return Err(EOPNOTSUPP),
            // Filters of what is told, and names again.
            IFLA_IFNAME | IFLA_ALT_IFNAME | IFLA_EXT_MASK => {}
            _ => return Err(EOPNOTSUPP),
        }
    }
    // Without a mask the flags are meant as a whole, if there are any.
    let mask = if info.ifi_change != 0 {
        info.ifi_change
    } else if info.ifi_flags != 0 {
        u32::MAX
    } else {
        0
    };
    if mask == 0 { Ok(()) } else { device::set_flags(info.ifi_flags, mask) }
}

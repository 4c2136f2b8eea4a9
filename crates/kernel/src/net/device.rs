//! Network interfaces, netdevice(7): here the loopback device alone, with its state and addresses.
//!
//! NETLINK_ROUTE (`netlink/route/`) and ioctl(2) on any socket are two ways to the same [`Loopback`].
//!
//! Lock: LEAF, over the state.

use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::cred::CAP_NET_ADMIN;
use abi::errno::*;
use abi::inet::SockaddrIn;
use abi::ioctl::*;
use abi::net::{AF_INET, AF_UNSPEC};
use abi::netlink::*;
use zerocopy::{FromBytes, IntoBytes};

use super::netlink::route;
use crate::fs::sysfs::{self, attribute, dir, variable};
use crate::sync::{SpinLock, rank};
use crate::task::capable;
use crate::uaccess::{UserPtr, copy_to_user};

/// Number of the loopback device.
pub const LO_INDEX: i32 = 1;
/// Its name.
pub const LO_NAME: &str = "lo";
/// The mask of 127.0.0.1/8.
const LO_PREFIX: u8 = 8;
/// Most addresses.
const ADDRS_MAX: usize = 1024;

/// An IPv4 address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addr {
    /// IFA_LOCAL
    pub local: [u8; 4],
    /// Bits of the network.
    pub prefix: u8,
    /// RT_SCOPE_*
    pub scope: u8,
}

impl Addr {
    /// The network mask.
    pub fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0)
    }

    /// The network.
    pub fn network(self) -> [u8; 4] {
        (u32::from_be_bytes(self.local) & self.mask()).to_be_bytes()
    }

    /// Its broadcast address.
    pub fn broadcast(self) -> [u8; 4] {
        (u32::from_be_bytes(self.local) | !self.mask()).to_be_bytes()
    }
}

/// State of the loopback device.
#[derive(Clone, Debug)]
pub struct Loopback {
    /// IFF_* that can be set: UP, and those that mean nothing to it.
    pub flags: u32,
    /// Bytes.
    pub mtu: u32,
    /// Packets.
    pub tx_queue_len: u32,
    /// IPv4 addresses.
    pub addrs: Vec<Addr>,
}

static LO: SpinLock<Loopback> =
    SpinLock::new(rank::LEAF, Loopback { flags: 0, mtu: 65536, tx_queue_len: 1000, addrs: Vec::new() });

/// Packets and bytes that went through it, in this order.
static TRAFFIC: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Counts a packet that went through the loopback device.
pub fn count(bytes: usize) {
    TRAFFIC[0].fetch_add(1, Ordering::Relaxed);
    TRAFFIC[1].fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Packets and bytes so far.
pub fn traffic() -> [u64; 2] {
    [TRAFFIC[0].load(Ordering::Relaxed), TRAFFIC[1].load(Ordering::Relaxed)]
}

/// The state at this moment.
pub fn loopback() -> Loopback {
    LO.lock().clone()
}

impl Loopback {
    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    /// All of IFF_*, as user space sees them.
    pub fn all_flags(&self) -> u32 {
        let running = if self.is_up() { IFF_RUNNING | IFF_LOWER_UP } else { 0 };
        self.flags | IFF_LOOPBACK | running
    }
}

/// Changes those flags that `mask` has. Going up it gets 127.0.0.1/8, as a rule of IPv4. EPERM.
pub fn set_flags(flags: u32, mask: u32) -> Result<()> {
    privileged()?;
    let settable = IFF_UP | IFF_DEBUG | IFF_PROMISC | IFF_ALLMULTI | IFF_NOARP | IFF_MULTICAST;
    let mask = mask & settable;
    let (changed, added) = {
        let mut lo = LO.lock();
        let old = lo.flags;
        lo.flags = old & !mask | flags & mask;
        let rises = old & IFF_UP == 0 && lo.is_up();
        let own = Addr { local: [127, 0, 0, 1], prefix: LO_PREFIX, scope: RT_SCOPE_HOST };
        let added = rises && !lo.addrs.iter().any(|a| a.local == own.local);
        if added {
            lo.addrs.push(own);
        }
        (lo.flags != old, added.then_some(own))
    };
    if changed {
        route::link_changed();
    }
    if let Some(addr) = added {
        route::addr_changed(&addr, true);
    }
    Ok(())
}

/// Sets its largest packet. EPERM; EINVAL.
pub fn set_mtu(mtu: u32) -> Result<()> {
    privileged()?;
    if i32::try_from(mtu).is_err() {
        return Err(EINVAL);
    }
    LO.lock().mtu = mtu;
    route::link_changed();
    Ok(())
}

/// Sets the length of its queue. EPERM.
pub fn set_tx_queue_len(len: u32) -> Result<()> {
    privileged()?;
    LO.lock().tx_queue_len = len;
    Ok(())
}

/// Adds an address. EPERM; EEXIST; ENOBUFS.
pub fn add_addr(addr: Addr) -> Result<()> {
    privileged()?;
    {
        let mut lo = LO.lock();
        if lo.addrs.iter().any(|a| a.local == addr.local && a.prefix == addr.prefix) {
            return Err(EEXIST);
        }
        if lo.addrs.len() >= ADDRS_MAX {
            return Err(ENOBUFS);
        }
        lo.addrs.push(addr);
    }
    route::addr_changed(&addr, true);
    Ok(())
}

/// Removes the first address that `is` names. EPERM; EADDRNOTAVAIL.
pub fn remove_addr(is: impl Fn(&Addr) -> bool) -> Result<()> {
    privileged()?;
    let gone = {
        let mut lo = LO.lock();
        let at = lo.addrs.iter().position(is).ok_or(EADDRNOTAVAIL)?;
        lo.addrs.remove(at)
    };
    route::addr_changed(&gone, false);
    Ok(())
}

fn privileged() -> Result<()> {
    if capable(CAP_NET_ADMIN) { Ok(()) } else { Err(EPERM) }
}

/// ioctl(2) of a socket of family `domain`, for what its protocol doesn't know: interfaces. Addresses are the business of
/// AF_INET's sockets alone. ENOTTY; ENODEV; EPERM.
pub fn ioctl(domain: u16, cmd: u32, arg: u64) -> Result<u64> {
    let known = matches!(
        cmd,
        SIOCGIFNAME
            | SIOCGIFFLAGS
            | SIOCSIFFLAGS
            | SIOCGIFMETRIC
            | SIOCGIFMTU
            | SIOCSIFMTU
            | SIOCGIFHWADDR
            | SIOCGIFINDEX
            | SIOCGIFTXQLEN
            | SIOCSIFTXQLEN
            | SIOCGIFMAP
    );
    let address = matches!(
        cmd,
        SIOCGIFADDR | SIOCSIFADDR | SIOCGIFDSTADDR | SIOCGIFBRDADDR | SIOCGIFNETMASK | SIOCSIFNETMASK
    );
    match () {
        () if cmd == SIOCGIFCONF => return ifconf(arg),
        () if known || (address && domain == AF_INET) => {}
        () => return Err(ENOTTY),
    }
    let user = UserPtr::<Ifreq>::new(arg);
    let mut req = user.read()?;
    let word = i32::from_ne_bytes([req.ifr_ifru[0], req.ifr_ifru[1], req.ifr_ifru[2], req.ifr_ifru[3]]);
    if cmd == SIOCGIFNAME {
        if word != LO_INDEX {
            return Err(ENODEV);
        }
        req.ifr_name = name_field();
        user.write(&req)?;
        return Ok(0);
    }
    let name = req.ifr_name.split(|&b| b == 0 || b == b':').next().unwrap_or_default();
    if name != LO_NAME.as_bytes() {
        return Err(ENODEV);
    }
    let lo = loopback();
    let first = lo.addrs.first().copied();
    let mut answer = [0u8; 24];
    match cmd {
        SIOCGIFFLAGS => answer[..2].copy_from_slice(&(lo.all_flags() as u16).to_ne_bytes()),
        SIOCSIFFLAGS => return set_flags(word as u32 & 0xffff, 0xffff).map(|()| 0),
        SIOCGIFMETRIC => {}
        SIOCGIFMTU => answer[..4].copy_from_slice(&lo.mtu.to_ne_bytes()),
        SIOCSIFMTU => return set_mtu(word as u32).map(|()| 0),
        SIOCGIFHWADDR => answer[..2].copy_from_slice(&ARPHRD_LOOPBACK.to_ne_bytes()),
        SIOCGIFINDEX => answer[..4].copy_from_slice(&LO_INDEX.to_ne_bytes()),
        SIOCGIFTXQLEN => answer[..4].copy_from_slice(&lo.tx_queue_len.to_ne_bytes()),
        SIOCSIFTXQLEN => return set_tx_queue_len(word as u32).map(|()| 0),
        SIOCGIFMAP => {}
        SIOCGIFADDR | SIOCGIFDSTADDR => put_addr(&mut answer, first.ok_or(EADDRNOTAVAIL)?.local),
        SIOCGIFBRDADDR => put_addr(&mut answer, [0; 4]),
        SIOCGIFNETMASK => put_addr(&mut answer, first.ok_or(EADDRNOTAVAIL)?.mask().to_be_bytes()),
        SIOCSIFADDR => return set_first(&req, |local, old| Addr { local, ..old }).map(|()| 0),
        _ => {
            let prefix = |mask: [u8; 4]| u32::from_be_bytes(mask).leading_ones() as u8;
            return set_first(&req, |mask, old| Addr { prefix: prefix(mask), ..old }).map(|()| 0);
        }
    }
    req.ifr_ifru = answer;
    user.write(&req)?;
    Ok(0)
}

/// The name as `struct ifreq` has it.
fn name_field() -> [u8; IFNAMSIZ] {
    let mut name = [0; IFNAMSIZ];
    name[..LO_NAME.len()].copy_from_slice(LO_NAME.as_bytes());
    name
}

fn put_addr(answer: &mut [u8; 24], addr: [u8; 4]) {
    let sin = SockaddrIn {
        sin_family: AF_INET,
        sin_addr: abi::inet::InAddr { s_addr: addr },
        ..Default::default()
    };
    answer[..size_of::<SockaddrIn>()].copy_from_slice(sin.as_bytes());
}

/// Replaces the first address by what `change` makes of it and the address in the request. EINVAL, EPERM.
fn set_first(req: &Ifreq, change: impl Fn([u8; 4], Addr) -> Addr) -> Result<()> {
    privileged()?;
    let (sin, _) = SockaddrIn::read_from_prefix(&req.ifr_ifru).map_err(|_| EINVAL)?;
    if sin.sin_family != AF_INET && sin.sin_family != AF_UNSPEC {
        return Err(EINVAL);
    }
    let old = loopback().addrs.first().copied();
    let base = old.unwrap_or(Addr { local: [0; 4], prefix: LO_PREFIX, scope: RT_SCOPE_HOST });
    let new = change(sin.sin_addr.s_addr, base);
    if old == Some(new) {
        return Ok(());
    }
    if let Some(old) = old {
        remove_addr(|a| *a == old)?;
    }
    add_addr(new)
}

/// SIOCGIFCONF: every interface with an address.
fn ifconf(arg: u64) -> Result<u64> {
    let user = UserPtr::<Ifconf>::new(arg);
    let mut conf = user.read()?;
    let one = |addr: &Addr| {
        let mut req = Ifreq { ifr_name: name_field(), ifr_ifru: [0; 24] };
        put_addr(&mut req.ifr_ifru, addr.local);
        req
    };
    let all: Vec<Ifreq> = loopback().addrs.iter().map(one).collect();
    if conf.ifc_buf == 0 {
        conf.ifc_len = (all.len() * size_of::<Ifreq>()) as i32;
    } else {
        let room = usize::try_from(conf.ifc_len).map_err(|_| EINVAL)? / size_of::<Ifreq>();
        let fits = &all[..all.len().min(room)];
        copy_to_user(conf.ifc_buf, fits.as_bytes())?;
        conf.ifc_len = size_of_val(fits) as i32;
    }
    user.write(&conf)?;
    Ok(0)
}

/// Shows the device in /sys and /proc/net. From a task.
pub fn init() {
    crate::fs::proc::net::register("dev", proc_dev);
    let counter = |name: &str| {
        let bytes = name.ends_with("bytes");
        let counts = bytes || name.ends_with("packets");
        attribute(name, move || if counts { traffic()[usize::from(bytes)] } else { 0 })
    };
    let counters = [
        "rx_bytes",
        "rx_packets",
        "rx_errors",
        "rx_dropped",
        "tx_bytes",
        "tx_packets",
        "tx_errors",
        "tx_dropped",
        "multicast",
        "collisions",
    ];
    let entries = [
        attribute("address", || "00:00:00:00:00:00"),
        attribute("broadcast", || "00:00:00:00:00:00"),
        attribute("addr_len", || 6),
        attribute("addr_assign_type", || 0),
        attribute("name_assign_type", || 2),
        attribute("carrier", || u8::from(loopback().is_up())),
        attribute("dev_id", || "0x0"),
        attribute("dev_port", || 0),
        attribute("dormant", || 0),
        attribute("operstate", || if loopback().is_up() { "unknown" } else { "down" }),
        attribute("flags", || format!("{:#x}", loopback().all_flags() & 0xffff)),
        attribute("ifindex", || LO_INDEX),
        attribute("iflink", || LO_INDEX),
        attribute("link_mode", || 0),
        attribute("type", || ARPHRD_LOOPBACK),
        attribute("group", || 0),
        attribute("netdev_group", || 0),
        variable("mtu", || loopback().mtu, |text| set_mtu(positive(text)?)),
        variable("tx_queue_len", || loopback().tx_queue_len, |text| set_tx_queue_len(positive(text)?)),
        dir("statistics", counters.map(counter)),
    ];
    sysfs::device::add(sysfs::device::Device {
        parent: "devices/virtual/net".to_owned(),
        subsystem: "net",
        name: LO_NAME.to_owned(),
        number: None,
        variables: vec![format!("INTERFACE={LO_NAME}"), format!("IFINDEX={LO_INDEX}")],
        entries: entries.into(),
    });
}

fn positive(text: &[u8]) -> Result<u32> {
    u32::try_from(crate::fs::kernfs::number(text)?).map_err(|_| EINVAL)
}

fn proc_dev() -> String {
    let [packets, bytes] = traffic();
    let half = format!("{bytes:>7} {packets:>7}    0    0    0     0");
    format!(
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n\
         {LO_NAME:>6}: {half}          0         0 {:>8} {packets:>7}    0    0    0     0       0          0\n",
        bytes
    )
}

//! AF_INET without an internet: a datagram socket through which interfaces are asked about and set up (netdevice(7)), as
//! ifup(8) and ifconfig(8) do. There is no route to anywhere.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EACCES, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EDESTADDRREQ, ENETUNREACH, ENOTCONN};
use abi::inet::{IPPROTO_IP, IPPROTO_UDP, SockaddrIn};
use abi::net::{AF_INET, SOCK_DGRAM};
use zerocopy::IntoBytes;

use super::options::Options;
use super::{RecvMsg, SendMsg, Socket, device};
use crate::sync::PollTable;
use crate::vfs::PollEvents;

struct Control(Options);

/// socket(2). EAFNOSUPPORT for any other type: there is no TCP.
pub(super) fn create(kind: u32, protocol: u32) -> Result<Arc<dyn Socket>> {
    if kind != SOCK_DGRAM || !matches!(protocol, IPPROTO_IP | IPPROTO_UDP) {
        return Err(EAFNOSUPPORT);
    }
    Ok(Arc::new(Control(Options::default())))
}

impl Socket for Control {
    fn domain(&self) -> u16 {
        AF_INET
    }

    fn kind(&self) -> u32 {
        SOCK_DGRAM
    }

    fn protocol(&self) -> u32 {
        IPPROTO_UDP
    }

    fn options(&self) -> &Options {
        &self.0
    }

    fn bind(&self, _: &[u8]) -> Result<()> {
        Err(EADDRNOTAVAIL)
    }

    fn connect(&self, _: &[u8], _: bool) -> Result<()> {
        Err(ENETUNREACH)
    }

    fn sockname(&self) -> Result<Vec<u8>> {
        Ok(SockaddrIn { sin_family: AF_INET, ..SockaddrIn::default() }.as_bytes().to_vec())
    }

    fn peername(&self) -> Result<Vec<u8>> {
        Err(ENOTCONN)
    }

    fn send(&self, msg: &mut SendMsg<'_, '_>) -> Result<usize> {
        let broadcast = msg.addr.as_ref().is_some_and(|a| a.get(4..8) == Some(&[255; 4]));
        match msg.addr {
            None => Err(EDESTADDRREQ),
            Some(_) if broadcast => Err(EACCES),
            Some(_) => Err(ENETUNREACH),
        }
    }

    fn recv(&self, _: &mut RecvMsg<'_, '_>) -> Result<usize> {
        Err(EAGAIN)
    }

    fn poll(&self, _: &mut PollTable) -> PollEvents {
        PollEvents::WRITABLE | PollEvents::WRBAND
    }

    fn ioctl(&self, cmd: u32, arg: u64) -> Result<u64> {
        device::ioctl(AF_INET, cmd, arg)
    }
}

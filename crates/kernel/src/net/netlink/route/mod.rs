//! NETLINK_ROUTE, rtnetlink(7): the loopback device, its addresses and the routes that follow from them.
//!
//! `link.rs`, `addr.rs`, `table.rs`: what they answer and change. What isn't there – other kinds of devices, rules,
//! neighbours, queues – answers EOPNOTSUPP, or an empty list where a program only looks.

mod addr;
mod link;
mod table;

use std::sync::Arc;

use abi::errno::EOPNOTSUPP;
use abi::netlink::*;
use abi::{Errno, Result};

use super::NetlinkSocket;
use super::deliver::{answer, broadcast};
use super::message::{self, Builder, Request};
use crate::net::device::{Addr, loopback};

/// The request types of one object: new, delete, get, set.
const KINDS: u16 = 3;

/// Does what a program asks for in a datagram, and answers each request in it.
pub(super) fn receive(socket: &Arc<NetlinkSocket>, data: &[u8]) {
    for request in message::requests(data) {
        // Types below 16 are control messages, which mean nothing here.
        let is_control = request.header.nlmsg_type < RTM_NEWLINK;
        if is_control || !request.has(NLM_F_REQUEST) {
            if request.has(NLM_F_ACK) {
                respond(socket, &request, Ok(()));
            }
            continue;
        }
        let outcome = handle(socket, &request);
        let dumped = outcome == Ok(true);
        let outcome = outcome.map(drop);
        if outcome.is_err() || (request.has(NLM_F_ACK) && !dumped) {
            respond(socket, &request, outcome);
        }
    }
}

fn respond(socket: &NetlinkSocket, request: &Request<'_>, outcome: Result<(), Errno>) {
    answer(socket, message::ack(request, outcome, socket.portid(), socket.flag(NETLINK_CAP_ACK)));
}

/// One request; whether it was a dump, which has its own end.
fn handle(socket: &NetlinkSocket, request: &Request<'_>) -> Result<bool> {
    let kind = request.header.nlmsg_type;
    let is_get = kind & KINDS == RTM_GETLINK & KINDS;
    if is_get && request.has(NLM_F_ROOT) | request.has(NLM_F_MATCH) {
        let mut builder = Builder::default();
        let header = header(request, socket, kind - 2, NLM_F_MULTI);
        match kind {
            RTM_GETLINK => link::put(&mut builder, header, &loopback()),
            RTM_GETADDR => addr::dump(&mut builder, header, request),
            RTM_GETROUTE => table::dump(&mut builder, header, request),
            RTM_GETNEIGH | RTM_GETQDISC => {}
            _ => return Err(EOPNOTSUPP),
        }
        if !builder.is_empty() {
            answer(socket, builder.finish());
        }
        answer(socket, message::done(request, socket.portid()));
        return Ok(true);
    }
    match kind {
        RTM_GETLINK => {
            link::find(request)?;
            let mut builder = Builder::default();
            link::put(&mut builder, header(request, socket, RTM_NEWLINK, 0), &loopback());
            answer(socket, builder.finish());
        }
        RTM_NEWLINK | RTM_SETLINK => link::change(request)?,
        RTM_DELLINK => {
            link::find(request)?;
            return Err(EOPNOTSUPP);
        }
        RTM_NEWADDR => addr::add(request)?,
        RTM_DELADDR => addr::remove(request)?,
        RTM_GETROUTE => {
            let mut builder = Builder::default();
            table::get(&mut builder, header(request, socket, RTM_NEWROUTE, 0), request)?;
            answer(socket, builder.finish());
        }
        _ => return Err(EOPNOTSUPP),
    }
    Ok(false)
}

fn header(request: &Request<'_>, socket: &NetlinkSocket, kind: u16, flags: u16) -> Nlmsghdr {
    Nlmsghdr {
        nlmsg_len: 0,
        nlmsg_type: kind,
        nlmsg_flags: flags,
        nlmsg_seq: request.header.nlmsg_seq,
        nlmsg_pid: socket.portid(),
    }
}

/// Tells who listens that the device has changed.
pub fn link_changed() {
    let mut builder = Builder::default();
    link::put(&mut builder, Nlmsghdr { nlmsg_type: RTM_NEWLINK, ..Nlmsghdr::default() }, &loopback());
    broadcast(NETLINK_ROUTE, RTNLGRP_LINK, builder.finish());
}

/// Tells who listens that an address has come or gone.
pub fn addr_changed(addr: &Addr, added: bool) {
    let mut builder = Builder::default();
    let kind = if added { RTM_NEWADDR } else { RTM_DELADDR };
    addr::put(&mut builder, Nlmsghdr { nlmsg_type: kind, ..Nlmsghdr::default() }, addr);
    broadcast(NETLINK_ROUTE, RTNLGRP_IPV4_IFADDR, builder.finish());
}

//! The network of an environment: its own loopback, and listeners on it that the server accepts on.
//!
//! A socket stays in the network in which it was opened, whoever holds it. So what the function reaches at these
//! addresses is the server, and nothing else is there to be reached.

use std::io;
use std::net::TcpListener;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::enter::step;
use super::orders::Orders;

/// The loopback is the first interface of every network.
const LOOPBACK: i32 = 1;
const NEW_LINK: u16 = 16;
/// A request, with an acknowledgement.
const REQUEST: u16 = 1 | 4;
const IS_UP: u32 = 1;
const ERROR: u16 = 2;

pub(super) fn open(orders: &Orders) -> io::Result<Vec<TcpListener>> {
    if orders.own_network {
        step("cannot take the loopback up", take_loopback_up())?;
    }
    let listen = |address| step(&format!("cannot listen on {address} inside"), TcpListener::bind(address));
    orders.listen.iter().map(listen).collect()
}

/// One message of rtnetlink(7): a header, and an `ifinfomsg` that sets the flag.
fn take_loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // Protocol 0 of the family is that of routes.
        None,
    )?;
    let mut message = Vec::with_capacity(32);
    message.extend(32_u32.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // Number and sender.
    message.extend([0; 8]);
    // Family and kind.
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IS_UP.to_ne_bytes());
    message.extend(IS_UP.to_ne_bytes());
    rustix::net::sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 64];
    let (_, read) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let kind = answer.get(4..6).filter(|_| read >= 20).ok_or_else(short)?;
    let code = answer.get(16..20).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    match (kind == ERROR.to_ne_bytes(), code) {
        (true, 0) => Ok(()),
        (true, code) => Err(io::Error::from_raw_os_error(-code)),
        (false, _) => Err(io::ErrorKind::InvalidData.into()),
    }
}

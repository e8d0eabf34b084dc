//! The socket between the server and an environment's launcher and init: whole messages in both directions, and
//! descriptors with them. That it closes is a message, too: each side knows by it that the other is gone.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::time::Duration;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message; the kernel's own bound for such sockets is a little above it.
const MAX_MESSAGE_BYTES: usize = 160 << 10;
/// Descriptors that come with one message.
const MAX_DESCRIPTORS: usize = 4;

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Both ends. Neither is inherited by what is started, unless it is given as its standard input.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (own, other) = rustix::net::socketpair(kind.0, kind.1, SocketFlags::CLOEXEC, None)?;
        Ok((Self(own), other))
    }

    /// The end that was given as standard input.
    pub fn of_stdin() -> io::Result<Self> {
        Ok(Self(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?))
    }

    /// Sends one message with descriptors.
    pub fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(io::Error::other("the orders of an environment are too long: too many or too long paths"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !with.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        rustix::net::sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut with, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for a message. Nothing when the other end is gone; `WouldBlock` when it does not come in `patience`.
    pub fn receive<T: DeserializeOwned>(&self, patience: Option<Duration>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        set_socket_timeout(&self.0, Timeout::Recv, patience)?;
        self.read(RecvFlags::empty())
    }

    /// The message that is there already, or nothing.
    pub fn waiting<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        match self.read(RecvFlags::DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            read => Ok(read?.map(|(message, _)| message)),
        }
    }

    /// The next message, which stays to be received by whoever holds this end next.
    pub fn peek<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        Ok(self.read(RecvFlags::PEEK)?.map(|(message, _)| message))
    }

    fn read<T: DeserializeOwned>(&self, flags: RecvFlags) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; MAX_MESSAGE_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut with = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            match rustix::net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut with, flags) {
                Err(rustix::io::Errno::INTR) => {}
                received => break received?,
            }
        };
        let mut descriptors = Vec::new();
        for message in with.drain() {
            if let RecvAncillaryMessage::ScmRights(given) = message {
                descriptors.extend(given);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, descriptors)))
    }

    /// Waits until the other end is gone. What still comes is thrown away.
    pub fn closed(&self) {
        let mut byte = [0];
        while !matches!(rustix::net::recv(&self.0, &mut byte[..], RecvFlags::empty()), Ok((_, 0))) {}
    }

    /// Tells the other end that nothing comes any more. What it still says can be read.
    pub fn close_for_writing(&self) {
        // The other end may have gone first.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_whole_and_the_end_is_heard() {
        let (own, other) = Channel::pair().unwrap();
        let other = Channel(other);
        assert_eq!(own.waiting::<String>().unwrap(), None);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        other.send(&"one", &[listener.as_fd()]).unwrap();
        other.send(&"two", &[]).unwrap();
        assert_eq!(own.peek::<String>().unwrap().as_deref(), Some("one"));
        let (message, given) = own.receive::<String>(None).unwrap().unwrap();
        assert_eq!((message.as_str(), given.len()), ("one", 1));
        let given = std::net::TcpListener::from(given.into_iter().next().unwrap());
        assert_eq!(given.local_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!(own.waiting::<String>().unwrap().as_deref(), Some("two"));
        let patience = Some(Duration::from_millis(1));
        assert_eq!(own.receive::<String>(patience).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        other.close_for_writing();
        own.closed();
        assert!(own.receive::<String>(None).unwrap().is_none());
    }
}

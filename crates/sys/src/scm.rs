//! Descriptors over unix sockets: SCM_RIGHTS of unix(7).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::{Context, Error, Result};

/// The most descriptors one message carries here (the kernel allows 253).
pub const MAX_DESCRIPTORS: usize = 16;

/// Sends `bytes` (at least one: a stream carries descriptors only along with data) and `descriptors`; returns
/// how many of the bytes went.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Error::new("sendmsg", "too many descriptors", rustix::io::Errno::TOOBIG));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).op("sendmsg")
}

/// Receives into `buffer`; returns how many bytes came, 0 at the end, and the descriptors that came with them,
/// close-on-exec. A message with more than [`MAX_DESCRIPTORS`] of them is refused, and all of it is closed.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let answer =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
            .op("recvmsg")?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if answer.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Error::new("recvmsg", "too many descriptors", rustix::io::Errno::TOOBIG));
    }
    Ok((answer.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_descriptor_arrives_with_its_bytes() {
        let (here, there) = UnixStream::pair().expect("socket pair");
        let (mut reader, writer) = std::io::pipe().expect("pipe");
        assert_eq!(send(&here, b"x", &[writer.as_fd()]).expect("send"), 1);
        drop(writer);
        let mut buffer = [0; 4];
        let (count, mut descriptors) = receive(&there, &mut buffer).expect("receive");
        assert_eq!((count, descriptors.len()), (1, 1));
        let mut writer = std::fs::File::from(descriptors.remove(0));
        writer.write_all(b"through").expect("write");
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(text, "through");
    }

    #[test]
    fn the_end_is_no_bytes() {
        let (here, there) = UnixStream::pair().expect("socket pair");
        drop(here);
        assert_eq!(receive(&there, &mut [0; 4]).expect("receive").0, 0);
    }
}

//! The same relay on bare epoll, level-triggered: what the ring has to be measured against.

use std::io::{Write, stdout};
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use sigmux::ring;
use sigmux_compare::relay::Relay;
use sigmux_compare::{BACKLOG, address};

/// Stands for the listening socket.
const LISTENER: u64 = u64::MAX;
const EVENTS_MAX: usize = 512;
/// As much as a buffer of the ring holds.
const RECEIVE_BYTES: usize = 32 * 1024;
/// Connections that are accepted before others are looked after.
const ACCEPTED_A_TURN_MAX: usize = 64;

#[derive(Default)]
struct Socket {
    fd: Option<OwnedFd>,
    /// Bytes that the kernel had no room for, and how many of them it has taken since.
    rest: Vec<u8>,
    sent_bytes: usize,
}

struct Floor {
    epoll: OwnedFd,
    relay: Relay,
    sockets: Vec<Socket>,
}

fn main() {
    ring::raise_open_files();
    let mut listeners = ring::bind(address(), 1, BACKLOG).unwrap_or_else(|error| panic!("{error}"));
    let listener = listeners.sockets.pop().expect("one was asked for");
    ioctl_fionbio(&listener, true).expect("a socket can be non-blocking");
    let epoll = epoll::create(CreateFlags::CLOEXEC).expect("an epoll");
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN).expect("a listener");
    // The script waits for this line.
    println!("listening");
    stdout().flush().expect("whoever started this reads it");
    let mut floor = Floor { epoll, relay: Relay::default(), sockets: Vec::new() };
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let mut bytes = vec![0; RECEIVE_BYTES];
    loop {
        events.clear();
        match epoll::wait(&floor.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => panic!("epoll: {errno}"),
        }
        for event in &events {
            let (data, flags) = (event.data.u64(), event.flags);
            if data == LISTENER {
                floor.accept(&listener);
            } else {
                floor.ready(data as u32, flags, &mut bytes);
            }
        }
        while let Some(slot) = floor.relay.next_dirty() {
            floor.flush(slot);
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &OwnedFd) {
        for _ in 0..ACCEPTED_A_TURN_MAX {
            let Ok(fd) = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) else { return };
            let slot = self.relay.open();
            if self.sockets.len() <= slot as usize {
                self.sockets.resize_with(slot as usize + 1, Socket::default);
            }
            epoll::add(&self.epoll, &fd, EventData::new_u64(slot.into()), EventFlags::IN).expect("room");
            self.sockets[slot as usize].fd = Some(fd);
        }
    }

    fn ready(&mut self, slot: u32, flags: EventFlags, bytes: &mut [u8]) {
        let Some(fd) = &self.sockets[slot as usize].fd else { return };
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            match recv(fd, &mut *bytes, RecvFlags::empty()) {
                Ok((0, _)) => return self.close(slot),
                Ok((count, _)) => {
                    if !self.relay.received(slot, &bytes[..count]) {
                        return self.close(slot);
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return self.close(slot),
            }
        }
        if flags.contains(EventFlags::OUT) {
            self.flush(slot);
        }
    }

    fn flush(&mut self, slot: u32) {
        let socket = &mut self.sockets[slot as usize];
        let Some(fd) = &socket.fd else { return };
        loop {
            if socket.rest.is_empty() {
                if !self.relay.has_out(slot) {
                    break;
                }
                (socket.rest, socket.sent_bytes) = (self.relay.take_out(slot), 0);
            }
            match send(fd, &socket.rest[socket.sent_bytes..], SendFlags::NOSIGNAL) {
                Ok(count) if socket.sent_bytes + count < socket.rest.len() => {
                    socket.sent_bytes += count;
                    let both = EventFlags::IN | EventFlags::OUT;
                    let _ = epoll::modify(&self.epoll, fd, EventData::new_u64(slot.into()), both);
                    return;
                }
                Ok(_) => {
                    if socket.sent_bytes > 0 {
                        let data = EventData::new_u64(slot.into());
                        let _ = epoll::modify(&self.epoll, fd, data, EventFlags::IN);
                    }
                    self.relay.give_back(std::mem::take(&mut socket.rest));
                }
                Err(Errno::AGAIN | Errno::INTR) => {
                    let both = EventFlags::IN | EventFlags::OUT;
                    let _ = epoll::modify(&self.epoll, fd, EventData::new_u64(slot.into()), both);
                    return;
                }
                Err(_) => return self.close(slot),
            }
        }
        if self.relay.is_closing(slot) {
            self.close(slot);
        }
    }

    fn close(&mut self, slot: u32) {
        self.sockets[slot as usize] = Socket::default();
        self.relay.closed(slot);
    }
}

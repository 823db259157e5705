//! A program that uses a ring for its open files and for one database, and tries to do more.
//!
//! Each line that it writes is what it tried, and the result: negative for an errno.
mod client;

use io_uring::{opcode, squeue, types, IoUring};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

/// A PostgreSQL client's first message: 41 bytes, version 3.0, user and database postgres.
const STARTUP: &[u8] = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0";

fn tried(ring: &mut IoUring, what: &str, entry: squeue::Entry) -> i32 {
    unsafe { ring.submission().push(&entry) }.expect("there is room");
    ring.submit_and_wait(1).expect("it is submitted");
    let result = ring.completion().next().expect("it completes").result();
    println!("{what} {}", result.min(0));
    result
}

fn called(what: &str, result: i32) {
    let error = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    println!("call {what} {}", if result < 0 { -error } else { 0 });
}

fn address(family: i32, port: u16) -> (libc::sockaddr_storage, u32) {
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let place = &raw mut storage;
    let size = if family == libc::AF_INET {
        let inet = unsafe { &mut *place.cast::<libc::sockaddr_in>() };
        inet.sin_port = port.to_be();
        inet.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
        size_of::<libc::sockaddr_in>()
    } else {
        let inet6 = unsafe { &mut *place.cast::<libc::sockaddr_in6>() };
        inet6.sin6_port = port.to_be();
        inet6.sin6_addr.s6_addr = Ipv6Addr::LOCALHOST.octets();
        size_of::<libc::sockaddr_in6>()
    };
    storage.ss_family = family as libc::sa_family_t;
    (storage, size as u32)
}

fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).expect("a file is named");
    let file = std::fs::File::open(&path)?;
    let path = std::ffi::CString::new(path)?;
    if let Err(error) = client::install() {
        println!("install -{}", error.raw_os_error().unwrap_or(0));
        std::process::exit(1);
    }
    let mut ring = IoUring::new(8)?;
    let mut bytes = [0u8; 512];
    let fd = types::Fd(file.as_raw_fd());
    let here = types::Fd(libc::AT_FDCWD);
    let how = types::OpenHow::new();

    tried(&mut ring, "read", opcode::Read::new(fd, bytes.as_mut_ptr(), 7).build());
    let inet6 = opcode::Socket::new(libc::AF_INET6, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
    let socket = types::Fd(tried(&mut ring, "socket", inet6.build()));
    let (to, size) = address(libc::AF_INET6, 5432);
    let connect = opcode::Connect::new(socket, (&raw const to).cast(), size);
    tried(&mut ring, "connect", connect.build());
    let write = opcode::Write::new(socket, STARTUP.as_ptr(), STARTUP.len() as u32);
    tried(&mut ring, "write", write.build());
    tried(&mut ring, "answer", opcode::Read::new(socket, bytes.as_mut_ptr(), 512).build());
    println!("its answer {}", bytes[0] as char);

    let inet6 = opcode::Socket::new(libc::AF_INET6, libc::SOCK_STREAM, 0);
    let another = types::Fd(tried(&mut ring, "another socket", inet6.build()));
    let inet = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0);
    let ipv4 = types::Fd(tried(&mut ring, "socket of IPv4", inet.build()));
    let (to, size) = address(libc::AF_INET6, 5433);
    let connect = opcode::Connect::new(another, (&raw const to).cast(), size);
    tried(&mut ring, "another port", connect.build());
    let (to, size) = address(libc::AF_INET, 5432);
    let connect = opcode::Connect::new(ipv4, (&raw const to).cast(), size);
    tried(&mut ring, "another address", connect.build());
    let datagrams = opcode::Socket::new(libc::AF_INET6, libc::SOCK_DGRAM, 0);
    tried(&mut ring, "datagrams", datagrams.build());
    let unix = opcode::Socket::new(libc::AF_UNIX, libc::SOCK_STREAM, 0);
    tried(&mut ring, "unix", unix.build());
    let send = opcode::Send::new(socket, STARTUP.as_ptr(), 1).flags(libc::MSG_FASTOPEN);
    tried(&mut ring, "send", send.build());
    tried(&mut ring, "openat", opcode::OpenAt::new(here, path.as_ptr()).build());
    tried(&mut ring, "openat2", opcode::OpenAt2::new(here, path.as_ptr(), &how).build());
    tried(&mut ring, "unlinkat", opcode::UnlinkAt::new(here, path.as_ptr()).build());
    let accept = opcode::Accept::new(another, std::ptr::null_mut(), std::ptr::null_mut());
    tried(&mut ring, "accept", accept.build());

    called("open", unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) });
    called("socket", unsafe { libc::socket(libc::AF_INET6, libc::SOCK_STREAM, 0) });
    let (to, size) = address(libc::AF_INET6, 5433);
    let to = (&raw const to).cast();
    called("connect", unsafe { libc::connect(another.0, to, size) });
    let byte = [0u8; 1];
    called("sendto", unsafe { libc::sendto(another.0, byte.as_ptr().cast(), 1, 0, to, size) } as i32);
    let personality = ring.submitter().register_personality();
    called("register", if personality.is_ok() { 0 } else { -1 });
    Ok(())
}

//! `scopegate health`: asks the admin listener of a running gateway, so that an image needs no shell and no curl.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::Outcome;

const PATIENCE: Duration = Duration::from_secs(2);

/// Prints what the gateway says. Good where it is ready (or alive), failed otherwise.
pub fn run(admin: SocketAddr, live: bool, out: &mut dyn Write) -> Outcome {
    let path = if live { "/livez" } else { "/readyz" };
    match ask(reachable(admin), path) {
        Ok((status, body)) => {
            // What matters is the exit code.
            let _ = write!(out, "{body}");
            if status == 200 {
                Outcome::Good
            } else {
                Outcome::Failed
            }
        }
        Err(error) => {
            super::say(&format!("scopegate: {admin}: {error}"));
            Outcome::Failed
        }
    }
}

/// An address that stands for every address is reached by loopback.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, admin.port())
}

fn ask(admin: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(64 << 10).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("this is not an admin listener"))?;
    Ok((status, body.into()))
}

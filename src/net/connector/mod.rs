//! Outgoing connections: name resolution, TCP and TLS, each under a deadline.
//!
//! `net::fetch` uses [`connect`]; `gateway::pool` and the health checks of `control` use a [`Destination`], which
//! remembers the addresses of its name. There is no way to switch certificate checks off, and a certificate file that
//! cannot be read is an error, never a reason to trust something else.

mod destination;
mod names;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

pub use destination::{Destination, UpstreamStream};
pub use tls::{Alpn, ClientTls, PemIdentity, TrustError};

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address, or the resolver failed.
    #[error("cannot resolve {host}")]
    Resolve {
        /// The name.
        host: String,
    },
    /// Every address of the name is one that is never connected to.
    #[error("{host} has no address that may be connected to")]
    Forbidden {
        /// The name.
        host: String,
    },
    /// The deadline passed.
    #[error("timed out")]
    TimedOut,
    /// The operating system refused.
    #[error("cannot connect: {0}")]
    Io(io::ErrorKind),
    /// The server did not choose HTTP/2 in the TLS handshake.
    #[error("TLS: the server does not speak HTTP/2 (ALPN h2)")]
    NotHttp2,
    /// The handshake failed: most often a certificate that is not trusted or names another host.
    #[error("TLS: {0}")]
    Tls(String),
}

/// Which addresses a name may resolve to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressRule {
    /// Any: the address is the operator's choice.
    Any,
    /// No link-local (among them the metadata services of clouds), multicast, broadcast or unspecified address: part
    /// of the address came from elsewhere.
    NoLinkLocal,
}

/// After this time the next address is tried beside the one that does not answer (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first address of `host` that answers. `host` is a name, or an address without brackets.
///
/// # Errors
/// [`ConnectError`]; never `Tls`. When several addresses fail, the error is that of the last.
pub async fn connect(
    host: &str,
    port: u16,
    rule: AddressRule,
    deadline: Instant,
) -> Result<TcpStream, ConnectError> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => timeout_at(deadline, names::look_up(host, port))
            .await
            .map_err(|_elapsed| ConnectError::TimedOut)??,
    };
    let allowed: Vec<SocketAddr> = addresses
        .into_iter()
        .filter(|address| rule.allows(address.ip()))
        .collect();
    if allowed.is_empty() {
        return Err(ConnectError::Forbidden { host: host.into() });
    }
    connect_to_any(&allowed, deadline).await
}

/// Connects to the first address that answers: each gets a start over the next, so that one that swallows packets
/// costs a moment and not the deadline.
async fn connect_to_any(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    if let [only] = addresses {
        return timeout_at(deadline, connect_to(*only))
            .await
            .unwrap_or(Err(ConnectError::TimedOut));
    }
    let mut error = ConnectError::TimedOut;
    let mut waiting = addresses.iter().copied();
    let mut trying = JoinSet::new();
    let mut next_start = Instant::now();
    loop {
        // Dropping the set ends the attempts that came too late.
        tokio::select! {
            biased;
            Some(attempt) = trying.join_next() => match attempt {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(failed)) => {
                    error = failed;
                    next_start = Instant::now();
                }
                Err(_ended) => {}
            },
            () = sleep_until(next_start), if waiting.len() > 0 => {
                if let Some(address) = waiting.next() {
                    trying.spawn(connect_to(address));
                }
                next_start = Instant::now() + STAGGER;
            },
            () = sleep_until(deadline) => return Err(ConnectError::TimedOut),
            else => return Err(error),
        }
        if trying.is_empty() && waiting.len() == 0 {
            return Err(error);
        }
    }
}

async fn connect_to(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| ConnectError::Io(error.kind()))?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

impl AddressRule {
    /// Whether a connection to this address may be opened.
    pub fn allows(self, ip: IpAddr) -> bool {
        if self == Self::Any {
            return true;
        }
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                !(ip.is_link_local() || ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified())
            }
            IpAddr::V6(ip) => !(ip.is_unicast_link_local() || ip.is_multicast() || ip.is_unspecified()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn connects_by_name_and_says_why_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = connect("localhost", port, AddressRule::NoLinkLocal, soon())
            .await
            .unwrap();
        assert!(stream.nodelay().unwrap());
        drop(listener);
        let refused = connect("127.0.0.1", port, AddressRule::Any, soon())
            .await
            .unwrap_err();
        assert_eq!(refused, ConnectError::Io(io::ErrorKind::ConnectionRefused));
        let forbidden = connect("169.254.169.254", 80, AddressRule::NoLinkLocal, soon())
            .await
            .unwrap_err();
        assert_eq!(
            forbidden,
            ConnectError::Forbidden {
                host: "169.254.169.254".into()
            }
        );
        let unknown = connect("no-such-host.invalid", 80, AddressRule::Any, soon())
            .await
            .unwrap_err();
        assert!(matches!(
            unknown,
            ConnectError::Resolve { .. } | ConnectError::TimedOut
        ));
    }

    #[test]
    fn mapped_addresses_are_the_addresses_they_map() {
        for refused in [
            "::ffff:169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(
                !AddressRule::NoLinkLocal.allows(refused.parse().unwrap()),
                "{refused}"
            );
        }
        for allowed in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "203.0.113.7"] {
            assert!(
                AddressRule::NoLinkLocal.allows(allowed.parse().unwrap()),
                "{allowed}"
            );
        }
    }
}

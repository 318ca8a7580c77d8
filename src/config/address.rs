//! Addresses as the configuration writes them: sockets, web addresses, host names.
//!
//! Pure text rules, used by `resolve`. Every error is a sentence without its subject: "must not have a fragment".

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::Uri;

/// The parts of `scheme://host:port/path?query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WebAddress {
    pub(super) https: bool,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// `/` where none was written.
    pub(super) path: String,
    pub(super) has_query: bool,
}

impl WebAddress {
    /// Reads an absolute `http` or `https` address without user information and fragment.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains('#') {
            return Err("must not have a fragment");
        }
        let Ok(uri) = text.parse::<Uri>() else {
            return Err("is not a web address");
        };
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("must begin with https:// or http://"),
        };
        let authority = uri.authority().ok_or("has no host")?;
        if authority.as_str().contains('@') {
            return Err("must not contain a user name or a password");
        }
        let (host, port) = split_port(authority.as_str())?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) if v6.parse::<Ipv6Addr>().is_ok() => v6,
            None if is_host_name(host) => host,
            _ => return Err("has a host that is neither a name nor an IP address"),
        };
        let (path, has_query) = (uri.path().to_owned(), uri.query().is_some());
        Ok(Self {
            https,
            host: host.to_owned(),
            port,
            path,
            has_query,
        })
    }

    /// Whether the host is this machine.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// Where an upstream server is, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerUrl<'a> {
    /// `http://host:port` or `https://host:port`.
    Web(WebAddress),
    /// `unix:PATH`, a socket in the file system.
    Unix(&'a str),
}

impl<'a> ServerUrl<'a> {
    /// Reads one of the three.
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        match text.strip_prefix("unix:") {
            None => WebAddress::parse(text).map(Self::Web),
            Some("") => Err("has no path"),
            // `unix://run/app.sock` would be `run` to some and `/run` to others.
            Some(path) if path.starts_with("//") => Err("must have one slash after `unix:`, or none"),
            Some(path) => Ok(Self::Unix(path)),
        }
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let after_host = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = authority.get(after_host..).and_then(|rest| rest.rfind(':')) else {
        return Ok((authority, None));
    };
    let (host, port) = authority.split_at(after_host + colon);
    match port.get(1..).unwrap_or_default().parse() {
        Ok(port) if port > 0 => Ok((host, Some(port))),
        _ => Err("has a port that is not 1 to 65535"),
    }
}

/// A DNS name or an IPv4 address: letters, digits, `-`, `_` and single dots.
pub(super) fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// Whether a host, without brackets, is this machine whatever a resolver says.
pub fn is_loopback(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `IP:port`, or what to write instead.
pub(super) fn socket(text: &str) -> Result<SocketAddr, String> {
    if let Ok(socket) = text.parse() {
        return Ok(socket);
    }
    Err(match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => match host {
            "" | "*" => format!("write 0.0.0.0:{port} for every address"),
            "localhost" => format!("write 127.0.0.1:{port}"),
            _ => "write an IP address, not a name".into(),
        },
        _ => "write it as IP:port, such as 127.0.0.1:8080".into(),
    })
}

/// Whether two sockets cannot both be bound.
pub(super) fn overlap(left: SocketAddr, right: SocketAddr) -> bool {
    left.port() != 0
        && left.port() == right.port()
        && (left.ip() == right.ip() || left.ip().is_unspecified() || right.ip().is_unspecified())
}

/// Whether a connection to this host and port arrives at a socket of ours.
pub(super) fn reaches(host: &str, port: u16, socket: SocketAddr) -> bool {
    if port != socket.port() {
        return false;
    }
    match host.parse::<IpAddr>() {
        Ok(ip) => {
            ip == socket.ip() || ip.is_unspecified() || (socket.ip().is_unspecified() && ip.is_loopback())
        }
        Err(_) => is_loopback(host) && (socket.ip().is_loopback() || socket.ip().is_unspecified()),
    }
}

/// A host as clients name it, without a port, in lower case.
pub(super) fn served_host(text: &str) -> Result<String, &'static str> {
    if text.contains("://") || text.contains('/') {
        return Err("must be a host name, not an address");
    }
    if text.contains('*') {
        return Err("must not contain a wildcard: name each host, or leave `hosts` out");
    }
    if let Some(v6) = text.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return match v6.parse::<Ipv6Addr>() {
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => Err("is not an IPv6 address"),
        };
    }
    match text {
        _ if is_host_name(text) => Ok(text.to_ascii_lowercase()),
        _ if text.parse::<Ipv6Addr>().is_ok() => Err("is an IPv6 address: put it in brackets"),
        _ if text.contains(':') => Err("must not have a port"),
        _ => Err("is not a host name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_addresses() {
        let parsed = WebAddress::parse("http://[::1]:3000/a?b").unwrap();
        assert_eq!(parsed.host, "::1");
        assert_eq!(
            (parsed.port, parsed.path.as_str(), parsed.has_query),
            (Some(3000), "/a", true)
        );
        for (text, loopback) in [
            ("https://tenant.eu.auth0.com/", false),
            ("http://localhost:9000/", true),
            ("http://a.localhost", true),
            ("http://127.0.0.2", true),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(WebAddress::parse(text).unwrap().is_loopback(), loopback, "{text}");
        }
        for text in [
            "",
            "tenant.eu.auth0.com",
            "/a",
            "ftp://a",
            "https://",
            "https:///a",
            "https://u:p@a/",
            "https://a/#b",
            "https://a:0",
            "https://a:65536",
            "https://a:",
            "https://a b",
            "https://a..b",
            "https://[1]/",
            "https://*/",
            "https://::1/",
        ] {
            assert!(WebAddress::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn server_urls() {
        assert_eq!(
            ServerUrl::parse("unix:/run/app.sock"),
            Ok(ServerUrl::Unix("/run/app.sock"))
        );
        assert_eq!(ServerUrl::parse("unix:app.sock"), Ok(ServerUrl::Unix("app.sock")));
        assert!(matches!(ServerUrl::parse("https://a:1"), Ok(ServerUrl::Web(address)) if address.https));
        for bad in ["unix:", "unix:///run/app.sock", "a.sock", "Unix:/a"] {
            assert!(ServerUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sockets() {
        assert!(socket("127.0.0.1:0").is_ok() && socket("[::]:8080").is_ok());
        for (text, hint) in [
            (":8080", "write 0.0.0.0:8080 for every address"),
            ("localhost:8080", "write 127.0.0.1:8080"),
            ("example.com:80", "write an IP address, not a name"),
            ("8080", "write it as IP:port, such as 127.0.0.1:8080"),
            ("127.0.0.1:99999", "write it as IP:port, such as 127.0.0.1:8080"),
        ] {
            assert_eq!(socket(text).unwrap_err(), hint);
        }
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(overlap(at("0.0.0.0:80"), at("127.0.0.1:80")));
        assert!(!overlap(at("0.0.0.0:0"), at("127.0.0.1:0")));
        assert!(reaches("localhost", 80, at("0.0.0.0:80")) && reaches("127.0.0.1", 80, at("127.0.0.1:80")));
        assert!(!reaches("10.0.0.1", 80, at("127.0.0.1:80")) && !reaches("items", 80, at("0.0.0.0:80")));
    }

    #[test]
    fn hosts() {
        assert_eq!(served_host("Items.Example.com").unwrap(), "items.example.com");
        assert_eq!(served_host("[::1]").unwrap(), "[::1]");
        for bad in [
            "",
            "a:80",
            "https://a",
            "a/b",
            "*.a",
            "a.",
            ".a",
            "::1",
            "a b",
            "ü.example",
            "[::1]:80",
        ] {
            assert!(served_host(bad).is_err(), "{bad}");
        }
    }
}

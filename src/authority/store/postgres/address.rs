//! The address of a PostgreSQL server, as libpq writes it: `postgres://user:password@host/database`.
//!
//! Made by `config`, used by [`super::Postgres`]. It must never show the password: not in a fault, not in a log, not at
//! `/config`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};

use super::TIMEOUT;

/// Where a server is, as whom it is spoken to, and how. Shows itself without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresAddress {
    config: Config,
    root_certificates: Option<PathBuf>,
}

/// A connection that is silent for so long is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);
const NO_ADDRESS: &str = "is no address of PostgreSQL that is understood";

impl PostgresAddress {
    /// Reads an address. `sslmode` is `disable`, `require` or `verify-full`; with TLS the certificate and its name are
    /// always checked, against `sslrootcert` or what the system trusts. Without `sslmode` a server on this machine is
    /// spoken to in cleartext, any other with TLS.
    ///
    /// # Errors
    /// What is wrong with it, without a part of it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (text, tls) = without_tls(text)?;
        let mut config = Config::from_str(&text).map_err(|_may_quote_it| NO_ADDRESS)?;
        if config.get_hosts().is_empty() {
            return Err("names no host");
        }
        if config.get_ssl_negotiation() != SslNegotiation::Postgres {
            return Err("has an `sslnegotiation` that is not supported");
        }
        let mode = tls.mode.unwrap_or_else(|| {
            if config.get_hosts().iter().all(is_local)
                && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
            {
                SslMode::Disable
            } else {
                SslMode::Require
            }
        });
        let hosts = u32::try_from(config.get_hosts().len()).unwrap_or(u32::MAX);
        config
            .ssl_mode(mode)
            // One that is away leaves time for the next.
            .connect_timeout(TIMEOUT / hosts.max(1))
            .tcp_user_timeout(2 * TIMEOUT)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(TIMEOUT)
            .keepalives_retries(2);
        if config.get_application_name().is_none() {
            config.application_name("scopegate");
        }
        Ok(Self {
            config,
            root_certificates: tls.root_certificates,
        })
    }

    /// With the password.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether TLS is spoken.
    pub(super) fn has_tls(&self) -> bool {
        self.config.get_ssl_mode() == SslMode::Require
    }

    /// A file with the certificates that are trusted instead of those of the system.
    pub(super) fn root_certificates(&self) -> Option<&PathBuf> {
        self.root_certificates.as_ref()
    }
}

/// What of the address is not for the driver: it knows no `verify-full`, and would take `prefer`.
#[derive(Default)]
struct Tls {
    mode: Option<SslMode>,
    root_certificates: Option<PathBuf>,
}

fn without_tls(text: &str) -> Result<(String, Tls), &'static str> {
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err(NO_ADDRESS);
    }
    // A password may have a question mark.
    let host = text.find('@').unwrap_or(0);
    let Some(at) = text.get(host..).and_then(|rest| rest.find('?')) else {
        return Ok((text.to_owned(), Tls::default()));
    };
    let (address, query) = text.split_at(host + at);
    let mut tls = Tls::default();
    let mut kept = Vec::new();
    for parameter in query.trim_start_matches('?').split('&') {
        match form_urlencoded::parse(parameter.as_bytes()).next() {
            Some((name, value)) if name == "sslmode" => {
                tls.mode = Some(match &*value {
                    "disable" => SslMode::Disable,
                    "require" | "verify-full" => SslMode::Require,
                    _ => return Err("has an `sslmode` other than disable, require and verify-full"),
                });
            }
            Some((name, value)) if name == "sslrootcert" => {
                let path = PathBuf::from(&*value);
                if !path.is_absolute() {
                    return Err("has an `sslrootcert` that is no absolute path");
                }
                tls.root_certificates = Some(path);
            }
            Some(_) => kept.push(parameter),
            None => {}
        }
    }
    let kept = kept.join("&");
    let rest = if kept.is_empty() {
        String::new()
    } else {
        format!("?{kept}")
    };
    Ok((format!("{address}{rest}"), tls))
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        }
    }
}

impl std::fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("postgres://")?;
        let ports = self.config.get_ports();
        for (at, host) in self.config.get_hosts().iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match host {
                Host::Tcp(name) if name.contains(':') => write!(f, "[{name}]")?,
                Host::Tcp(name) => f.write_str(name)?,
                Host::Unix(path) => write!(f, "{}", path.display())?,
            }
            if let Some(port) = ports.get(at).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        write!(f, "/{}", self.config.get_dbname().unwrap_or_default())
    }
}

impl std::fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_spoken_beyond_this_machine() {
        for (text, shown, has_tls) in [
            (
                "postgres://u:hush@db.example/gate",
                "postgres://db.example/gate",
                true,
            ),
            (
                "postgresql://u:hush?@db.example:1/gate?sslmode=disable",
                "postgres://db.example:1/gate",
                false,
            ),
            (
                "postgres://u:hush@127.0.0.1/gate",
                "postgres://127.0.0.1/gate",
                false,
            ),
            (
                "postgres://u:hush@a,127.0.0.1/gate",
                "postgres://a,127.0.0.1/gate",
                true,
            ),
            (
                "postgres://u:hush@localhost/gate?application_name=x&sslmode=verify-full&sslrootcert=%2Fa.pem",
                "postgres://localhost/gate",
                true,
            ),
            (
                "postgres:///gate?host=/run/postgresql&user=u",
                "postgres:///run/postgresql/gate",
                false,
            ),
        ] {
            let address = PostgresAddress::parse(text).unwrap();
            assert_eq!(format!("{address}"), shown);
            assert_eq!(format!("{address:?}"), shown, "no password in it");
            assert_eq!(address.has_tls(), has_tls, "{text}");
        }
    }

    #[test]
    fn a_fault_quotes_nothing() {
        for (text, fault) in [
            ("postgres://u:hush@h:port/x", NO_ADDRESS),
            ("postgres://u:hush@h/x?hush=1", NO_ADDRESS),
            ("mysql://u:hush@h/x", NO_ADDRESS),
            ("postgres:///x", "names no host"),
            ("postgres://h/x?sslmode=prefer", "has an `sslmode` other than"),
            (
                "postgres://h/x?sslrootcert=a.pem",
                "has an `sslrootcert` that is no absolute path",
            ),
        ] {
            let found = PostgresAddress::parse(text).unwrap_err();
            assert!(found.starts_with(fault), "{text}: {found}");
        }
    }
}

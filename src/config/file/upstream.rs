//! Upstreams as they are written.

use schemars::JsonSchema;

use super::super::faults::Fault;
use super::super::reader::{FromNode, Keys, Mirror, Placed, misshapen};
use super::super::values::Period;
use crate::definition::{Node, Value, refuse_null, wrong_kind};

/// The address of one server, or servers and how they are used.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(in super::super) enum Upstream {
    /// `http://host:port`, `https://host:port` or `unix:PATH`.
    Url(String),
    /// Servers and how they are used.
    Servers(Box<UpstreamServers>),
}

impl FromNode for Upstream {
    fn from_node(key: &str, node: &Node, faults: &mut Vec<Fault>) -> Option<Self> {
        match node.value {
            Value::Text(_) => String::from_node(key, node, faults).map(Self::Url),
            Value::Map(_) => UpstreamServers::from_node(key, node, faults)
                .map(Box::new)
                .map(Self::Servers),
            _ => {
                faults.push(misshapen(&wrong_kind(key, node, "an address or a mapping")));
                None
            }
        }
    }
}

/// The servers of an API, and how they are used.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct UpstreamServers {
    /// `http://host:port`, `https://host:port` or `unix:PATH` each; `https` for all or for none.
    #[schemars(length(min = 1, max = 256))]
    pub(in super::super) servers: Vec<Placed<String>>,
    /// Whether the servers speak HTTP/2: agreed on by ALPN with `https`, by prior knowledge otherwise. Default: false.
    pub(in super::super) http2: Option<bool>,
    /// How certificates of `https` servers are checked, and what they are shown.
    pub(in super::super) tls: Option<Placed<UpstreamTls>>,
    /// Until a connection stands, with its TLS handshake. Default 1s.
    pub(in super::super) connect_timeout: Option<Placed<Period>>,
    /// Until the response head is there. Default 15s.
    pub(in super::super) timeout: Option<Placed<Period>>,
    /// Between two parts of a body. Default 60s.
    pub(in super::super) idle_timeout: Option<Placed<Period>>,
    /// How the servers are asked whether they are well. Default: they are not asked.
    pub(in super::super) health: Option<Health>,
    /// When a server is passed over because of what requests met there.
    pub(in super::super) ejection: Option<Ejection>,
    /// Requests that may wait for a connection, per server and worker. Default 1024; 0: none waits.
    pub(in super::super) max_waiting: Option<Placed<u64>>,
    /// How long they may wait. Default 1s.
    pub(in super::super) waiting_timeout: Option<Placed<Period>>,
}

impl Mirror for UpstreamServers {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let servers = keys.required("servers");
        let read = Self {
            servers: Vec::new(),
            http2: keys.optional("http2"),
            tls: keys.optional("tls"),
            connect_timeout: keys.optional("connect_timeout"),
            timeout: keys.optional("timeout"),
            idle_timeout: keys.optional("idle_timeout"),
            health: keys.optional("health"),
            ejection: keys.optional("ejection"),
            max_waiting: keys.optional("max_waiting"),
            waiting_timeout: keys.optional("waiting_timeout"),
        };
        Some(Self {
            servers: servers?,
            ..read
        })
    }
}

/// How certificates of servers are checked, and what they are shown.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct UpstreamTls {
    /// A file of PEM certificates to trust instead of the system's.
    pub(in super::super) ca: Option<Placed<String>>,
    /// The name that the certificates must be for. Default: the host of each server.
    pub(in super::super) server_name: Option<Placed<String>>,
    /// A PEM file with the client certificate that is shown to the servers, and what leads to its authority.
    pub(in super::super) certificate: Option<Placed<String>>,
    /// A PEM file with the key of the client certificate.
    pub(in super::super) private_key: Option<Placed<String>>,
}

impl Mirror for UpstreamTls {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        Some(Self {
            ca: keys.optional("ca"),
            server_name: keys.optional("server_name"),
            certificate: keys.optional("certificate"),
            private_key: keys.optional("private_key"),
        })
    }
}

/// How servers are asked whether they are well.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Health {
    /// What is asked for, with GET.
    #[schemars(regex(pattern = "^/"))]
    pub(in super::super) path: Placed<String>,
    /// Between two checks, give or take a tenth. Default 10s.
    pub(in super::super) interval: Option<Placed<Period>>,
    /// From connect to the response head. Default 2s.
    pub(in super::super) timeout: Option<Placed<Period>>,
    /// So many good answers in a row make a server well again. Default 2.
    pub(in super::super) healthy: Option<Placed<u64>>,
    /// So many bad ones make it unwell. Default 3.
    pub(in super::super) unhealthy: Option<Placed<u64>>,
    /// The statuses that are good. Default: 200 to 299.
    #[schemars(length(min = 1))]
    pub(in super::super) statuses: Option<Vec<Placed<u64>>>,
}

impl Mirror for Health {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let path = keys.required("path");
        let interval = keys.optional("interval");
        let timeout = keys.optional("timeout");
        let healthy = keys.optional("healthy");
        let unhealthy = keys.optional("unhealthy");
        let statuses = keys.optional("statuses");
        Some(Self {
            path: path?,
            interval,
            timeout,
            healthy,
            unhealthy,
            statuses,
        })
    }
}

/// When a server is passed over because of what requests met there.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Ejection {
    /// So many connections refused or broken off in a row. Default 5; 0: never.
    pub(in super::super) failures: Option<Placed<u64>>,
    /// For how long the first time; doubled each further time until a request is answered. Default 10s.
    pub(in super::super) time: Option<Placed<Period>>,
    /// The longest time. Default 5m.
    pub(in super::super) max_time: Option<Placed<Period>>,
}

impl Mirror for Ejection {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        Some(Self {
            failures: keys.optional("failures"),
            time: keys.optional("time"),
            max_time: keys.optional("max_time"),
        })
    }
}

//! Whether the servers of upstreams are well: asks those that are to be asked, and shows what is known of all.
//!
//! `reconcile` owns the one [`Servers`] there is. What is known of a server outlives a reload for as long as the server
//! and its check stay the same. Readiness does not depend on it: a gateway whose upstream is down still has an answer
//! to give, and taking it out of service would take the answer away.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use tokio::task::JoinHandle;

use super::jwks::jittered;
use crate::net::{Destination, probe};
use crate::snapshot::{Endpoint, HealthPlan, Plan, ServerHealth, Snapshot, UpstreamPlan};
use crate::telemetry::Metrics;

/// A server, and how it is asked.
type Key = (Endpoint, Option<HealthPlan>);

/// What is known of the servers of a plan, by server.
pub(super) type Known = HashMap<Key, Arc<ServerHealth>>;

/// The servers of the plan in force.
#[derive(Debug, Default)]
pub(super) struct Servers {
    servers: HashMap<Key, Server>,
}

#[derive(Debug)]
struct Server {
    health: Arc<ServerHealth>,
    /// `None` where the server is not asked.
    _check: Option<RunningCheck>,
}

/// Ends the check when it is dropped.
#[derive(Debug)]
struct RunningCheck(JoinHandle<()>);

impl Drop for RunningCheck {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Servers {
    /// What is known of the servers of a plan: nothing, of those that are new.
    pub(super) fn of(&self, plan: &Plan) -> Known {
        keys(plan)
            .map(|key| {
                let health = self
                    .servers
                    .get(&key)
                    .map(|server| Arc::clone(&server.health))
                    .unwrap_or_default();
                (key, health)
            })
            .collect()
    }

    /// Begins to ask the servers that are new, and forgets those that are gone.
    pub(super) fn replace(&mut self, known: Known) {
        let mut old = std::mem::take(&mut self.servers);
        for (key, health) in known {
            let server = old.remove(&key).unwrap_or_else(|| Server {
                _check: key.1.clone().map(|plan| {
                    let check = Check {
                        endpoint: key.0.clone(),
                        plan,
                        health: Arc::clone(&health),
                    };
                    RunningCheck(tokio::spawn(check.run()))
                }),
                health,
            });
            self.servers.insert(key, server);
        }
    }

    /// Shows which servers are used. Called every second, because an ejection ends by itself.
    pub(super) fn report(&self, metrics: &Metrics) {
        let now = Instant::now();
        // The same server may be there twice, asked in two ways: it is well where both say so.
        let mut healthy = BTreeMap::<String, bool>::new();
        for ((endpoint, _), server) in &self.servers {
            let is_used = !server.health.is_down() && !server.health.is_ejected(|| now);
            *healthy.entry(endpoint.address.to_string()).or_insert(true) &= is_used;
        }
        for (name, is_healthy) in healthy {
            metrics.upstream_is_healthy(&name, is_healthy);
        }
    }
}

/// Puts what is known into a snapshot of the plan.
pub(super) fn fill_in(snapshot: &mut Snapshot, plan: &Plan, known: &Known) {
    for (target, api) in snapshot.targets.iter_mut().zip(&plan.apis) {
        for server in &mut target.servers {
            let key = (server.endpoint.clone(), api.upstream.health.clone());
            if let Some(health) = known.get(&key) {
                server.health = Arc::clone(health);
            }
        }
    }
}

fn keys(plan: &Plan) -> impl Iterator<Item = Key> {
    let of = |upstream: &UpstreamPlan| -> Vec<Key> {
        let servers = upstream.servers.iter();
        servers
            .map(|server| (upstream.endpoint(server), upstream.health.clone()))
            .collect()
    };
    plan.apis.iter().flat_map(move |api| of(&api.upstream))
}

/// Asks one server again and again.
struct Check {
    endpoint: Endpoint,
    plan: HealthPlan,
    health: Arc<ServerHealth>,
}

impl Check {
    async fn run(self) {
        let destination = Destination::new(&self.endpoint);
        let mut tally = Tally::default();
        loop {
            let deadline = tokio::time::Instant::now() + self.plan.timeout;
            let answer = probe(&destination, &self.endpoint, &self.plan.path, deadline).await;
            let is_good = answer.as_ref().is_ok_and(|status| self.is_good(*status));
            if let Some(is_down) = tally.count(is_good, &self.plan)
                && self.health.set_down(is_down)
            {
                let server = &self.endpoint.address;
                match answer {
                    Ok(status) if is_down => tracing::warn!(%server, %status, "upstream server is unhealthy"),
                    Err(error) => tracing::warn!(%server, %error, "upstream server is unhealthy"),
                    Ok(_) => tracing::info!(%server, "upstream server is healthy again"),
                }
            }
            tokio::time::sleep(jittered(self.plan.interval)).await;
        }
    }

    fn is_good(&self, status: StatusCode) -> bool {
        match self.plan.statuses.as_slice() {
            [] => status.is_success(),
            statuses => statuses.contains(&status),
        }
    }
}

/// Answers of one kind in a row.
#[derive(Debug, Default)]
struct Tally {
    last: Option<bool>,
    in_a_row: u32,
}

impl Tally {
    /// Counts one more answer. Returns whether the server is down, where that can be said now: the very first answer
    /// says so at once.
    fn count(&mut self, is_good: bool, plan: &HealthPlan) -> Option<bool> {
        let is_first = self.last.is_none();
        if self.last == Some(is_good) {
            self.in_a_row = self.in_a_row.saturating_add(1);
        } else {
            self.last = Some(is_good);
            self.in_a_row = 1;
        }
        let needed = if is_good { plan.healthy } else { plan.unhealthy };
        (is_first || self.in_a_row >= needed).then_some(!is_good)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn plan() -> HealthPlan {
        HealthPlan {
            path: "/".parse().unwrap(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy: 2,
            unhealthy: 3,
            statuses: Vec::new(),
        }
    }

    #[test]
    fn the_first_answer_decides_and_then_the_thresholds() {
        let mut tally = Tally::default();
        let mut count = |is_good| tally.count(is_good, &plan());
        assert_eq!(count(false), Some(true));
        assert_eq!((count(true), count(true)), (None, Some(false)));
        assert_eq!((count(false), count(false), count(true)), (None, None, None));
        assert_eq!(
            (count(false), count(false), count(false)),
            (None, None, Some(true))
        );
    }
}

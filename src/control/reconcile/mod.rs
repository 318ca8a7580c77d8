//! The single writer of the snapshot.
//!
//! New configuration comes in from `app` (and later from the authority), new keys from the key tasks. Whatever comes,
//! the whole is compiled anew and published whole, or nothing is: after a fault the last good generation goes on. It
//! must never wait for the network; the key tasks do that.

mod issuer;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::clock::unix_now;
use crate::control::health::{Known, Servers, fill_in};
use crate::control::jwks::Confirmed;
use crate::control::{IssuerSettings, KeySource};
use crate::snapshot::handoff::{KeyMisses, Publisher};
use crate::snapshot::{ClaimsOf, CompileFault, CompileSettings, IssuerKeys, Plan, Snapshot, compile};
use crate::telemetry::{Metrics, Readiness};
use issuer::Issuer;
pub(super) use issuer::{KeyReport, KeyReports};

/// Makes the writer: the handle that others send to, and the loop, which must run on the control runtime. The loop, and
/// with it every key task, ends when every handle is gone.
pub fn reconciler(settings: ReconcileSettings) -> (Reconciler, impl Future<Output = ()> + Send) {
    let (plans, new_plans) = mpsc::channel(QUEUE);
    let (reports, new_keys) = mpsc::channel(QUEUE);
    let state = State {
        settings,
        reports,
        plan: Plan::default(),
        hash: Arc::from(""),
        issuers: HashMap::new(),
        servers: Servers::default(),
        is_configured: false,
        next_task: 0,
    };
    (Reconciler { plans }, state.run(new_plans, new_keys))
}

/// What the writer works with.
#[derive(Debug)]
pub struct ReconcileSettings {
    /// The only one there is.
    pub publisher: Publisher,
    /// `limits.token_bytes`.
    pub max_token_bytes: usize,
    /// Where to count.
    pub metrics: Metrics,
    /// Gets one condition per issuer that has never had keys.
    pub readiness: Readiness,
}

/// Sends to the writer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reconciler {
    plans: mpsc::Sender<PlanMessage>,
}

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct NewPlan {
    /// The policy.
    pub plan: Plan,
    /// The same issuers as `plan.issuers`.
    pub issuers: Vec<IssuerSettings>,
    /// Of the content it came from. The same hash with the same issuers changes nothing.
    pub hash: String,
}

/// Why a plan did not take effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The plan cannot be enforced.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faults(Vec<CompileFault>),
    /// The writer has ended.
    #[error("the control loop has ended")]
    Ended,
}

#[derive(Debug)]
enum PlanMessage {
    Apply {
        plan: Box<NewPlan>,
        reply: oneshot::Sender<Result<u64, ApplyError>>,
    },
    Rejected,
}

impl Reconciler {
    /// Puts a configuration in force. Returns the generation that is then in force.
    ///
    /// # Errors
    /// [`ApplyError`]; what was in force still is.
    pub async fn apply(&self, plan: NewPlan) -> Result<u64, ApplyError> {
        let (reply, answer) = oneshot::channel();
        let message = PlanMessage::Apply {
            plan: Box::new(plan),
            reply,
        };
        self.plans
            .send(message)
            .await
            .map_err(|_ended| ApplyError::Ended)?;
        answer.await.unwrap_or(Err(ApplyError::Ended))
    }

    /// Notes that a configuration did not get as far as a plan, so that the metrics say that the last reload failed.
    pub async fn rejected(&self) {
        // Without a writer there is nothing left to note it in.
        let _ = self.plans.send(PlanMessage::Rejected).await;
    }
}

#[derive(Debug)]
struct State {
    settings: ReconcileSettings,
    reports: mpsc::Sender<KeyReport>,
    plan: Plan,
    hash: Arc<str>,
    issuers: HashMap<String, Issuer>,
    servers: Servers,
    /// Whether a plan has ever taken effect.
    is_configured: bool,
    next_task: u64,
}

impl State {
    async fn run(mut self, mut plans: mpsc::Receiver<PlanMessage>, mut keys: mpsc::Receiver<KeyReport>) {
        let mut every_second = tokio::time::interval(Duration::from_secs(1));
        every_second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every_second.tick() => self.servers.report(&self.settings.metrics),
                message = plans.recv() => match message {
                    Some(PlanMessage::Apply { plan, reply }) => {
                        let applied = self.apply(*plan);
                        let _ = reply.send(applied);
                    }
                    Some(PlanMessage::Rejected) => self.settings.metrics.config_last_reload_successful.set(0),
                    None => return,
                },
                // The state holds a sender, so there is always a next report.
                Some(report) = keys.recv() => self.keys_changed(report),
            }
        }
    }

    fn apply(&mut self, new: NewPlan) -> Result<u64, ApplyError> {
        if self.is_in_force(&new) {
            self.reloaded();
            return Ok(self.generation());
        }
        let keys: HashMap<String, IssuerKeys> = new
            .issuers
            .iter()
            .map(|issuer| (issuer.issuer.clone(), self.keys_for(issuer)))
            .collect();
        let hash = Arc::from(new.hash);
        let known = self.servers.of(&new.plan);
        let snapshot = self.compile(&new.plan, &keys, &known, &hash).map_err(|faults| {
            self.settings.metrics.config_last_reload_successful.set(0);
            ApplyError::Faults(faults)
        })?;
        self.plan = new.plan;
        self.hash = hash;
        self.is_configured = true;
        self.publish(snapshot);
        self.replace_issuers(new.issuers, keys);
        self.servers.replace(known);
        self.servers.report(&self.settings.metrics);
        self.drop_vanished_series();
        self.reloaded();
        Ok(self.generation())
    }

    fn is_in_force(&self, new: &NewPlan) -> bool {
        self.is_configured
            && *self.hash == *new.hash
            && self.issuers.len() == new.issuers.len()
            && new.issuers.iter().all(|issuer| self.unchanged(issuer).is_some())
    }

    fn unchanged(&self, settings: &IssuerSettings) -> Option<&Issuer> {
        self.issuers
            .get(&settings.issuer)
            .filter(|issuer| issuer.settings == *settings)
    }

    /// What is known of an issuer's keys under new settings: all of it where they are the old ones, the keys where at
    /// least the keys come from where they came from, nothing otherwise.
    fn keys_for(&self, settings: &IssuerSettings) -> IssuerKeys {
        if let Some(issuer) = self.unchanged(settings) {
            return issuer.keys.clone();
        }
        let trusted_alike = self.issuers.get(&settings.issuer).filter(|issuer| {
            issuer.settings.source == settings.source && issuer.settings.jwks.ca == settings.jwks.ca
        });
        IssuerKeys {
            keys: trusted_alike.and_then(|issuer| issuer.keys.keys.clone()),
            misses: match settings.source {
                // Other keys in a configuration are another source: what was read before is not carried over.
                Some(KeySource::Inline(_)) => KeyMisses::unchanging(),
                _ => KeyMisses::new(settings.jwks.cooldown),
            },
        }
    }

    fn replace_issuers(&mut self, settings: Vec<IssuerSettings>, mut keys: HashMap<String, IssuerKeys>) {
        let mut old = std::mem::take(&mut self.issuers);
        let mut retired = Vec::new();
        for settings in settings {
            let known = old.remove(&settings.issuer);
            let issuer = match (known, keys.remove(&settings.issuer)) {
                (Some(known), _) if known.settings == settings => known,
                (known, Some(keys)) => {
                    let confirmed = known
                        .as_ref()
                        .map(|known| known.confirmed.clone())
                        .unwrap_or_default();
                    // Its condition must not end before the new one begins.
                    retired.extend(known);
                    self.start(settings, keys, confirmed)
                }
                // The same issuer twice; `config` does not let that through.
                (_, None) => continue,
            };
            self.issuers.insert(issuer.settings.issuer.clone(), issuer);
        }
        // What is left in `old` is gone or has changed: dropping it ends its task and its condition.
    }

    fn start(&mut self, settings: IssuerSettings, keys: IssuerKeys, confirmed: Confirmed) -> Issuer {
        self.next_task = self.next_task.wrapping_add(1);
        let reports = KeyReports::new(self.next_task, &settings.issuer, self.reports.clone());
        let ReconcileSettings {
            metrics, readiness, ..
        } = &self.settings;
        Issuer::start(settings, keys, confirmed, reports, metrics, readiness)
    }

    fn keys_changed(&mut self, report: KeyReport) {
        let Some(issuer) = self.issuers.get_mut(&*report.issuer) else {
            return;
        };
        // A task that was replaced may have left a report behind.
        if !issuer.is_of(&report) {
            return;
        }
        issuer.keys.keys = report.keys;
        let missing = if issuer.keys.keys.is_some() {
            issuer.missing.take()
        } else {
            None
        };
        let keys: HashMap<String, IssuerKeys> = self
            .issuers
            .iter()
            .map(|(name, issuer)| (name.clone(), issuer.keys.clone()))
            .collect();
        match self.compile(&self.plan, &keys, &self.servers.of(&self.plan), &self.hash) {
            Ok(snapshot) => self.publish(snapshot),
            Err(faults) => tracing::error!(?faults, "the plan in force does not compile with new keys"),
        }
        // Ready only now that a request can use them.
        drop(missing);
        let _ = report.published.send(());
    }

    fn compile(
        &self,
        plan: &Plan,
        keys: &HashMap<String, IssuerKeys>,
        known: &Known,
        hash: &Arc<str>,
    ) -> Result<Snapshot, Vec<CompileFault>> {
        let settings = CompileSettings {
            generation: self.generation().saturating_add(1),
            config_hash: Arc::clone(hash),
            max_token_bytes: self.settings.max_token_bytes,
            claims: ClaimsOf::Requests,
        };
        let mut snapshot = compile(plan, keys, &settings)?;
        fill_in(&mut snapshot, plan, known);
        Ok(snapshot)
    }

    fn generation(&self) -> u64 {
        self.settings.publisher.current().generation
    }

    fn publish(&mut self, snapshot: Snapshot) {
        let generation = snapshot.generation;
        self.settings.publisher.publish(snapshot);
        self.settings.metrics.config_in_force(generation, &self.hash);
        tracing::info!(generation, hash = %self.hash, "in force");
    }

    fn reloaded(&self) {
        let now = unix_now();
        self.settings.metrics.config_last_reload_successful.set(1);
        self.settings
            .metrics
            .config_last_reload_success_timestamp
            .set(now);
    }

    fn drop_vanished_series(&self) {
        let apis = &self.plan.apis;
        let routes: HashSet<(&str, &str)> = apis
            .iter()
            .flat_map(|api| {
                api.routes
                    .iter()
                    .map(|route| (&*api.definition.identifier, route.pattern.as_str()))
            })
            // Requests that meet no route are counted without one.
            .chain([("", "")])
            .collect();
        let issuers: HashSet<&str> = self.issuers.keys().map(String::as_str).collect();
        let servers: HashSet<String> = apis
            .iter()
            .flat_map(|api| &api.upstream.servers)
            .map(ToString::to_string)
            .collect();
        self.settings.metrics.retain_routes(&routes);
        self.settings.metrics.retain_issuers(&issuers);
        self.settings
            .metrics
            .retain_upstreams(&servers.iter().map(String::as_str).collect());
    }
}

/// Messages that wait for the writer; a sender beyond waits too.
const QUEUE: usize = 64;

#[cfg(test)]
mod tests;

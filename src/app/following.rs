//! Follows the definitions of a tenant elsewhere, on the control runtime, and tells the control thread of changes.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::config::{Followed, Settings};
use crate::control::{DefinitionsSettings, FollowMetrics, ManagementClient, follow_tenant};
use crate::net::{ClientTls, Fetcher, TrustError};
use crate::snapshot::DefinitionOrigin;
use crate::telemetry::Metrics;

/// Longer than a tenant may take to tell that nothing has changed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whom it follows, and for which APIs. Ends with this.
pub(super) struct Following {
    settings: DefinitionsSettings,
    followed: Followed,
    tell: watch::Sender<()>,
    metrics: FollowMetrics,
    identifiers: BTreeSet<String>,
    task: Option<AbortHandle>,
}

impl Following {
    /// Follows nothing yet; `None` where there is nobody to follow.
    pub(super) fn new(
        settings: &Settings,
        followed: Followed,
        tell: watch::Sender<()>,
        metrics: &Metrics,
    ) -> Option<Self> {
        Some(Self {
            settings: settings.definitions.clone()?,
            followed,
            tell,
            metrics: FollowMetrics {
                fetches: metrics.definition_fetches.clone(),
                last_success: metrics.definitions_last_success.clone(),
            },
            identifiers: BTreeSet::new(),
            task: None,
        })
    }

    /// Follows the APIs of these settings; goes on as before where they are the same. Must run on the control runtime.
    pub(super) fn follow(&mut self, settings: &Settings) {
        let apis = settings.plan.apis.iter();
        let identifiers: BTreeSet<String> = apis
            .filter(|api| api.origin != DefinitionOrigin::Here)
            .map(|api| api.definition.identifier.clone())
            .collect();
        if identifiers == self.identifiers {
            return;
        }
        self.stop();
        self.identifiers = identifiers;
        if self.identifiers.is_empty() {
            return;
        }
        let fetcher = match fetcher(&self.settings) {
            Ok(fetcher) => fetcher,
            Err(error) => return tracing::error!(%error, "cannot follow definitions"),
        };
        let client = ManagementClient::new(self.settings.credentials.clone(), fetcher);
        let (followed, tell) = (self.followed.clone(), self.tell.clone());
        let told = move |definitions| {
            if followed.replace(definitions) {
                tell.send_replace(());
            }
        };
        let identifiers = self.identifiers.iter().cloned().collect();
        let following = follow_tenant(
            client,
            self.settings.clone(),
            identifiers,
            self.metrics.clone(),
            told,
        );
        self.task = Some(tokio::spawn(following).abort_handle());
    }

    fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop();
    }
}

fn fetcher(settings: &DefinitionsSettings) -> Result<Fetcher, TrustError> {
    let tls = match &settings.ca {
        Some(ca) => Some(ClientTls::from_file(ca)?),
        None if settings.credentials.issuer.starts_with("https:") => Some(ClientTls::system()?),
        None => None,
    };
    Ok(Fetcher::new(tls, PATIENCE, false))
}

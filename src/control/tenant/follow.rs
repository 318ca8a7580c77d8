//! Follows the definitions of a tenant: learns of changes at once where the tenant can tell, and asks now and then where
//! it cannot.
//!
//! What was learned last is kept in a file, so that a start without the tenant has something to enforce. A tenant that
//! does not answer changes nothing; one that says that an API is gone does.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ETAG, HeaderName, IF_NONE_MATCH};
use http::{HeaderValue, Method, StatusCode};
use prometheus::{IntCounterVec, IntGauge};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::client::{CallError, ManagementClient, Said, TenantCredentials, path_segment};
use crate::clock::unix_now;

/// Where definitions that are followed come from.
#[derive(Clone, Debug)]
pub struct DefinitionsSettings {
    /// Who asks whom.
    pub credentials: TenantCredentials,
    /// How often a tenant is asked that cannot tell of changes. Default 30 s.
    pub poll: Duration,
    /// PEM certificates to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Where the last good definitions are kept; `None`: nowhere.
    pub kept_in: Option<PathBuf>,
}

/// What is counted.
#[derive(Clone, Debug)]
pub struct FollowMetrics {
    /// By `result`.
    pub fetches: IntCounterVec,
    /// Unix seconds.
    pub last_success: IntGauge,
}

/// Resource-server objects by identifier.
pub(super) type Followed = HashMap<String, Arc<Value>>;

/// Identifiers in one question: what the Management API takes.
const AT_ONCE: usize = 10;
/// How long a tenant that can tell of changes is waited for.
const WAIT: &str = "wait=20";
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LAST_BACK_OFF: Duration = Duration::from_secs(60);

/// Follows these APIs for as long as it runs; `told` gets all of them whenever one may have changed.
pub async fn follow_tenant(
    client: ManagementClient,
    settings: DefinitionsSettings,
    identifiers: Vec<String>,
    metrics: FollowMetrics,
    told: impl Fn(Followed),
) {
    let mut known: Vec<(Followed, Option<HeaderValue>)> = identifiers
        .chunks(AT_ONCE)
        .map(|_| (Followed::new(), None))
        .collect();
    // More questions than one cannot all be waited for, one after another.
    let can_wait = known.len() == 1;
    let mut back_off = FIRST_BACK_OFF;
    loop {
        let begun = Instant::now();
        let mut tells = false;
        let mut failure = None;
        for (chunk, (known, tag)) in identifiers.chunks(AT_ONCE).zip(&mut known) {
            match ask(&client, chunk, tag.as_ref(), can_wait).await {
                Ok(News::None { waited }) => tells |= waited,
                Ok(News::All { definitions, new_tag }) => {
                    tells |= new_tag.is_some() && can_wait;
                    *known = definitions;
                    *tag = new_tag;
                }
                Err(error) => failure = Some(error),
            }
        }
        let Some(error) = failure else {
            metrics.fetches.with_label_values(&["ok"]).inc();
            metrics.last_success.set(unix_now());
            let all: Followed = known
                .iter()
                .flat_map(|(known, _)| known.iter().map(|(name, one)| (name.clone(), Arc::clone(one))))
                .collect();
            keep(settings.kept_in.as_deref(), &all);
            told(all);
            back_off = FIRST_BACK_OFF;
            if !tells {
                sleep(settings.poll).await;
            } else if begun.elapsed() < Duration::from_millis(100) {
                // Whatever answers at once without news must not be asked in a circle.
                sleep(Duration::from_millis(100)).await;
            }
            continue;
        };
        metrics.fetches.with_label_values(&["failed"]).inc();
        let wait = match &error {
            CallError::Token { retry_after, .. } | CallError::Refused { retry_after, .. } => *retry_after,
            CallError::Fetch(_) | CallError::Argument(_) | CallError::Unexpected => None,
        };
        let wait = wait.unwrap_or(Duration::ZERO).max(back_off);
        tracing::warn!(issuer = client.issuer(), %error, ?wait, "cannot follow definitions; the last ones stay in force");
        sleep(wait).await;
        back_off = (back_off * 2).min(LAST_BACK_OFF);
    }
}

/// What was kept of an earlier run; empty where there is nothing that can be read.
pub fn kept(path: &Path) -> Followed {
    let Ok(content) = std::fs::read(path) else {
        return Followed::new();
    };
    match serde_json::from_slice::<HashMap<String, Value>>(&content) {
        Ok(kept) => kept
            .into_iter()
            .map(|(name, one)| (name, Arc::new(one)))
            .collect(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the kept definitions cannot be read");
            Followed::new()
        }
    }
}

enum News {
    /// The same as before.
    None {
        /// Whether the tenant took its time over it.
        waited: bool,
    },
    All {
        definitions: Followed,
        new_tag: Option<HeaderValue>,
    },
}

async fn ask(
    client: &ManagementClient,
    identifiers: &[String],
    tag: Option<&HeaderValue>,
    can_wait: bool,
) -> Result<News, CallError> {
    let mut fields = Vec::new();
    if let Some(tag) = tag {
        fields.push((IF_NONE_MATCH, tag.clone()));
        if can_wait {
            fields.push((HeaderName::from_static("prefer"), HeaderValue::from_static(WAIT)));
        }
    }
    let query: Vec<String> = identifiers
        .iter()
        .map(|identifier| format!("identifiers={}", path_segment(identifier)))
        .collect();
    let path = format!("resource-servers?per_page=100&{}", query.join("&"));
    let said = client.call(Method::GET, &path, None, &fields).await?;
    if said.status == StatusCode::NOT_MODIFIED {
        let waited = said.headers.contains_key("preference-applied");
        return Ok(News::None { waited });
    }
    definitions(said, identifiers)
}

fn definitions(said: Said, identifiers: &[String]) -> Result<News, CallError> {
    let Value::Array(found) = said.body else {
        return Err(CallError::Unexpected);
    };
    let named = found.into_iter().filter_map(|one| {
        let identifier = one.get("identifier")?.as_str()?.to_owned();
        identifiers
            .contains(&identifier)
            .then(|| (identifier, Arc::new(one)))
    });
    Ok(News::All {
        definitions: named.collect(),
        new_tag: said.headers.get(ETAG).cloned(),
    })
}

/// Written beside and renamed, so that there is always a whole file. Only its owner can read it: a definition may have a
/// signing secret.
fn keep(path: Option<&Path>, definitions: &Followed) {
    let Some(path) = path else { return };
    let sorted: BTreeMap<&str, &Value> = definitions
        .iter()
        .map(|(name, one)| (name.as_str(), &**one))
        .collect();
    let Ok(content) = serde_json::to_vec(&sorted) else {
        return;
    };
    if std::fs::read(path).is_ok_and(|kept| kept == content) {
        return;
    }
    if let Err(error) = replace(path, &content) {
        tracing::warn!(path = %path.display(), %error, "the definitions cannot be kept");
    }
}

fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let beside = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

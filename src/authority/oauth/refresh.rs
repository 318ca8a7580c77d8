//! Refresh tokens: families, rotation, and what becomes of a token that was used before.
//!
//! All tokens of one login are one family, kept as one object of the store, which has hashes of tokens and no token. A
//! change to a family is made on what the store has, so of two uses at the same time one comes second and sees the
//! first. Everything up to the store is pure.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::fault::Fault;
use crate::authority::ids::{self, NoRandomness};
use crate::authority::model::{Body, Client, Kind, Object, Tenant};
use crate::authority::{State, StoreError, WriteError};
use crate::token::{Thumbprint, UnixSeconds};

/// The tokens of one login.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Family {
    pub(super) client_id: String,
    pub(super) user_id: String,
    /// The identifier of the API.
    pub(super) audience: String,
    /// What was granted at the login; later there may be less, never more.
    pub(super) scopes: Vec<String>,
    created_at: UnixSeconds,
    used_at: UnixSeconds,
    /// Hashes of the tokens that may be used. More than one where a token was used again within its leeway.
    live: Vec<String>,
    /// Hashes of those that were replaced last.
    #[serde(default)]
    replaced: Vec<String>,
    #[serde(default)]
    replaced_at: UnixSeconds,
    /// The thumbprint of the key that the tokens of a public client are bound to (RFC 9449 section 5).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    key: Option<String>,
}

/// A token: which family, and the secret.
pub(super) struct RefreshToken {
    family: String,
    secret: Zeroizing<String>,
}

/// The settings of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Each token is good for one use.
    rotates: bool,
    /// Seconds in which a token that was replaced may be used again.
    leeway: i64,
    /// Seconds since the login; `None`: no end.
    lifetime: Option<i64>,
    /// Seconds since the last use; `None`: no end.
    idle: Option<i64>,
}

/// What a token of a family is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may be used.
    Live,
    /// It was replaced a moment ago, and may be used once more.
    InLeeway,
    /// It was replaced: either it or its successor is in the wrong hands.
    Reused,
    /// The family is over.
    Expired,
}

/// What came of a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// There is a new token.
    Rotated,
    /// The token stays as it is.
    Kept,
    /// Refused; the family is no more.
    Ended,
}

impl RefreshToken {
    /// A fresh token of a family; of a new one without.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub(super) fn fresh(family: Option<&str>) -> Result<Self, NoRandomness> {
        Ok(Self {
            family: match family {
                Some(family) => family.to_owned(),
                None => ids::alphanumeric(FAMILY)?,
            },
            secret: ids::alphanumeric(SECRET)?.into(),
        })
    }

    /// Reads a token; `None`: none of ours.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (family, secret) = text.strip_prefix(PREFIX)?.split_once('.')?;
        let is_ours = |part: &str, length| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        (is_ours(family, FAMILY) && is_ours(secret, SECRET)).then(|| Self {
            family: family.to_owned(),
            secret: secret.to_owned().into(),
        })
    }

    /// The text that a client gets.
    pub(super) fn text(&self) -> String {
        format!("{PREFIX}{}.{}", self.family, self.secret.as_str())
    }

    /// The id of the family.
    pub(super) fn family(&self) -> &str {
        &self.family
    }

    fn hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(Thumbprint::of(self.secret.as_bytes()).0)
    }
}

impl Rules {
    /// Those of a client. One that says nothing has tokens that stay, and have no end.
    pub(super) fn of(client: &Client) -> Self {
        let settings = client.document.get("refresh_token");
        let get = |name: &str| settings.and_then(|settings| settings.get(name));
        let is = |name: &str, text: &str| get(name).and_then(Value::as_str) == Some(text);
        let seconds = |name: &str, otherwise: i64| {
            let value = get(name).and_then(Value::as_i64);
            value.unwrap_or(otherwise).max(0)
        };
        let limit = |infinite: &str, name: &str, otherwise| {
            let is_infinite = get(infinite).is_some_and(|infinite| *infinite == true);
            (is("expiration_type", "expiring") && !is_infinite).then(|| seconds(name, otherwise))
        };
        Self {
            rotates: is("rotation_type", "rotating"),
            leeway: seconds("leeway", 0),
            lifetime: limit("infinite_token_lifetime", "token_lifetime", LIFETIME),
            idle: limit("infinite_idle_token_lifetime", "idle_token_lifetime", IDLE),
        }
    }
}

impl Family {
    /// A family with its first token.
    pub(super) fn new(
        (client_id, user_id, audience): (&str, &str, &str),
        scopes: &[String],
        key: Option<Thumbprint>,
        token: &RefreshToken,
        now: UnixSeconds,
    ) -> Self {
        Self {
            client_id: client_id.into(),
            user_id: user_id.into(),
            audience: audience.into(),
            scopes: scopes.to_vec(),
            created_at: now,
            used_at: now,
            live: vec![token.hash()],
            replaced: Vec::new(),
            replaced_at: 0,
            key: key.map(|key| URL_SAFE_NO_PAD.encode(key.0)),
        }
    }

    /// Whether somebody with this key, or none, may use it.
    pub(super) fn is_bound_to(&self, key: Option<Thumbprint>) -> bool {
        let Some(bound) = &self.key else {
            return true;
        };
        key.is_some_and(|key| URL_SAFE_NO_PAD.encode(key.0) == *bound)
    }

    /// What a token is good for now. A secret that the family does not know is one that it knew: nobody else knows the
    /// id of a family.
    pub(super) fn standing(&self, token: &RefreshToken, rules: Rules, now: UnixSeconds) -> Standing {
        let hash = token.hash();
        let is_among = |hashes: &[String]| {
            hashes
                .iter()
                .any(|known| verify_slices_are_equal(known.as_bytes(), hash.as_bytes()).is_ok())
        };
        if self.has_expired(rules, now) {
            Standing::Expired
        } else if is_among(&self.live) {
            Standing::Live
        } else if is_among(&self.replaced) && now < self.replaced_at.saturating_add(rules.leeway) {
            Standing::InLeeway
        } else {
            Standing::Reused
        }
    }

    fn has_expired(&self, rules: Rules, now: UnixSeconds) -> bool {
        let is_past = |since: UnixSeconds, limit: Option<i64>| {
            limit.is_some_and(|limit| now >= since.saturating_add(limit))
        };
        is_past(self.created_at, rules.lifetime) || is_past(self.used_at, rules.idle)
    }

    /// Whether none of its tokens will ever be good again.
    fn is_over(&self, tenant: &Tenant, now: UnixSeconds) -> bool {
        match (tenant.client(&self.client_id), tenant.user(&self.user_id)) {
            (Some(client), Some(_)) => self.has_expired(Rules::of(client), now),
            // Gone, or made on another replica a moment ago.
            _ => now >= self.created_at.saturating_add(SETTLED),
        }
    }

    /// The family after a use of a token, where `fresh` is the next one. `None`: it is over.
    fn used(
        &self,
        token: &RefreshToken,
        fresh: &RefreshToken,
        rules: Rules,
        now: UnixSeconds,
    ) -> Option<Self> {
        let mut next = self.clone();
        next.used_at = now;
        match self.standing(token, rules, now) {
            Standing::Live if rules.rotates => {
                next.replaced = std::mem::replace(&mut next.live, vec![fresh.hash()]);
                next.replaced_at = now;
            }
            Standing::Live => {}
            Standing::InLeeway => {
                if next.live.len() >= SIBLINGS {
                    return None;
                }
                next.live.push(fresh.hash());
            }
            Standing::Reused | Standing::Expired => return None,
        }
        Some(next)
    }

    /// Whether a use has to be written down although the token stays.
    pub(super) fn has_to_be_written(&self, rules: Rules, now: UnixSeconds) -> bool {
        rules.rotates || (rules.idle.is_some() && now >= self.used_at.saturating_add(USE_GRAIN))
    }

    /// As it is kept.
    pub(super) fn object(&self, id: &str) -> Object {
        Object::new(Kind::RefreshFamily, id, Body::open(self))
    }
}

/// Looks a family up.
///
/// # Errors
/// [`Fault::Ours`]; the log says why.
pub(super) async fn find(state: &State, id: &str) -> Result<Option<Family>, Fault> {
    let object = state.unheld(Kind::RefreshFamily, id).await;
    let object = object.map_err(|error| ours(&error))?;
    let family = object.and_then(|object| read(&object));
    Ok(family)
}

/// Adds a family.
///
/// # Errors
/// [`Fault::Ours`]; the log says why.
pub(super) async fn add(state: &State, id: &str, family: &Family) -> Result<(), Fault> {
    let written = state.write_unheld(Kind::RefreshFamily, id, |_tenant, _stored| {
        Ok::<_, Fault>(((), family.object(id)))
    });
    written.await.map_err(refused)
}

/// Uses a token, where `fresh` is the next one. A token that is no good ends its family.
///
/// # Errors
/// [`Fault::RefreshToken`] where there is no family any more; [`Fault::Ours`].
pub(super) async fn turn(
    state: &State,
    token: &RefreshToken,
    fresh: &RefreshToken,
    rules: Rules,
    now: UnixSeconds,
) -> Result<Use, Fault> {
    let id = token.family();
    let written = state.write_unheld(Kind::RefreshFamily, id, |_tenant, stored| {
        let family = stored.and_then(read).ok_or(Fault::RefreshToken)?;
        Ok(match family.used(token, fresh, rules, now) {
            Some(next) if rules.rotates => (Use::Rotated, next.object(id)),
            Some(next) => (Use::Kept, next.object(id)),
            None => (Use::Ended, Object::deleted(Kind::RefreshFamily, id)),
        })
    });
    written.await.map_err(refused)
}

/// Ends a family.
///
/// # Errors
/// [`Fault::Ours`]; the log says why.
pub(super) async fn end(state: &State, id: &str) -> Result<(), Fault> {
    let written = state.write_unheld(Kind::RefreshFamily, id, |_tenant, _stored| {
        Ok::<_, Fault>(((), Object::deleted(Kind::RefreshFamily, id)))
    });
    written.await.map_err(refused)
}

/// Removes the families that are over.
///
/// # Errors
/// The store failed.
pub(in crate::authority) async fn sweep(state: &State, now: UnixSeconds) -> Result<u64, StoreError> {
    let is_over =
        |tenant: &Tenant, object: &Object| read(object).is_some_and(|family| family.is_over(tenant, now));
    state.sweep(Kind::RefreshFamily, is_over).await
}

/// One that cannot be read was written by another version: as good as none.
fn read(object: &Object) -> Option<Family> {
    let body = object.body.as_ref()?;
    match body.read(Kind::RefreshFamily, &object.id) {
        Ok(family) => Some(family),
        Err(error) => {
            tracing::error!(why = %error.why, "cannot read a family of refresh tokens");
            None
        }
    }
}

fn refused(error: WriteError<Fault>) -> Fault {
    match error {
        WriteError::Refused(fault) => fault,
        WriteError::Store(error) => ours(&error),
        WriteError::Unreadable(error) => ours(&error),
    }
}

fn ours(error: &dyn std::fmt::Display) -> Fault {
    tracing::error!(%error, "the store of the refresh tokens failed");
    Fault::Ours
}

const PREFIX: &str = "v1.";
/// Letters and digits: 131 bits.
const FAMILY: usize = 22;
/// Letters and digits: 256 bits.
const SECRET: usize = 43;
/// Tokens that may be live at a time.
const SIBLINGS: usize = 10;
/// Seconds: a use is written down this often where nothing but its time changes.
const USE_GRAIN: i64 = 60;
/// Seconds, after which every replica knows what one of them knew.
const SETTLED: i64 = 3_600;
/// Seconds, where a client has tokens that expire and does not say when.
const LIFETIME: i64 = 31_557_600;
const IDLE: i64 = 2_592_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: UnixSeconds = 1_000_000;

    fn rules(settings: &Value) -> Rules {
        let document = json!({ "refresh_token": settings });
        Rules::of(&Client::new("c1", document.as_object().cloned().unwrap(), None))
    }

    fn rotating(leeway: i64) -> Rules {
        rules(&json!({
            "rotation_type": "rotating", "expiration_type": "expiring", "leeway": leeway,
            "token_lifetime": 1_000, "idle_token_lifetime": 100,
        }))
    }

    fn family() -> (Family, RefreshToken) {
        let token = RefreshToken::fresh(None).unwrap();
        let scopes = ["offline_access".to_owned()];
        (
            Family::new(("c1", "auth0|1", "urn:items"), &scopes, None, &token, NOW),
            token,
        )
    }

    fn next(token: &RefreshToken) -> RefreshToken {
        RefreshToken::fresh(Some(token.family())).unwrap()
    }

    #[test]
    fn settings() {
        let forever = Rules {
            rotates: false,
            leeway: 0,
            lifetime: None,
            idle: None,
        };
        assert_eq!(
            Rules::of(&Client::new("c1", serde_json::Map::new(), None)),
            forever
        );
        assert_eq!(
            rules(&json!({
                "rotation_type": "non-rotating", "expiration_type": "non-expiring", "token_lifetime": 5,
                "infinite_token_lifetime": true, "infinite_idle_token_lifetime": true, "idle_token_lifetime": 5,
            })),
            forever
        );
        assert_eq!(
            rules(&json!({ "rotation_type": "rotating", "expiration_type": "expiring", "leeway": -1 })),
            Rules {
                rotates: true,
                leeway: 0,
                lifetime: Some(LIFETIME),
                idle: Some(IDLE),
            }
        );
        assert_eq!(
            rules(&json!({
                "expiration_type": "expiring", "infinite_token_lifetime": true, "idle_token_lifetime": 7,
            })),
            Rules {
                idle: Some(7),
                ..forever
            }
        );
    }

    #[test]
    fn tokens_are_read_strictly_and_leave_no_trace() {
        let token = RefreshToken::fresh(None).unwrap();
        let text = token.text();
        let again = RefreshToken::read(&text).unwrap();
        assert_eq!((again.family(), again.hash()), (token.family(), token.hash()));
        for spoiled in [
            "",
            "v1.",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}x"),
            &text.replace('.', "-"),
        ] {
            assert!(RefreshToken::read(spoiled).is_none(), "{spoiled}");
        }
        let (family, token) = family();
        let kept = format!("{:?}", family.object(token.family()).body.unwrap());
        assert!(!kept.contains(token.secret.as_str()), "{kept}");
    }

    #[test]
    fn rotation_without_leeway() {
        let (family, first) = family();
        let second = next(&first);
        let turned = family.used(&first, &second, rotating(0), NOW + 10).unwrap();
        assert_eq!(turned.standing(&second, rotating(0), NOW + 10), Standing::Live);
        // Even in the same second.
        assert_eq!(turned.standing(&first, rotating(0), NOW + 10), Standing::Reused);
        assert_eq!(turned.used(&first, &next(&first), rotating(0), NOW + 10), None);
    }

    #[test]
    fn a_leeway_lets_the_last_one_come_again() {
        let (family, first) = family();
        let (second, third, fourth) = (next(&first), next(&first), next(&first));
        let rules = rotating(10);
        let turned = family.used(&first, &second, rules, NOW).unwrap();
        let turned = turned.used(&first, &third, rules, NOW + 9).unwrap();
        // Whichever of the two a client has kept, it may use.
        for kept in [&second, &third] {
            let later = turned.used(kept, &fourth, rules, NOW + 50).unwrap();
            assert_eq!(later.standing(&fourth, rules, NOW + 50), Standing::Live);
            assert_eq!(later.standing(&second, rules, NOW + 59), Standing::InLeeway);
            assert_eq!(later.standing(&third, rules, NOW + 60), Standing::Reused);
            assert_eq!(later.standing(&first, rules, NOW + 50), Standing::Reused);
        }
        assert_eq!(turned.standing(&first, rules, NOW + 10), Standing::Reused);
        // There is a bound on how many there can be.
        let mut many = turned;
        let outcome = (0..SIBLINGS).try_for_each(|_| {
            many = many.used(&first, &next(&first), rules, NOW + 9)?;
            Some(())
        });
        assert_eq!(outcome, None);
    }

    #[test]
    fn ends() {
        let (family, first) = family();
        let second = next(&first);
        let rules = rotating(0);
        assert_eq!(family.standing(&first, rules, NOW + 99), Standing::Live);
        assert_eq!(family.standing(&first, rules, NOW + 100), Standing::Expired);
        // A use makes it live on, up to its whole lifetime.
        let mut family = family;
        let mut token = first;
        for _ in 0..10 {
            let fresh = next(&token);
            family = family.used(&token, &fresh, rules, family.used_at + 90).unwrap();
            token = fresh;
        }
        assert_eq!(family.used_at, NOW + 900);
        assert_eq!(family.standing(&token, rules, NOW + 999), Standing::Live);
        assert_eq!(family.standing(&token, rules, NOW + 1_000), Standing::Expired);
        assert_eq!(family.used(&token, &second, rules, NOW + 1_000), None);
    }

    #[test]
    fn what_is_swept() {
        let (family, _) = family();
        let object = |kind, id: &str, body: Value| Object::new(kind, id, Body::open(&body));
        let client = json!({ "document": {
            "refresh_token": { "expiration_type": "expiring", "token_lifetime": 100 },
        }, "credentials": [] });
        let client = object(Kind::Client, "c1", client);
        let user = json!({ "document": {}, "roles": [], "permissions": [] });
        let user = object(Kind::User, "auth0|1", user);
        let both = Tenant::default()
            .with(1, &[client.clone(), user.clone()])
            .unwrap();
        assert!(!family.is_over(&both, NOW + 99));
        assert!(family.is_over(&both, NOW + 100));
        for one in [client, user] {
            let tenant = Tenant::default().with(1, &[one]).unwrap();
            assert!(!family.is_over(&tenant, NOW + 3_599));
            assert!(family.is_over(&tenant, NOW + 3_600));
        }
    }

    #[test]
    fn tokens_that_stay() {
        let (family, token) = family();
        let rules = rules(&json!({ "expiration_type": "expiring", "idle_token_lifetime": 100 }));
        assert!(!family.has_to_be_written(rules, NOW + 59));
        assert!(family.has_to_be_written(rules, NOW + 60));
        let used = family.used(&token, &next(&token), rules, NOW + 60).unwrap();
        assert_eq!(used.standing(&token, rules, NOW + 159), Standing::Live);
        assert_eq!(used.standing(&token, rules, NOW + 160), Standing::Expired);
    }

    #[test]
    fn keys() {
        let (mut family, _) = family();
        let key = Thumbprint([1; 32]);
        assert!(family.is_bound_to(None) && family.is_bound_to(Some(key)));
        family.key = Some(URL_SAFE_NO_PAD.encode(key.0));
        assert!(family.is_bound_to(Some(key)));
        assert!(!family.is_bound_to(None) && !family.is_bound_to(Some(Thumbprint([2; 32]))));
    }
}

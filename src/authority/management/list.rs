//! Lists in their three shapes: a bare array, an object with the total, and pages that each name the next.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::refusal::Refusal;
use crate::authority::Answer;

/// Entries of a page, where nobody says how many.
const PAGE: usize = 50;

/// A list of all that was found. `key` is unique and says where a page begins; `show` is called for one page only.
pub(super) fn answer<T>(
    call: &Call<'_>,
    name: &str,
    mut found: Vec<T>,
    key: impl Fn(&T) -> String,
    show: impl Fn(&T) -> Value,
) -> Result<Answer, Refusal> {
    if call.text("from").is_some() || call.number("take").is_some() {
        found.sort_by_cached_key(&key);
        return from_here(call, name, &found, key, show);
    }
    let (page, per_page) = (
        call.number("page").unwrap_or(0),
        call.number("per_page").unwrap_or(PAGE),
    );
    let start = page.saturating_mul(per_page);
    let shown: Vec<Value> = found.iter().skip(start).take(per_page).map(show).collect();
    if call.flag("include_totals") != Some(true) {
        return Ok(Answer::json(StatusCode::OK, &Value::Array(shown)));
    }
    let mut envelope = Map::from_iter([
        ("total".to_owned(), json!(found.len())),
        ("start".to_owned(), json!(start)),
        ("limit".to_owned(), json!(per_page)),
    ]);
    envelope.insert(name.to_owned(), Value::Array(shown));
    Ok(Answer::json(StatusCode::OK, &Value::Object(envelope)))
}

fn from_here<T>(
    call: &Call<'_>,
    name: &str,
    found: &[T],
    key: impl Fn(&T) -> String,
    show: impl Fn(&T) -> Value,
) -> Result<Answer, Refusal> {
    let begin = match call.text("from") {
        None => 0,
        Some(from) => {
            let after = URL_SAFE_NO_PAD
                .decode(from)
                .map_err(|_error| Refusal::Query("'Not the next of a page' on property from".into()))?;
            found.partition_point(|one| key(one).as_bytes() <= after.as_slice())
        }
    };
    let take = call.number("take").unwrap_or(PAGE);
    let shown: Vec<&T> = found.iter().skip(begin).take(take).collect();
    let mut envelope = Map::new();
    if let Some(last) = shown.last()
        && begin.saturating_add(shown.len()) < found.len()
    {
        envelope.insert("next".into(), Value::from(URL_SAFE_NO_PAD.encode(key(last))));
    }
    let shown = shown.into_iter().map(show).collect();
    envelope.insert(name.to_owned(), Value::Array(shown));
    Ok(Answer::json(StatusCode::OK, &Value::Object(envelope)))
}

/// The members that `fields` and `include_fields` leave of an object.
pub(super) fn with_fields(call: &Call<'_>, mut shown: Map<String, Value>) -> Value {
    if let Some(fields) = call.text("fields") {
        let named: Vec<&str> = fields.split(',').map(str::trim).collect();
        let is_included = call.flag("include_fields").unwrap_or(true);
        shown.retain(|name, _| named.contains(&name.as_str()) == is_included);
    }
    Value::Object(shown)
}

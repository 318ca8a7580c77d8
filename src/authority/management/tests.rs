//! What cannot be seen from outside in good time: a bucket that is empty.

use std::time::Instant;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::super::{AuthoritySettings, EncryptionKey, StoreAddress, oauth};
use super::*;
use crate::definition::Secret;

fn request(method: Method, path: &str, headers: HeaderMap, body: String) -> Request {
    Request {
        method,
        path: path.into(),
        query: String::new(),
        headers,
        body: Bytes::from(body),
        peer: "127.0.0.1:1".parse().unwrap(),
        tls: None,
    }
}

#[test]
fn a_client_with_an_empty_bucket_waits_and_others_do_not() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let settings = AuthoritySettings {
            address: "127.0.0.1:1".parse().unwrap(),
            tls: None,
            issuer: "http://127.0.0.1:1/".into(),
            store: StoreAddress::Memory,
            encryption_key: EncryptionKey::Given(Secret::new("0123456789abcdef0123456789abcdef")),
        };
        let (authority, administrator) = Authority::open(settings).await.unwrap();
        let administrator = administrator.unwrap();
        let asks = json!({
            "grant_type": "client_credentials", "audience": "http://127.0.0.1:1/api/v2/",
            "client_id": administrator.client_id, "client_secret": administrator.client_secret.as_str(),
        });
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
        let token = request(Method::POST, "/oauth/token", headers, asks.to_string());
        let token = oauth::answer(&authority, &token).await;
        let token: Value = serde_json::from_slice(&token.body).unwrap();
        let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(bearer).unwrap())]);
        let list = request(Method::GET, "/api/v2/roles", headers, String::new());

        let meters = &authority.management.meters;
        while !meters.take("somebody else", Instant::now()).is_over {}
        assert_eq!(answer(&authority, &list).await.status, StatusCode::OK);
        // Further into the future than the bucket fills up again while this is asked.
        let future = Instant::now() + std::time::Duration::from_secs(600);
        while !meters.take(&administrator.client_id, future).is_over {}
        let refused = answer(&authority, &list).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers.get(REMAINING).unwrap(), "0");
        let body: Value = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!(
            body,
            json!({
                "statusCode": 429, "error": "Too Many Requests",
                "message": "Global limit has been reached", "errorCode": "too_many_requests",
            })
        );
    });
}

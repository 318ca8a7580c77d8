//! The Management API through real sockets: what it accepts, what it answers, what it refuses.

use super::harness::{RunningAuthority, client};

#[test]
fn the_authority_answers_with_its_keys() {
    let authority = RunningAuthority::start();
    let answer = client::get(authority.address, "/.well-known/jwks.json", &[]);
    assert_eq!(answer.status, 200);
    let keys: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    assert!(!authority.client_id.is_empty() && !authority.client_secret.is_empty());
}

//! API keys: `Authorization` lines, one for each line of the input, the input as a header of its own, as credentials in
//! base64, and as the answer of a token endpoint.

#![no_main]
#![allow(clippy::unwrap_used, clippy::panic)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use scopegate::token::{ApiKey, MAX_API_KEY, PresentedKey, TokenAnswer, basic_key, header_key};

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(key)) = basic_key(data.split(|&byte| byte == b'\n')) {
        look(key);
    }
    look(header_key(std::iter::once(data)).unwrap().unwrap());
    let basic = format!("Basic {}", STANDARD.encode(data));
    let presented = basic_key(std::iter::once(basic.as_bytes())).unwrap().unwrap();
    if let Some(key) = look(presented) {
        // Written with every byte escaped it is the same key.
        let anew = format!(
            "Basic {}",
            STANDARD.encode(format!("{}:{}", escaped(key.client_id()), escaped(key.expose_secret())))
        );
        if anew.len() - 6 <= MAX_API_KEY {
            let anew = basic_key(std::iter::once(anew.as_bytes())).unwrap().unwrap().read().unwrap();
            assert_eq!(
                (anew.client_id(), anew.expose_secret()),
                (key.client_id(), key.expose_secret())
            );
        }
    }
    let _ = TokenAnswer::read_error(401, data);
    let _ = TokenAnswer::read_error(400, data);
    if let Some(TokenAnswer::Granted(token, _)) = TokenAnswer::read(data) {
        assert!(token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
        let _ = token.says_it_ends(Some(60));
    }
});

fn look(key: PresentedKey<'_>) -> Option<ApiKey> {
    let key = key.read().ok()?;
    for part in [key.client_id(), key.expose_secret()] {
        assert!(!part.is_empty() && !part.contains(char::is_control));
    }
    assert!(key.presented().text().unwrap().0.len() <= MAX_API_KEY);
    assert_eq!(key.presented().read().as_ref(), Ok(&key));
    Some(key)
}

fn escaped(part: &str) -> String {
    part.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

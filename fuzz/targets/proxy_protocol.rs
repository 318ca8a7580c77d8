//! The beginning of a connection: no panic, a header is read alike however its bytes arrive, and only within its bounds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scopegate::net::{ProxyVersions, parse_proxy_header};

fuzz_target!(|data: &[u8]| {
    let whole = parse_proxy_header(data, ProxyVersions::Any);
    for cut in 0..data.len().min(300) {
        match parse_proxy_header(&data[..cut], ProxyVersions::Any) {
            Ok(None) => {}
            early => assert_eq!(early, whole),
        }
    }
    let by_version = [ProxyVersions::V1, ProxyVersions::V2].map(|versions| parse_proxy_header(data, versions));
    if let Ok(Some(header)) = whole {
        assert!(header.length <= data.len() && header.length <= 16 + 2_048);
        assert_eq!(by_version.iter().filter(|read| **read == whole).count(), 1);
    }
});

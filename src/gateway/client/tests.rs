//! Which client is seen, and what the upstream is told, by who speaks and in which fields.

use super::*;

const PROXY: &str = "10.0.0.1:1000";
const STRANGER: &str = "192.0.2.9:1000";

fn connection(peer: &str, fields: ForwardedFields) -> Connection {
    let proxies = TrustedProxies::new(vec![
        "10.0.0.0/8".parse().unwrap(),
        "2001:db8:1::/48".parse().unwrap(),
    ]);
    Connection::new(peer.parse().unwrap(), None, &proxies, fields)
}

/// The client, and the fields of the upstream.
fn told(peer: &str, style: ForwardedFields, fields: &[(&'static str, &str)]) -> (String, HeaderMap) {
    let mut sent = HeaderMap::new();
    for (name, value) in fields {
        sent.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let connection = connection(peer, style);
    let origin = connection.origin(&sent);
    let mut upstream = HeaderMap::new();
    upstream.insert(HOST, HeaderValue::from_static("items.test"));
    let mut added = Added::new();
    connection.write(&origin, &upstream, &mut added);
    added.merge_into(&mut upstream);
    (origin.address.to_string(), upstream)
}

#[test]
fn the_rightmost_address_that_is_not_a_proxy() {
    use ForwardedFields::XForwarded;
    for (lines, client, upstream) in [
        (&["192.0.2.1"][..], "192.0.2.1", "192.0.2.1, 10.0.0.1"),
        (&["192.0.2.1:4711"], "192.0.2.1", "192.0.2.1, 10.0.0.1"),
        (&["6.6.6.6, 192.0.2.1"], "192.0.2.1", "192.0.2.1, 10.0.0.1"),
        (
            &["6.6.6.6, 192.0.2.1 , 10.9.9.9"],
            "192.0.2.1",
            "192.0.2.1, 10.9.9.9, 10.0.0.1",
        ),
        (
            &["6.6.6.6", "192.0.2.1", "10.9.9.9"],
            "192.0.2.1",
            "192.0.2.1, 10.9.9.9, 10.0.0.1",
        ),
        (&["::ffff:192.0.2.1"], "192.0.2.1", "192.0.2.1, 10.0.0.1"),
        (
            &["::ffff:10.9.9.9, ::FFFF:10.9.9.8"],
            "10.9.9.9",
            "10.9.9.9, 10.9.9.8, 10.0.0.1",
        ),
        (
            &["[2001:db8::1]:80, 2001:db8:1::2"],
            "2001:db8::1",
            "2001:db8::1, 2001:db8:1::2, 10.0.0.1",
        ),
        (&["192.0.2.1, unknown"], "10.0.0.1", "10.0.0.1"),
        (
            &["192.0.2.1, localhost, 10.9.9.9"],
            "10.9.9.9",
            "10.9.9.9, 10.0.0.1",
        ),
        (&["192.0.2.1,"], "10.0.0.1", "10.0.0.1"),
        (&[""], "10.0.0.1", "10.0.0.1"),
        (&["é"], "10.0.0.1", "10.0.0.1"),
        (&["192.0.2.1\"x"], "10.0.0.1", "10.0.0.1"),
        (&[], "10.0.0.1", "10.0.0.1"),
    ] {
        let fields: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        let (found, written) = told(PROXY, XForwarded, &fields);
        assert_eq!(
            (found.as_str(), written[X_FORWARDED_FOR].to_str().unwrap()),
            (client, upstream),
            "{lines:?}"
        );
        let (found, written) = told(STRANGER, XForwarded, &fields);
        assert_eq!(
            (found.as_str(), written[X_FORWARDED_FOR].to_str().unwrap()),
            ("192.0.2.9", "192.0.2.9")
        );
        assert_eq!(told(PROXY, ForwardedFields::Forwarded, &fields).0, "10.0.0.1");
    }
}

#[test]
fn scheme_and_host_of_a_trusted_peer_are_kept() {
    let fields = [
        ("x-forwarded-proto", "HTTPS"),
        ("x-forwarded-host", "public.test"),
    ];
    let (_, written) = told(PROXY, ForwardedFields::XForwarded, &fields);
    assert_eq!(written[X_FORWARDED_PROTO], "https");
    assert_eq!(written[X_FORWARDED_HOST], "public.test");
    let (_, written) = told(STRANGER, ForwardedFields::XForwarded, &fields);
    assert_eq!(written[X_FORWARDED_PROTO], "http");
    assert_eq!(written[X_FORWARDED_HOST], "items.test");
    for fields in [
        [("x-forwarded-proto", "javascript"), ("x-forwarded-host", "a b")],
        [("x-forwarded-host", "a.test"), ("x-forwarded-host", "b.test")],
    ] {
        let (_, written) = told(PROXY, ForwardedFields::XForwarded, &fields);
        assert_eq!(written[X_FORWARDED_PROTO], "http");
        assert_eq!(written[X_FORWARDED_HOST], "items.test");
        assert!(!written.contains_key(FORWARDED));
    }
}

#[test]
fn forwarded_is_read_and_written() {
    for (line, client, upstream) in [
        (
            "for=192.0.2.1;proto=https;host=public.test",
            "192.0.2.1",
            "for=192.0.2.1;proto=https;host=\"public.test\", for=10.0.0.1",
        ),
        (
            "For=\"[2001:db8::1]:4711\" ; PROTO = \"https\", for=10.9.9.9",
            "2001:db8::1",
            "for=\"[2001:db8::1]\";proto=http;host=\"items.test\", for=10.9.9.9, for=10.0.0.1",
        ),
        (
            "for=6.6.6.6, for=192.0.2.1",
            "192.0.2.1",
            "for=192.0.2.1;proto=http;host=\"items.test\", for=10.0.0.1",
        ),
        (
            "for=\"_a, for=6.6.6.6\"",
            "10.0.0.1",
            "for=10.0.0.1;proto=http;host=\"items.test\"",
        ),
        (
            "for=192.0.2.1, for=unknown",
            "10.0.0.1",
            "for=10.0.0.1;proto=http;host=\"items.test\"",
        ),
        (
            "for=192.0.2.1, for=\"10.9.9.9",
            "10.0.0.1",
            "for=10.0.0.1;proto=http;host=\"items.test\"",
        ),
        (
            "for=\"192.0.2.1\\\"\"",
            "10.0.0.1",
            "for=10.0.0.1;proto=http;host=\"items.test\"",
        ),
    ] {
        let fields = [("forwarded", line), ("x-forwarded-for", "6.6.6.6")];
        let (found, written) = told(PROXY, ForwardedFields::Forwarded, &fields);
        assert_eq!(
            (found.as_str(), written[FORWARDED].to_str().unwrap()),
            (client, upstream),
            "{line}"
        );
        assert!(!written.contains_key(X_FORWARDED_FOR) && !written.contains_key(X_FORWARDED_PROTO));
    }
    let (client, written) = told(
        PROXY,
        ForwardedFields::Both,
        &[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "192.0.2.1")],
    );
    assert_eq!(client, "192.0.2.1");
    assert_eq!(written[X_FORWARDED_FOR], "192.0.2.1, 10.0.0.1");
    assert_eq!(
        written[FORWARDED],
        "for=192.0.2.1;proto=http;host=\"items.test\", for=10.0.0.1"
    );
}

#[test]
fn only_a_trusted_peer_gives_ids() {
    let mut fields = HeaderMap::new();
    fields.insert(X_REQUEST_ID, HeaderValue::from_static("abc-1"));
    let id = |peer: &str, fields: &HeaderMap| {
        let given = connection(peer, ForwardedFields::XForwarded).given_id(fields);
        given.map(|id| id.as_str().to_owned())
    };
    assert_eq!(id(PROXY, &fields).as_deref(), Some("abc-1"));
    assert_eq!(id(STRANGER, &fields), None);
    fields.append(X_REQUEST_ID, HeaderValue::from_static("abc-2"));
    assert_eq!(id(PROXY, &fields), None);
}

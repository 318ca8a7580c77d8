//! The header that is remembered: for whom it is, and who teaches it.

use super::*;

/// What was learned of one header is taken for the same bytes and the same key alone.
#[test]
fn a_known_header_lets_in_nobody_else() {
    let (base, path) = HERE;
    let (mine, other) = (draft(), draft());
    let known = KnownHeader::default();
    let ask = |text: &str, key: &Thumbprint| check(text, key, &known, base, path).map(|_| ());
    let is_known = |draft: &Draft| {
        let header = URL_SAFE_NO_PAD.encode(draft.header.to_string());
        known.key(&header, &draft.key()).is_some()
    };
    // Whoever is refused teaches nothing: another key, or the right one with a wrong signature or a wrong claim.
    let of = |draft: &Draft| draft.sign(&draft.header, &draft.claims);
    assert_eq!(ask(&of(&other), &mine.key()), Err(ProofError::WrongKey));
    let forged = other.sign(&mine.header, &mine.claims);
    let wrong = Err(ProofError::Invalid("its signature is wrong"));
    assert_eq!(ask(&forged, &mine.key()), wrong);
    let mut late = mine.claims.clone();
    late["iat"] = json!(NOW - 61);
    assert_eq!(
        ask(&mine.sign(&mine.header, &late), &mine.key()),
        Err(ProofError::Stale)
    );
    assert!(known.0.get().is_none());

    assert_eq!(ask(&of(&mine), &mine.key()), Ok(()));
    assert!(is_known(&mine));
    assert_eq!(ask(&of(&mine), &mine.key()), Ok(()));
    assert_eq!(ask(&forged, &mine.key()), wrong);
    assert_eq!(ask(&of(&other), &mine.key()), Err(ProofError::WrongKey));
    // The known header where another key is asked for, and a right one that is not the known one.
    assert_eq!(ask(&of(&mine), &other.key()), Err(ProofError::WrongKey));
    assert_eq!(ask(&of(&other), &other.key()), Ok(()));
    assert!(!is_known(&other));
    let mut same_key = mine.header.clone();
    same_key["jwk"]["kid"] = json!("mine");
    assert_eq!(ask(&mine.sign(&same_key, &mine.claims), &mine.key()), Ok(()));
    // Of a long one nothing is kept.
    same_key["jwk"]["kid"] = json!("k".repeat(MAX_KNOWN));
    let fresh = KnownHeader::default();
    let long = mine.sign(&same_key, &mine.claims);
    assert!(check(&long, &mine.key(), &fresh, base, path).is_ok());
    assert!(fresh.0.get().is_none());
    // Another copy of what is known of a token begins anew.
    assert!(known.clone().0.get().is_none());
}

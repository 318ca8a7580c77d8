//! The embedded authorization server: its address, issuer, store and key.

use std::net::SocketAddr;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::super::address::{WebAddress, overlap};
use super::super::faults::Fault;
use super::super::file::Authority;
use super::super::reader::Placed;
use super::super::secret;
use super::super::source::{Files, beside};
use super::listener;
use crate::authority::{AuthoritySettings, EncryptionKey, PostgresAddress, StoreAddress};
use crate::definition::{Place, Secret};
use crate::net::Expiry;

const DEFAULT_STORE: &str = "sqlite:scopegate.db";
/// Bytes of an encryption key.
const KEY_LENGTH: usize = 32;

/// The settings of the authority, and until when its certificates are valid. `taken` are the sockets of the listeners.
pub(super) fn authority(
    written: &Authority,
    taken: &[SocketAddr],
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> (Option<AuthoritySettings>, Vec<Expiry>) {
    let address = listener::address(&written.address, faults);
    let other = address.and_then(|address| taken.iter().find(|other| overlap(**other, address)));
    if let Some(other) = other {
        let message = format!("`address` is already taken by the listener on {other}");
        faults.push(Fault::new(&written.address.place, message));
    }
    issuer(written, faults);
    let store = store(written, files, faults);
    let encryption_key = store
        .as_ref()
        .and_then(|store| encryption_key(written, store, files, faults));
    let tls = written
        .tls
        .as_ref()
        .and_then(|tls| listener::tls(tls, true, files, faults));
    let (tls, expiries) = tls.map_or((None, Vec::new()), |(tls, expiries)| (Some(tls), expiries));
    let settings = address.zip(store).zip(encryption_key);
    let settings = settings.map(|((address, store), encryption_key)| AuthoritySettings {
        address,
        tls,
        issuer: written.issuer.value.clone(),
        store,
        encryption_key,
    });
    (settings, expiries)
}

/// An origin and a slash: every client appends its paths to it.
fn issuer(written: &Authority, faults: &mut Vec<Fault>) {
    let Placed { place, value } = &written.issuer;
    let rule = match WebAddress::parse(value) {
        Err(rule) => rule,
        Ok(address) if address.has_query || address.path != "/" || !value.ends_with('/') => {
            "must be an origin and a slash, such as https://auth.example.com/"
        }
        Ok(_) if value.chars().any(|character| character.is_ascii_uppercase()) => "must be in lower case",
        Ok(address) if !address.https && !address.is_loopback() => {
            "must begin with https:// unless it is on this machine"
        }
        Ok(_) => return,
    };
    faults.push(Fault::new(place, format!("`issuer` {rule}")));
}

fn store(written: &Authority, files: &mut Files<'_>, faults: &mut Vec<Fault>) -> Option<StoreAddress> {
    let (place, text) = match &written.store {
        Some(store) => (&store.place, store.value.as_str()),
        None => (&written.address.place, DEFAULT_STORE),
    };
    match text.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => Some(StoreAddress::Sqlite(beside(place, path))),
        None if text == "memory" => Some(StoreAddress::Memory),
        Some(("postgres" | "postgresql", _)) => postgres(place, text, faults),
        Some(("env" | "file", _)) => {
            let secret = secret::resolve("store", written.store.as_ref()?, files, faults)?;
            let text = str::from_utf8(secret.expose()).unwrap_or_default();
            postgres(place, text.trim(), faults)
        }
        _ => {
            let fault = Fault::new(place, "`store` names no store that is known");
            faults.push(fault.with_hint(
                "sqlite:PATH, postgres://USER@HOST/DATABASE, env:NAME or file:PATH of such an address, or memory",
            ));
            None
        }
    }
}

/// An address of PostgreSQL, which no fault quotes: it may have a password.
fn postgres(place: &Place, text: &str, faults: &mut Vec<Fault>) -> Option<StoreAddress> {
    match PostgresAddress::parse(text) {
        Ok(address) => Some(StoreAddress::Postgres(Box::new(address))),
        Err(rule) => {
            let fault = Fault::new(place, format!("the address of `store` {rule}"));
            faults.push(fault.with_hint("postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full"));
            None
        }
    }
}

fn encryption_key(
    written: &Authority,
    store: &StoreAddress,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<EncryptionKey> {
    if let Some(reference) = &written.encryption_key {
        let secret = secret::resolve("encryption_key", reference, files, faults)?;
        let key = decoded(&secret);
        if key.is_none() {
            let message = format!("the key that `encryption_key` refers to is not {KEY_LENGTH} bytes");
            let hint = "in hexadecimal or base64; make one with: openssl rand -hex 32";
            faults.push(Fault::new(&reference.place, message).with_hint(hint));
        }
        return key.map(EncryptionKey::Given);
    }
    Some(match store {
        StoreAddress::Postgres(_) => {
            let place = written
                .store
                .as_ref()
                .map_or(&written.address.place, |store| &store.place);
            let fault = Fault::new(
                place,
                "`encryption_key` is missing: all replicas of a PostgreSQL store need the same",
            );
            faults.push(
                fault.with_hint("env:NAME or file:PATH of 32 bytes; make them with: openssl rand -hex 32"),
            );
            return None;
        }
        StoreAddress::Memory => EncryptionKey::Ephemeral,
        StoreAddress::Sqlite(path) => {
            let mut name = path.clone().into_os_string();
            name.push(".key");
            EncryptionKey::Kept(PathBuf::from(name))
        }
    })
}

/// 64 hexadecimal digits, or base64 of either alphabet.
fn decoded(secret: &Secret) -> Option<Secret> {
    let text = std::str::from_utf8(secret.expose()).ok()?.trim();
    let hexadecimal = || -> Option<Vec<u8>> {
        (text.len() == 2 * KEY_LENGTH).then_some(())?;
        (0..KEY_LENGTH)
            .map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
            .collect()
    };
    let base64 = || {
        let standard = STANDARD.decode(text);
        standard.or_else(|_error| URL_SAFE_NO_PAD.decode(text)).ok()
    };
    let bytes = Zeroizing::new(hexadecimal().or_else(base64)?);
    (bytes.len() == KEY_LENGTH).then(|| Secret::new(bytes.as_slice()))
}

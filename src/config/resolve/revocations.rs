//! Revoked tokens: the file, its bound, and who may push.

use super::super::bounds::count;
use super::super::faults::Fault;
use super::super::file::{Admin, File, Push};
use super::super::reader::Placed;
use super::super::secret;
use super::super::source::{Files, beside};
use crate::control::{PushSettings, RevocationSettings};
use crate::token::Revocation;

/// The fewest bytes of a secret that is shown with each push.
const SHORTEST_SECRET: usize = 32;

/// What `revocations` means; `None` where nothing is written, or it is at fault.
pub(super) fn revocations(
    file: &File,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<RevocationSettings> {
    let written = file.revocations.as_ref()?;
    if !written.value.has_source {
        let fault = Fault::new(&written.place, "`revocations` needs `file` or `push`");
        faults.push(fault);
        return None;
    }
    let entries = count(
        "entries",
        written.value.entries.as_ref(),
        100_000,
        (1, 1_000_000),
        faults,
    );
    let path = written.value.file.as_ref().map(|path| {
        let list = beside(&path.place, &path.value);
        // Watched on its own: a list that changes is no new configuration.
        if let Some(content) = files.peek(&list, &path.place, faults) {
            check(&content, entries, path, faults);
        }
        list
    });
    let push = written.value.push.as_ref();
    Some(RevocationSettings {
        file: path,
        entries,
        push: push.and_then(|push| self::push(push, file, files, faults)),
    })
}

fn check(content: &[u8], entries: usize, path: &Placed<String>, faults: &mut Vec<Fault>) {
    match Revocation::read_all(content) {
        Ok(list) if list.len() > entries => {
            let message = format!("{} has {} entries; the most is {entries}", path.value, list.len());
            faults.push(Fault::new(&path.place, message).with_hint("set revocations.entries"));
        }
        Ok(_) => {}
        Err(fault) => {
            let message = format!("{} is no list of revocations: {fault}", path.value);
            faults.push(Fault::new(&path.place, message));
        }
    }
}

fn push(
    push: &Placed<Push>,
    file: &File,
    files: &mut Files<'_>,
    faults: &mut Vec<Fault>,
) -> Option<PushSettings> {
    if matches!(file.admin, Some(Admin::Off(_))) {
        let fault = Fault::new(&push.place, "`push` needs the admin listener, which is off");
        faults.push(fault.with_hint("set admin.address"));
    }
    let reference = &push.value.secret;
    let secret = secret::resolve("secret", reference, files, faults)?;
    let length = secret.expose().len();
    if length < SHORTEST_SECRET || secret::is_well_known(&secret) {
        let message = format!(
            "the secret of `push` has {length} bytes, or is a sample; it needs at least {SHORTEST_SECRET}"
        );
        let hint = "make one with: openssl rand -base64 48";
        faults.push(Fault::new(&reference.place, message).with_hint(hint));
    }
    if !secret.expose().iter().all(u8::is_ascii_graphic) {
        let message = "the secret of `push` must be visible ASCII without spaces: it is sent in a header";
        faults.push(Fault::new(&reference.place, message));
    }
    let store = push.value.store.as_ref();
    Some(PushSettings {
        secret,
        store: store.map(|store| beside(&store.place, &store.value)),
    })
}

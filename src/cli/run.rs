//! `scopegate run`: the gateway until it is told to end.
//!
//! SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reads the configuration again.

use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Outcome, load, say};
use crate::app::{self, Origin, Running};

/// The exit code after too many panics (`EX_SOFTWARE` of sysexits.h).
const PANICS: i32 = 70;

/// Runs until a signal ends it.
pub fn run(path: &Path) -> Outcome {
    let Some(settings) = load(path) else {
        return Outcome::Failed;
    };
    let signals = Signals::new();
    let (runtime, mut signals) = match signals {
        Ok(ready) => ready,
        Err(error) => {
            say(&format!("scopegate: cannot listen for signals: {error}"));
            return Outcome::Failed;
        }
    };
    let running = match app::start(&settings, Some(Origin::file(path))) {
        Ok(running) => running,
        Err(error) => {
            say(&format!("scopegate: {error}"));
            return Outcome::Failed;
        }
    };
    running.end_process_after_panics(PANICS);
    for address in running.addresses() {
        tracing::info!(%address, "listening");
    }
    if let Some(address) = running.admin() {
        tracing::info!(%address, "admin");
    }
    #[cfg(feature = "authority")]
    announce_authority(&settings, &running);
    let outcome = runtime.block_on(async {
        tokio::select! {
            () = signals.until_end(Some(&running)) => Outcome::Good,
            () = running.lost() => Outcome::Failed,
        }
    });
    if outcome == Outcome::Failed {
        tracing::error!("the control thread has ended unexpectedly: the process ends, to be started anew");
    }
    // Whoever asks twice does not want to wait for requests in flight. The same signals are listened to, so that none
    // is missed in between.
    let second = std::thread::spawn(move || {
        runtime.block_on(signals.until_asked_again());
        std::process::exit(130);
    });
    let cut = running.shut_down();
    tracing::info!(cut, "ended");
    drop(second);
    outcome
}

/// Where the authority is, and at its first start who may administer it: on standard output, once, and in no log.
#[cfg(feature = "authority")]
fn announce_authority(settings: &crate::config::Settings, running: &Running) {
    use std::io::Write as _;

    let (Some(authority), Some(address)) = (&settings.authority, running.authority_address()) else {
        return;
    };
    tracing::info!(%address, issuer = %authority.issuer, "authority");
    let Some(administrator) = running.administrator() else {
        return;
    };
    let mut out = std::io::stdout().lock();
    let written = writeln!(
        out,
        "\
The authority has made its administrator. This is shown once:
  SCOPEGATE_ISSUER={}
  SCOPEGATE_CLIENT_ID={}
  SCOPEGATE_CLIENT_SECRET={}",
        authority.issuer,
        administrator.client_id,
        administrator.client_secret.as_str()
    );
    if written.and_then(|()| out.flush()).is_err() {
        tracing::warn!("the administrator of the authority could not be shown");
    }
}

/// The signals that matter to a running gateway.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens from now on; signals are waited for on the runtime.
    pub(super) fn new() -> std::io::Result<(tokio::runtime::Runtime, Self)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let guard = runtime.enter();
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        };
        drop(guard);
        Ok((runtime, signals))
    }

    /// Waits for the end; reloads when told to.
    pub(super) async fn until_end(&mut self, running: Option<&Running>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => if let Some(running) = running { running.reload() },
            }
        }
    }

    /// Waits for one more request to end.
    async fn until_asked_again(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

//! The commands, one file each; this file parses the arguments and turns what came of a command into an exit code.
//!
//! 0 good, 1 configuration, 2 usage, 3 denied. Results go to standard output, everything else to standard error.

pub mod check;
#[cfg(feature = "authority")]
pub mod demo;
pub mod explain;
pub mod health;
pub mod manage;
pub mod run;
pub mod schema;
mod signing;

use std::collections::HashMap;
use std::io::{self, IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::config::{self, Settings, System};
use crate::control::fetch_keys;
use crate::token::KeySet;
use explain::{Described, ExplainError};

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Enforces an API definition in front of the API.
#[derive(Debug, Parser)]
#[command(name = "scopegate", version, about, max_term_width = 100)]
struct Arguments {
    /// Text on a terminal, JSON otherwise.
    #[arg(long, global = true, value_enum, env = "SCOPEGATE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    /// error, warn, info, debug, trace, or directives such as `info,scopegate::control=debug`.
    #[arg(long, global = true, default_value = "info", env = "SCOPEGATE_LOG_LEVEL")]
    log_level: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything embedded on loopback: an authority, an API, the gateway; prints requests to try.
    Demo {
        /// Where the gateway listens. Another port is taken where this one is in use.
        #[arg(long, default_value = "127.0.0.1:8080")]
        address: SocketAddr,
        /// Gateway and authority speak TLS, with certificates that are made for it.
        #[arg(long)]
        tls: bool,
    },
    /// Runs the gateway.
    Run {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Validates a configuration; prints every fault, or what each route asks.
    Check {
        #[command(flatten)]
        config: ConfigArgument,
        /// How the result is printed.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Decides on a described request, and says which check fails. Exit code 0 allowed, 3 denied.
    Explain(ExplainArguments),
    /// Prints the JSON Schema of the configuration.
    Schema,
    /// APIs of an authority: create, list, show, update, delete.
    Api {
        #[command(flatten)]
        connection: manage::Connection,
        #[command(subcommand)]
        command: manage::ApiCommand,
    },
    /// Permissions of an API: create, list, delete.
    Permission {
        #[command(flatten)]
        connection: manage::Connection,
        #[command(subcommand)]
        command: manage::PermissionCommand,
    },
    /// Machine-to-machine applications: create, list, show, update, rotate-secret, delete.
    App {
        #[command(flatten)]
        connection: manage::Connection,
        #[command(subcommand)]
        command: manage::AppCommand,
    },
    /// What applications may ask for: create, list, update, delete.
    Grant {
        #[command(flatten)]
        connection: manage::Connection,
        #[command(subcommand)]
        command: manage::GrantCommand,
    },
    /// Keys that an authority signs with: list, rotate, revoke.
    Keys {
        #[command(flatten)]
        connection: manage::Connection,
        #[command(subcommand)]
        command: manage::KeysCommand,
    },
    /// Gets a token by client credentials and prints it.
    Token(manage::TokenArguments),
    /// Asks a running gateway whether it is ready. For container health checks.
    Health {
        /// The admin address of the gateway.
        #[arg(long, default_value = "127.0.0.1:9901", env = "SCOPEGATE_ADMIN")]
        admin: SocketAddr,
        /// Ask only whether it is alive.
        #[arg(long)]
        live: bool,
    },
}

#[derive(Debug, Args)]
struct ConfigArgument {
    /// The configuration file.
    #[arg(
        long = "config",
        short = 'c',
        default_value = "config/scopegate.yaml",
        env = "SCOPEGATE_CONFIG"
    )]
    path: PathBuf,
}

#[derive(Debug, Args)]
struct ExplainArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// The request, such as 'GET /items'.
    request: String,
    /// A token; `-` reads it from standard input.
    #[arg(long, conflicts_with = "claims")]
    token: Option<String>,
    /// A file with the claims of a token, as JSON; `-` reads standard input. What it lacks is filled in.
    #[arg(long)]
    claims: Option<PathBuf>,
    /// The `Host` of the request.
    #[arg(long)]
    host: Option<String>,
    /// A header of the request, 'Name: value'. Can be given several times.
    #[arg(long = "header", short = 'H')]
    headers: Vec<String>,
    /// A file with the certificate that the client shows, as PEM: for tokens that are bound to one.
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Good,
    /// Exit code 1: the configuration, or what it takes to run it.
    Failed,
    /// Exit code 2: the command line.
    Usage,
    /// Exit code 3: the request would be refused.
    Denied,
}

/// Runs the command line of the process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = start_log(&arguments) {
        say(&format!("scopegate: --log-level: {error}"));
        return ExitCode::from(2);
    }
    let outcome = dispatch(arguments.command).unwrap_or_else(|error| {
        // A reader that has gone away, as with `| head`, is no failure of ours.
        if error.kind() != io::ErrorKind::BrokenPipe {
            say(&format!("scopegate: {error}"));
        }
        Outcome::Failed
    });
    ExitCode::from(match outcome {
        Outcome::Good => 0,
        Outcome::Failed => 1,
        Outcome::Usage => 2,
        Outcome::Denied => 3,
    })
}

fn dispatch(command: Command) -> io::Result<Outcome> {
    // Not locked: the access log may go there too, from a thread of its own, for as long as `run` runs.
    let out = &mut io::stdout();
    match command {
        #[cfg(feature = "authority")]
        Command::Demo { address, tls } => {
            let transport = if tls {
                demo::Transport::Tls
            } else {
                demo::Transport::Cleartext
            };
            demo::run(address, transport, out)
        }
        #[cfg(not(feature = "authority"))]
        Command::Demo { .. } => {
            say(
                "scopegate: this build has no authority, which the demo needs: build it with its default features",
            );
            Ok(Outcome::Failed)
        }
        Command::Run { config } => Ok(run::run(&config.path)),
        Command::Check { config, output } => {
            let is_valid = check::run(&config.path, &System, output, out, &mut io::stderr().lock())?;
            Ok(if is_valid { Outcome::Good } else { Outcome::Failed })
        }
        Command::Explain(arguments) => explain(arguments, out),
        Command::Schema => schema::run(out).map(|()| Outcome::Good),
        Command::Api { connection, command } => manage::run(connection, &manage::Command::Api(command), out),
        Command::Permission { connection, command } => {
            manage::run(connection, &manage::Command::Permission(command), out)
        }
        Command::App { connection, command } => manage::run(connection, &manage::Command::App(command), out),
        Command::Grant { connection, command } => {
            manage::run(connection, &manage::Command::Grant(command), out)
        }
        Command::Keys { connection, command } => {
            manage::run(connection, &manage::Command::Keys(command), out)
        }
        Command::Token(arguments) => manage::token(&arguments, out),
        Command::Health { admin, live } => Ok(health::run(admin, live, out)),
    }
}

fn explain(arguments: ExplainArguments, out: &mut dyn Write) -> io::Result<Outcome> {
    let Some(settings) = load(&arguments.config.path) else {
        return Ok(Outcome::Failed);
    };
    let mut described = Described {
        request: arguments.request,
        host: arguments.host,
        headers: arguments.headers,
        ..Described::default()
    };
    if let Some(path) = arguments.certificate {
        match CertificateDer::from_pem_slice(read_text(&path)?.as_bytes()) {
            Ok(certificate) => described.certificate = Some(certificate.to_vec()),
            Err(error) => {
                say(&format!("scopegate: {}: no certificate: {error}", path.display()));
                return Ok(Outcome::Usage);
            }
        }
    }
    let mut keys = HashMap::new();
    if let Some(token) = arguments.token {
        let token = if token == "-" {
            read_text(Path::new("-"))?
        } else {
            token
        };
        described.token = Some(token.trim().to_owned());
    }
    // A header may have a key, which will be exchanged for a token.
    let takes_keys = settings.plan.apis.iter().any(|api| api.api_keys.is_some());
    if described.token.is_some() || takes_keys && !described.headers.is_empty() {
        keys = fetch_all_keys(&settings)?;
    }
    if let Some(path) = arguments.claims {
        let text = read_text(&path)?;
        match serde_json::from_str(&text) {
            Ok(claims) => described.claims = Some(claims),
            Err(error) => {
                say(&format!("scopegate: the claims are not JSON: {error}"));
                return Ok(Outcome::Usage);
            }
        }
    }
    match explain::run(&settings, &described, &keys, arguments.output, out) {
        Ok(true) => Ok(Outcome::Good),
        Ok(false) => Ok(Outcome::Denied),
        Err(ExplainError::Usage(text)) => {
            say(&format!("scopegate: {text}"));
            Ok(Outcome::Usage)
        }
        Err(ExplainError::Output(error)) => Err(error),
    }
}

/// The settings of a file; its faults are printed.
fn load(path: &Path) -> Option<Settings> {
    match config::load(path) {
        Ok(settings) => Some(settings),
        Err(faults) => {
            say(faults.to_string().trim_end());
            None
        }
    }
}

/// The keys of every issuer that has some; an issuer without is named, and its tokens will be told to lack keys.
fn fetch_all_keys(settings: &Settings) -> io::Result<HashMap<String, KeySet>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut keys = HashMap::new();
    for issuer in settings.issuers.iter().filter(|issuer| issuer.source.is_some()) {
        match runtime.block_on(fetch_keys(issuer)) {
            Ok(set) => drop(keys.insert(issuer.issuer.clone(), set)),
            Err(error) => say(&format!(
                "scopegate: the keys of {} cannot be had: {error}",
                issuer.issuer
            )),
        }
    }
    runtime.shutdown_background();
    Ok(keys)
}

fn read_text(path: &Path) -> io::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn start_log(arguments: &Arguments) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = tracing_subscriber::EnvFilter::builder().parse(&arguments.log_level)?;
    let is_terminal = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false);
    let format = arguments.log_format.unwrap_or(if is_terminal {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    match format {
        LogFormat::Text => log.with_ansi(is_terminal).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

/// A line for the person at the terminal.
fn say(text: &str) {
    // Where standard error is gone there is nobody to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

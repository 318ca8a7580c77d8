//! `scopegate api|permission|app|grant|keys|token`: a Management API from the command line.
//!
//! They speak to an authority, or a tenant, over HTTP with an application's credentials, as any SDK does; nothing here
//! opens a store. Results are tables for people, or the answers themselves with `--output json`.

mod arguments;
mod calls;
mod table;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

pub use arguments::{ApiCommand, AppCommand, GrantCommand, KeysCommand, PermissionCommand, TokenArguments};

use super::{Outcome, Output, say};
use crate::control::{CallError, ManagementClient, TenantCredentials};
use crate::definition::Secret;
use crate::net::{ClientTls, Fetcher};

/// One call, from connect to last byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whom the commands speak to, and as whom.
#[derive(Clone, Debug, Args)]
pub struct Connection {
    /// The issuer identifier of the authority, such as <https://auth.example.com/>.
    #[arg(long, env = "SCOPEGATE_ISSUER", global = true)]
    issuer: Option<String>,
    /// An application with the permissions of the Management API that the command needs.
    #[arg(long, env = "SCOPEGATE_CLIENT_ID", global = true)]
    client_id: Option<String>,
    /// Its secret. Better in the environment than on a command line.
    #[arg(long, env = "SCOPEGATE_CLIENT_SECRET", hide_env_values = true, global = true)]
    client_secret: Option<String>,
    #[command(flatten)]
    trust: Trust,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t, global = true)]
    output: Output,
}

/// Whose certificates are trusted.
#[derive(Clone, Debug, Args)]
pub struct Trust {
    /// A file of PEM certificates to trust instead of the system's.
    #[arg(long, env = "SCOPEGATE_CA", global = true)]
    ca: Option<PathBuf>,
}

/// What a command came to.
enum Made {
    /// Rows of a table: the members of each object that are shown, and the objects.
    List(&'static [&'static str], Vec<Value>),
    /// One object.
    One(Value),
    /// Something was done, in a sentence.
    Done(String),
}

/// A command that speaks to a Management API.
#[derive(Debug)]
pub enum Command {
    /// `api`
    Api(ApiCommand),
    /// `permission`
    Permission(PermissionCommand),
    /// `app`
    App(AppCommand),
    /// `grant`
    Grant(GrantCommand),
    /// `keys`
    Keys(KeysCommand),
}

/// Runs a command and prints what came of it.
pub fn run(connection: Connection, command: &Command, out: &mut dyn Write) -> io::Result<Outcome> {
    let Connection {
        issuer,
        client_id,
        client_secret,
        trust,
        output,
    } = connection;
    let (Some(issuer), Some(client_id), Some(client_secret)) = (issuer, client_id, client_secret) else {
        say(
            "scopegate: set SCOPEGATE_ISSUER, SCOPEGATE_CLIENT_ID and SCOPEGATE_CLIENT_SECRET, or the arguments of these names",
        );
        return Ok(Outcome::Usage);
    };
    let fetcher = match fetcher(&issuer, &trust) {
        Ok(fetcher) => fetcher,
        Err(outcome) => return Ok(outcome),
    };
    let client = ManagementClient::new(
        TenantCredentials {
            issuer,
            client_id,
            client_secret: Secret::new(client_secret),
        },
        fetcher,
    );
    match runtime()?.block_on(calls::make(&client, command)) {
        Ok(made) => print(made, output, out).map(|()| Outcome::Good),
        Err(error) => Ok(failed(&client, &error)),
    }
}

/// Gets a token and prints it, or its parts.
pub fn token(arguments: &TokenArguments, out: &mut dyn Write) -> io::Result<Outcome> {
    let fetcher = match fetcher(&arguments.issuer, &arguments.trust) {
        Ok(fetcher) => fetcher,
        Err(outcome) => return Ok(outcome),
    };
    let said = runtime()?.block_on(calls::token(&fetcher, arguments));
    let body = match said {
        Ok(body) => body,
        Err(error) => {
            say(&format!("scopegate: {}: {error}", arguments.issuer));
            return Ok(Outcome::Failed);
        }
    };
    let token = body
        .get("access_token")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match (arguments.decode, arguments.output) {
        (false, Output::Text) => writeln!(out, "{token}")?,
        (false, Output::Json) => writeln!(out, "{body:#}")?,
        (true, _) => match calls::decoded(token) {
            Some(parts) => writeln!(out, "{parts:#}")?,
            None => say("scopegate: the token is encrypted: only its API can read it"),
        },
    }
    Ok(Outcome::Good)
}

fn failed(client: &ManagementClient, error: &CallError) -> Outcome {
    say(&format!("scopegate: {}: {error}", client.issuer()));
    Outcome::Failed
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn fetcher(issuer: &str, trust: &Trust) -> Result<Fetcher, Outcome> {
    let usage = |text: &str| {
        say(&format!("scopegate: {text}"));
        Outcome::Usage
    };
    if !issuer.ends_with('/') {
        return Err(usage(
            "--issuer is an origin and a slash, such as https://auth.example.com/",
        ));
    }
    let tls = match &trust.ca {
        Some(path) => ClientTls::from_file(path).map(Some),
        None if issuer.starts_with("https:") => ClientTls::system().map(Some),
        None => Ok(None),
    };
    let tls = tls.map_err(|error| usage(&format!("--ca: {error}")))?;
    Ok(Fetcher::new(tls, PATIENCE, false))
}

fn print(made: Made, output: Output, out: &mut dyn Write) -> io::Result<()> {
    match (made, output) {
        (Made::List(members, objects), Output::Text) => table::list(members, &objects, out),
        (Made::List(_, objects), Output::Json) => writeln!(out, "{:#}", Value::from(objects)),
        (Made::One(object), Output::Text) => table::one(&object, out),
        (Made::One(object), Output::Json) => writeln!(out, "{object:#}"),
        (Made::Done(sentence), Output::Text) => writeln!(out, "{sentence}"),
        (Made::Done(sentence), Output::Json) => {
            writeln!(out, "{:#}", serde_json::json!({ "done": sentence }))
        }
    }
}

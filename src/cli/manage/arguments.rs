//! The arguments of the commands that speak to a Management API.

use clap::{Args, Subcommand};

use super::{Output, Trust};

/// APIs.
#[derive(Clone, Debug, Subcommand)]
pub enum ApiCommand {
    /// Registers an API.
    Create {
        /// What `aud` of its tokens will be. Cannot be changed.
        identifier: String,
        /// Shown to people.
        #[arg(long)]
        name: Option<String>,
        /// A permission, `read:items` or `read:items=Read items`. Can be given several times.
        #[arg(long = "permission", short = 'p')]
        permissions: Vec<String>,
        /// Other members as JSON, such as '{"signing_alg":"PS256","token_lifetime":600}'.
        #[arg(long)]
        json: Option<String>,
    },
    /// Lists all APIs.
    List,
    /// Shows an API.
    Show {
        /// Its identifier or id.
        api: String,
    },
    /// Changes an API.
    Update {
        /// Its identifier or id.
        api: String,
        /// The members to change as JSON; null takes one away.
        #[arg(long)]
        json: String,
    },
    /// Deletes an API with its permissions and grants.
    Delete {
        /// Its identifier or id.
        api: String,
    },
}

/// Permissions of an API.
#[derive(Clone, Debug, Subcommand)]
pub enum PermissionCommand {
    /// Adds permissions.
    Create {
        /// The identifier or id of the API.
        api: String,
        /// `read:items` or `read:items=Read items`.
        #[arg(required = true)]
        permissions: Vec<String>,
    },
    /// Lists permissions.
    List {
        /// The identifier or id of the API.
        api: String,
    },
    /// Removes permissions, also from grants and roles.
    Delete {
        /// The identifier or id of the API.
        api: String,
        /// Their names.
        #[arg(required = true)]
        permissions: Vec<String>,
    },
}

/// Machine-to-machine applications.
#[derive(Clone, Debug, Subcommand)]
pub enum AppCommand {
    /// Registers an application and shows its secret.
    Create {
        /// Shown to people.
        name: String,
        /// Other members as JSON.
        #[arg(long)]
        json: Option<String>,
    },
    /// Lists all applications.
    List,
    /// Shows an application.
    Show {
        /// Its client id.
        app: String,
    },
    /// Changes an application.
    Update {
        /// Its client id.
        app: String,
        /// The members to change as JSON.
        #[arg(long)]
        json: String,
    },
    /// Gives it another secret and shows it. The old one is refused from then on.
    RotateSecret {
        /// Its client id.
        app: String,
    },
    /// Deletes an application with its grants.
    Delete {
        /// Its client id.
        app: String,
    },
}

/// What applications may ask for.
#[derive(Clone, Debug, Subcommand)]
pub enum GrantCommand {
    /// Lets an application ask for tokens for an API.
    Create {
        /// The client id of the application.
        app: String,
        /// The identifier of the API.
        api: String,
        /// Permissions.
        permissions: Vec<String>,
    },
    /// Lists grants.
    List {
        /// Only those of this application.
        #[arg(long)]
        app: Option<String>,
        /// Only those for this API.
        #[arg(long)]
        api: Option<String>,
    },
    /// Sets the permissions of a grant.
    Update {
        /// Its id.
        grant: String,
        /// Permissions; none take all away.
        permissions: Vec<String>,
    },
    /// Deletes a grant.
    Delete {
        /// Its id.
        grant: String,
    },
}

/// Keys that tokens are signed with.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Lists signing keys.
    List,
    /// The next key signs from now on; the current one goes on to be published.
    Rotate,
    /// A previous key is not published any more: what it signed is refused.
    Revoke {
        /// The `kid`.
        kid: String,
    },
}

/// A token by client credentials.
#[derive(Clone, Debug, Args)]
pub struct TokenArguments {
    /// The issuer identifier of the authority.
    #[arg(long, env = "SCOPEGATE_ISSUER")]
    pub(super) issuer: String,
    /// The client id of the application.
    #[arg(long)]
    pub(super) app: String,
    /// Its secret.
    #[arg(long, env = "SCOPEGATE_APP_SECRET", hide_env_values = true)]
    pub(super) secret: String,
    /// The identifier of the API.
    #[arg(long)]
    pub(super) api: String,
    /// Ask for these permissions only.
    #[arg(long = "scope")]
    pub(super) scopes: Vec<String>,
    /// Print header and claims in place of the token. They are not verified.
    #[arg(long)]
    pub(super) decode: bool,
    #[command(flatten)]
    pub(super) trust: Trust,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
}

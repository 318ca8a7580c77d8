//! The export of a whole tenant that auth0-deploy-cli writes (`tenant.yaml`).
//!
//! Used by `config` for `definition: {export: tenant.yaml, identifier: …}`. Only `resourceServers` is looked at.

use super::document::{Located, Node};
use super::fields::wrong_kind;
use super::{Misshapen, nearest};

/// Why an export does not have the API that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInExport {
    /// The document is not an export.
    #[error("{0}")]
    Shape(#[from] Misshapen),
    /// No API has the identifier.
    #[error("no API of this export has the identifier `{identifier}`")]
    Absent {
        /// What was looked for.
        identifier: String,
        /// The identifier that looks most like it.
        nearest: Option<String>,
    },
    /// Several APIs have the identifier.
    #[error("`{identifier}` is the identifier of several APIs of this export")]
    Ambiguous {
        /// What was looked for.
        identifier: String,
    },
}

/// The resource-server object of an export with this identifier, compared byte for byte.
pub fn find<'a>(export: &'a Node, identifier: &str) -> Result<&'a Node, Located<NotInExport>> {
    if export.entries().is_none() {
        return Err(misshapen(wrong_kind("export", export, "a mapping")));
    }
    let servers = export.get("resourceServers").ok_or_else(|| {
        misshapen(Located::new(
            &export.place,
            Misshapen::Missing {
                key: "resourceServers",
            },
        ))
    })?;
    let list = servers
        .list()
        .ok_or_else(|| misshapen(wrong_kind("resourceServers", servers, "a list")))?;

    let named = |node: &&Node| node.get("identifier").and_then(Node::text) == Some(identifier);
    let mut matching = list.iter().filter(named);
    match (matching.next(), matching.next()) {
        (Some(node), None) => Ok(node),
        (Some(_), Some(second)) => Err(Located::new(
            &second.place,
            NotInExport::Ambiguous {
                identifier: identifier.into(),
            },
        )),
        (None, _) => {
            let known = list.iter().filter_map(|node| node.get("identifier")?.text());
            let nearest = nearest(identifier, known).map(str::to_owned);
            let fault = NotInExport::Absent {
                identifier: identifier.into(),
                nearest,
            };
            Err(Located::new(&servers.place, fault))
        }
    }
}

fn misshapen(fault: Located<Misshapen>) -> Located<NotInExport> {
    Located {
        place: fault.place,
        value: fault.value.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::definition::Place;

    fn look(export: &serde_json::Value) -> Result<String, NotInExport> {
        let node = Node::from_json(&Place::whole(Path::new("tenant.yaml")), export);
        find(&node, "urn:items")
            .map(|node| {
                node.get("name")
                    .and_then(Node::text)
                    .unwrap_or_default()
                    .to_owned()
            })
            .map_err(|fault| fault.value)
    }

    #[test]
    fn finds_one_api_by_its_identifier() {
        let items = serde_json::json!({"identifier": "urn:items", "name": "Items"});
        let other = serde_json::json!({"identifier": "urn:item", "name": "Item"});
        assert_eq!(
            look(&serde_json::json!({"rules": [], "resourceServers": [other, items]})).unwrap(),
            "Items"
        );
        assert_eq!(
            look(&serde_json::json!({"resourceServers": [other]})).unwrap_err(),
            NotInExport::Absent {
                identifier: "urn:items".into(),
                nearest: Some("urn:item".into())
            }
        );
        assert_eq!(
            look(&serde_json::json!({"resourceServers": [items, items]})).unwrap_err(),
            NotInExport::Ambiguous {
                identifier: "urn:items".into()
            }
        );
        assert!(matches!(
            look(&serde_json::json!({})).unwrap_err(),
            NotInExport::Shape(_)
        ));
        assert!(matches!(
            look(&serde_json::json!([])).unwrap_err(),
            NotInExport::Shape(_)
        ));
    }
}

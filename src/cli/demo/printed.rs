//! What the demo prints: where everything is, who may do what, and requests to paste in this order.

use std::io::{self, Write};

use super::Demo;
use super::tenant::{AUDIENCE, Application, scopes};
use crate::control::path_segment;
use crate::policy::RequirementPlan;
use crate::snapshot::RoutePlan;

/// A command to try, and what comes of it.
struct Example {
    status: u16,
    why: &'static str,
    command: String,
}

impl Demo {
    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let base = self.base();
        writeln!(
            out,
            "scopegate demo: the gateway listens on {base}, in front of an API that echoes."
        )?;
        if let Some(admin) = self.gateway.admin() {
            writeln!(
                out,
                "Metrics: http://{admin}/metrics   Ready: http://{admin}/readyz"
            )?;
        }
        if let Some(certificates) = &self.certificates {
            writeln!(
                out,
                "Certificates: trust {} for as long as this runs",
                certificates.authority().display()
            )?;
        }
        writeln!(
            out,
            "The issuer is {} and the API is {AUDIENCE}; its routes:\n",
            self.issuer
        )?;
        for route in self.settings.plan.apis.iter().flat_map(|api| &api.routes) {
            print_route(route, out)?;
        }
        self.print_applications(out)?;
        writeln!(out, "\nPaste any of these:")?;
        print_examples(&self.requests(), out)?;
        writeln!(out, "\nA token of your own, as an application gets it:")?;
        print_examples(&[self.token()], out)?;
        writeln!(out, "\nWhat is changed at the authority is in force at once:")?;
        print_examples(&self.changes(), out)?;
        writeln!(out, "\nCtrl-C ends it.")
    }

    fn base(&self) -> String {
        let scheme = match self.certificates {
            Some(_) => "https",
            None => "http",
        };
        let address = self.gateway.addresses().first();
        address.map_or_else(String::new, |address| format!("{scheme}://{address}"))
    }

    fn print_applications(&self, out: &mut dyn Write) -> io::Result<()> {
        let tenant = &self.tenant;
        writeln!(out, "\nApplications:\n")?;
        for (application, granted) in [
            (&tenant.reader, "read:items"),
            (&tenant.editor, "read:items create:items delete:items"),
        ] {
            let Application {
                name,
                client_id,
                client_secret,
            } = application;
            writeln!(out, "  {name}: {granted}")?;
            writeln!(
                out,
                "    client_id {client_id}\n    client_secret {}",
                client_secret.as_str()
            )?;
        }
        writeln!(
            out,
            "\nThe Management API is {}api/v2/; for `scopegate api`, `app`, `grant` and so on, its administrator:\n",
            self.issuer
        )?;
        writeln!(out, "  export SCOPEGATE_ISSUER={}", self.issuer)?;
        let Application {
            client_id,
            client_secret,
            ..
        } = &tenant.administrator;
        writeln!(out, "  export SCOPEGATE_CLIENT_ID={client_id}")?;
        writeln!(out, "  export SCOPEGATE_CLIENT_SECRET={}", client_secret.as_str())?;
        if let Some(certificates) = &self.certificates {
            writeln!(
                out,
                "  export SCOPEGATE_CA={}",
                shell_word(&certificates.authority().to_string_lossy())
            )?;
        }
        Ok(())
    }

    /// `curl` with what it takes to trust this demo.
    fn curl(&self, rest: &str) -> String {
        match &self.certificates {
            Some(certificates) => {
                let authority = shell_word(&certificates.authority().to_string_lossy());
                format!("curl -i --cacert {authority} {rest}")
            }
            None => format!("curl -i {rest}"),
        }
    }

    fn requests(&self) -> [Example; 7] {
        let tokens = &self.tenant.tokens;
        let example = |status, why, request: &str, token: Option<&str>| Example {
            status,
            why,
            command: self.request(request, token),
        };
        [
            example(200, "the token has read:items", "/items", Some(&tokens.reader)),
            example(401, "there is no token", "/items", None),
            example(401, "the token has expired", "/items", Some(&tokens.expired)),
            example(
                401,
                "the token is for another API",
                "/items",
                Some(&tokens.elsewhere),
            ),
            example(
                403,
                "the token lacks delete:items",
                "/items/7 -X DELETE",
                Some(&tokens.reader),
            ),
            example(
                200,
                "the token of the editor has it",
                "/items/7 -X DELETE",
                Some(&tokens.editor),
            ),
            example(200, "the route is public", "/health", None),
        ]
    }

    fn request(&self, request: &str, token: Option<&str>) -> String {
        let bearer = token.map_or_else(String::new, |token| {
            format!(" -H 'Authorization: Bearer {token}'")
        });
        self.curl(&format!("{}{request}{bearer}", self.base()))
    }

    fn token(&self) -> Example {
        let Application {
            client_id,
            client_secret,
            ..
        } = &self.tenant.reader;
        let rest = format!(
            "{}oauth/token -d grant_type=client_credentials -d client_id={client_id} -d client_secret={} -d audience={AUDIENCE}",
            self.issuer,
            client_secret.as_str()
        );
        Example {
            status: 200,
            why: "id and secret of the reader for a token",
            command: self.curl(&rest),
        }
    }

    fn changes(&self) -> [Example; 4] {
        let tokens = &self.tenant.tokens;
        let patch = |why, without| {
            let body = serde_json::json!({ "scopes": scopes(without) });
            let rest = format!(
                "{}api/v2/resource-servers/{} -X PATCH -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' -d '{body}'",
                self.issuer,
                path_segment(AUDIENCE),
                tokens.manager
            );
            Example {
                status: 200,
                why,
                command: self.curl(&rest),
            }
        };
        let delete = |status, why| Example {
            status,
            why,
            command: self.request("/items/7 -X DELETE", Some(&tokens.editor)),
        };
        [
            patch(
                "the administrator takes delete:items out of the API",
                Some("delete:items"),
            ),
            delete(403, "now nobody has it, whatever the token says"),
            patch("the administrator puts it back", None),
            delete(200, "the token of the editor is good again"),
        ]
    }
}

fn print_route(route: &RoutePlan, out: &mut dyn Write) -> io::Result<()> {
    let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    let asks = match &route.require {
        RequirementPlan::Public => "public".into(),
        RequirementPlan::Token(asked) if asked.all_of.is_empty() => "a valid token".into(),
        RequirementPlan::Token(asked) => asked.all_of.join(" "),
    };
    writeln!(
        out,
        "  {:<7} {:<12} {asks}",
        methods.join(","),
        route.pattern.as_str()
    )
}

fn print_examples(examples: &[Example], out: &mut dyn Write) -> io::Result<()> {
    examples.iter().try_for_each(|example| {
        writeln!(
            out,
            "\n# {}: {}\n{}",
            example.status, example.why, example.command
        )
    })
}

/// A word that a shell takes as it is.
fn shell_word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn words_of_a_shell() {
        assert_eq!(
            shell_word("/tmp/scopegate-demo_1.pem"),
            "/tmp/scopegate-demo_1.pem"
        );
        assert_eq!(shell_word("/my files/it's"), r"'/my files/it'\''s'");
    }
}

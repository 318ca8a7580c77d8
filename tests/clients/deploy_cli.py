"""auth0-deploy-cli against the authority: what it exports it can import, and nothing changes by that."""

import json
import os
import pathlib
import shutil
import subprocess

from authority import Authority
from common import Tally

# An import takes it 40 s of CPU, before it asks for anything.
DEADLINE = 600


def deploy(authority, *arguments):
    command = [str(pathlib.Path(os.environ["SCOPEGATE_DEPLOY_CLI"]) / "node_modules/.bin/a0deploy"), *arguments]
    done = subprocess.run(
        command, cwd=authority.folder, env=authority.environment(), stdin=subprocess.DEVNULL,
        capture_output=True, timeout=DEADLINE, check=False, text=True,
    )
    return done.returncode, done.stdout + done.stderr


def furnish(authority, token):
    """More than a page of APIs, an application and its grant."""

    def make(path, body):
        status, made = authority.ask(f"/api/v2/{path}", token, "POST", body)
        assert status == 201, (status, made)
        return made

    for number in range(130):
        make("resource-servers", {"identifier": f"https://api-{number}.example/", "name": f"API {number}"})
    make("resource-servers", {
        "identifier": "https://orders.example/api", "name": "Orders", "token_dialect": "rfc9068_profile_authz",
        "enforce_policies": True, "token_lifetime": 3600,
        "scopes": [{"value": "read:orders", "description": "Read"}, {"value": "write:orders", "description": "Write"}],
    })
    client = make("clients", {
        "name": "svc", "app_type": "non_interactive", "grant_types": ["client_credentials"],
        "jwt_configuration": {"alg": "RS256"},
    })
    make("client-grants", {
        "client_id": client["client_id"], "audience": "https://orders.example/api", "scope": ["read:orders"],
    })


def main():
    tally = Tally("deploy_cli")
    with Authority() as authority:
        token = authority.token()
        furnish(authority, token)
        folder = authority.folder
        (folder / "cfg.json").write_text(json.dumps({
            "AUTH0_DOMAIN": authority.domain, "AUTH0_CLIENT_ID": authority.client_id,
            "AUTH0_CLIENT_SECRET": authority.client_secret,
            "AUTH0_INCLUDED_ONLY": ["resourceServers", "clients", "clientGrants"], "AUTH0_ALLOW_DELETE": False,
        }))
        export = ["export", "-c", "cfg.json", "--format", "yaml", "--output_folder"]
        code, log = deploy(authority, *export, "out")
        tally.check("export", code == 0, log)
        first = (folder / "out/tenant.yaml").read_text()
        tally.equal("every API", first.count("identifier: https://"), 131)
        tally.check("no secret in the export", authority.client_secret not in first)
        code, log = deploy(authority, "import", "-c", "cfg.json", "--input_file", "out/tenant.yaml")
        tally.check("import", code == 0, log)
        code, log = deploy(authority, *export, "out2")
        tally.check("export again", code == 0, log)
        tally.check("nothing has changed", (folder / "out2/tenant.yaml").read_text() == first)
        # What is gone comes back, and what is different is changed.
        _, lists = authority.ask("/api/v2/clients?app_type=non_interactive&fields=client_id,name", token)
        svc = next(client["client_id"] for client in lists if client["name"] == "svc")
        authority.ask(f"/api/v2/clients/{svc}", token, "DELETE")
        authority.ask("/api/v2/resource-servers/https%3A%2F%2Fapi-7.example%2F", token, "DELETE")
        authority.ask("/api/v2/resource-servers/https%3A%2F%2Forders.example%2Fapi", token, "PATCH", {"scopes": []})
        code, log = deploy(authority, "import", "-c", "cfg.json", "--input_file", "out/tenant.yaml")
        tally.check("import of what was deleted", code == 0, log)
        code, log = deploy(authority, *export, "out3")
        tally.check("export once more", code == 0, log)
        tally.equal(
            "everything is back", sorted((folder / "out3/tenant.yaml").read_text().splitlines()),
            sorted(first.splitlines()),
        )
        shutil.rmtree(folder / "out")
    tally.finish()


main()

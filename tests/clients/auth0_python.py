"""auth0-python and auth0-api-python against the authority: what they do with a tenant, they do with it."""

import os
import time
import urllib.parse

from authority import Authority
from common import Tally

IDENTIFIERS = [
    "https://orders.example/api/",
    "https://x.example/?q=1#top",
    "urn:with spaces and 100%",
    "urn:percent%20sign%2F",
    "urn:bücher/ß",
]


def five_steps(tally, authority, management):
    """From nothing to a token that an API accepts."""
    import asyncio

    from auth0.authentication import GetToken
    from auth0_api_python import ApiClient, ApiClientOptions

    m, domain, audience = management, authority.domain, "https://orders.example/api"
    api = m.resource_servers.create(identifier=audience, name="Orders", scopes=[{"value": "read:orders"}])
    tally.equal("get by identifier", m.resource_servers.get(audience).id, api.id)
    m.resource_servers.update(
        api.id, scopes=[{"value": "read:orders"}, {"value": "write:orders"}],
        enforce_policies=True, token_dialect="rfc9068_profile_authz",
    )
    client = m.clients.create(name="svc", app_type="non_interactive", grant_types=["client_credentials"])
    m.client_grants.create(client_id=client.client_id, audience=audience, scope=["read:orders"])
    secret = m.clients.rotate_secret(client.client_id).client_secret
    tally.check("rotated", secret and secret != client.client_secret)
    token = GetToken(domain, client.client_id, client_secret=secret).client_credentials(audience)
    tally.equal("scope", token["scope"], "read:orders")
    tally.equal("expires_in", token["expires_in"], 86400)
    verifier = ApiClient(ApiClientOptions(domain=domain, audience=audience))
    claims = asyncio.run(verifier.verify_access_token(token["access_token"]))
    tally.equal("permissions", claims["permissions"], ["read:orders"])
    tally.equal("client_id", claims["client_id"], client.client_id)
    # The Auth0 profile.
    m.resource_servers.update(api.id, token_dialect="access_token", enforce_policies=False)
    token = GetToken(domain, client.client_id, client_secret=secret).client_credentials(audience)
    claims = asyncio.run(verifier.verify_access_token(token["access_token"]))
    tally.equal("azp", (claims["azp"], claims.get("permissions")), (client.client_id, None))
    m.clients.delete(client.client_id)
    m.resource_servers.delete(audience)
    tally.equal("gone", [g for g in m.client_grants.list() if g.client_id == client.client_id], [])


def errors(tally, management):
    from auth0.management.core.api_error import ApiError

    def refused(what, status, message, call):
        began = time.monotonic()
        try:
            call()
        except ApiError as error:
            tally.equal(what, (error.status_code, message in str(error.body)), (status, True))
        else:
            tally.check(what, False, "was accepted")
        # auth0-python tries three times after 409, and would sleep until a reset that lies in the future.
        tally.check(f"{what}: no slowdown", time.monotonic() - began < 15)

    m = management
    m.resource_servers.create(identifier="urn:twice")
    refused("duplicate", 409, "already exists", lambda: m.resource_servers.create(identifier="urn:twice"))
    refused("reserved permission", 400, "reserved", lambda: m.resource_servers.update("urn:twice", scopes=[{"value": "openid"}]))
    refused("name with <", 400, "does not match pattern", lambda: m.resource_servers.update("urn:twice", name="a<b"))
    refused("lifetime", 400, "2592000", lambda: m.resource_servers.update("urn:twice", token_lifetime=2_592_001))
    refused("algorithm", 400, "signing_alg", lambda: m.resource_servers.update("urn:twice", signing_alg="PS256"))
    refused("no such API", 404, "inexistent_resource_server", lambda: m.resource_servers.get("urn:none"))
    refused("no such client", 404, "inexistent_client", lambda: m.clients.get("none"))
    m.resource_servers.update("urn:twice", scopes=[])
    tally.equal("emptied", m.resource_servers.get("urn:twice").scopes, [])
    m.resource_servers.delete("urn:twice")
    m.resource_servers.delete("urn:twice")
    tally.check("deleted twice", True)


def odd_identifiers(tally, authority, management):
    token = authority.token()
    for identifier in IDENTIFIERS:
        api = management.resource_servers.create(identifier=identifier)
        tally.equal(f"SDK: {identifier}", management.resource_servers.get(identifier).id, api.id)
        updated = management.resource_servers.update(identifier, name="Odd")
        tally.equal(f"SDK, changed: {identifier}", (updated.id, updated.name), (api.id, "Odd"))
        twice = urllib.parse.quote(urllib.parse.quote(identifier, safe=""), safe="")
        status, found = authority.ask(f"/api/v2/resource-servers/{twice}", token)
        tally.equal(f"double: {identifier}", (status, found["id"]), (200, api.id))
        management.resource_servers.delete(identifier)
        tally.equal(f"gone: {identifier}", authority.ask(f"/api/v2/resource-servers/{api.id}", token)[0], 404)


def paging(tally, management):
    m = management
    for number in range(120):
        m.resource_servers.create(identifier=f"urn:page:{number}")
    for per_page in (100, 50, 7):
        found = [api.identifier for api in m.resource_servers.list(per_page=per_page)]
        ours = {identifier for identifier in found if identifier.startswith("urn:page:")}
        tally.equal(f"pages of {per_page}", (len(ours), len(found)), (120, len(set(found))))
    for number in range(120):
        m.resource_servers.delete(f"urn:page:{number}")


def grants(tally, management):
    m = management
    m.resource_servers.create(identifier="urn:grants", scopes=[{"value": "a"}, {"value": "b"}])
    client = m.clients.create(name="granted", app_type="non_interactive")
    grant = m.client_grants.create(client_id=client.client_id, audience="urn:grants", scope=["a"])
    on = m.client_grants.update(grant.id, allow_all_scopes=True)
    tally.equal("all scopes", (on.allow_all_scopes, on.scope), (True, None))
    off = m.client_grants.update(grant.id, allow_all_scopes=False, scope=[])
    tally.equal("no scopes", (off.allow_all_scopes, off.scope), (False, []))
    m.client_grants.delete(grant.id)
    m.clients.delete(client.client_id)
    m.resource_servers.delete("urn:grants")


def private_key_jwt(tally, authority, management):
    from auth0.authentication import GetToken
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    m = management
    m.resource_servers.create(identifier="urn:signed", scopes=[{"value": "a"}])
    client = m.clients.create(
        name="signs", app_type="non_interactive", grant_types=["client_credentials"],
        client_authentication_methods={"private_key_jwt": {"credentials": [
            {"name": "k", "credential_type": "public_key", "pem": public, "alg": "RS256"},
        ]}},
    )
    m.client_grants.create(client_id=client.client_id, audience="urn:signed", scope=["a"])
    credentials = list(m.clients.credentials.list(client.client_id))
    tally.equal("one credential, without its key", (len(credentials), getattr(credentials[0], "pem", None)), (1, None))
    get = GetToken(authority.domain, client.client_id, client_assertion_signing_key=private)
    tally.equal("signed", get.client_credentials("urn:signed")["scope"], "a")
    m.clients.delete(client.client_id)
    m.resource_servers.delete("urn:signed")


def main():
    tally = Tally("auth0_python")
    with Authority() as authority:
        os.environ.update(authority.environment())
        from auth0.management import ManagementClient

        management = ManagementClient(
            domain=authority.domain, client_id=authority.client_id, client_secret=authority.client_secret
        )
        five_steps(tally, authority, management)
        errors(tally, management)
        odd_identifiers(tally, authority, management)
        paging(tally, management)
        grants(tally, management)
        private_key_jwt(tally, authority, management)
        tally.check("no secret in the log", authority.client_secret not in "".join(authority.log))
    tally.finish()


main()

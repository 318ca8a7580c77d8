"""The MCP client of PyPI in front of an MCP server of the same library, with the gateway between them: the client knows
the address of the server and nothing else, finds the authorization server through the metadata that the gateway's
challenge names, gets a token there, and calls a tool."""

import asyncio
import json
import threading
import time
import urllib.parse
import uuid

import httpx2
import jwt
import uvicorn
from common import DEADLINE, Gateway, Server, Tally, definition, request
from cryptography.hazmat.primitives.asymmetric import rsa
from mcp.client.auth import OAuthClientProvider
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class AuthorizationServer(Server):
    """Registers whoever asks, and gives tokens for the resource that was named at `/authorize`."""

    def __init__(self):
        self.asked, self.resources = [], []
        super().__init__(self._answer)
        self.issuer = self.url

    def _answer(self, handler, body):
        path = urllib.parse.urlsplit(handler.path).path
        self.asked.append(path)
        if path in ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"):
            return 200, {
                "issuer": self.issuer,
                "authorization_endpoint": self.url + "/authorize",
                "token_endpoint": self.url + "/token",
                "registration_endpoint": self.url + "/register",
                "jwks_uri": self.url + "/jwks.json",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code"],
                "code_challenge_methods_supported": ["S256"],
            }
        if path == "/jwks.json":
            return 200, {"keys": [{**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "1"}]}
        if path == "/register":
            return 201, {**json.loads(body), "client_id": "mcp-client"}
        if path == "/token":
            asked = dict(urllib.parse.parse_qsl(body.decode()))
            self.resources.append(asked.get("resource"))
            return 200, {"access_token": self.token(asked["resource"]), "token_type": "Bearer", "expires_in": 300}
        return 404, {"error": "not found"}

    def token(self, audience):
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": audience,
            "sub": "auth0|7",
            "azp": "mcp-client",
            "iat": now,
            "exp": now + 300,
            "jti": str(uuid.uuid4()),
            "scope": "use:tools",
        }
        return jwt.encode(claims, KEY, "RS256", {"kid": "1", "typ": "JWT"})


class Tools:
    """An MCP server with one tool, on a thread of its own."""

    def __init__(self):
        server = MCPServer("tools")

        @server.tool()
        def add(a: int, b: int) -> int:
            """Adds."""
            return a + b

        # Which hosts it is asked for is the gateway's business.
        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        app = server.streamable_http_app(transport_security=security)
        self.server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        end = time.monotonic() + DEADLINE
        while not self.server.started:
            if time.monotonic() > end:
                raise RuntimeError("the MCP server does not start")
            time.sleep(0.02)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(DEADLINE)


class Storage:
    """What a client remembers."""

    def __init__(self):
        self.tokens, self.client = None, None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


def configuration(address, authorization, tools):
    resource = f"http://{address}/mcp"
    return {
        "listeners": [{"address": address}],
        "issuers": [{"issuer": authorization.issuer}],
        "apis": [
            {
                "definition": {**definition(resource, "RS256", scopes=("use:tools",)), "name": "Tools"},
                "public_url": f"http://{address}",
                "upstream": tools.url,
                "routes": [{"path": "/mcp", "require": "use:tools"}],
            }
        ],
    }


async def use(address, authorization):
    """What the tool answered, and where the client was sent to log in."""
    sent_to = []

    async def redirect(url):
        sent_to.append(url)

    async def callback():
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(sent_to[-1]).query))
        return AuthorizationCodeResult(code="code", state=asked["state"], iss=authorization.issuer)

    metadata = OAuthClientMetadata(
        client_name="tests",
        redirect_uris=["http://127.0.0.1:1/callback"],
        grant_types=["authorization_code"],
        response_types=["code"],
        token_endpoint_auth_method="none",
    )
    url = f"http://{address}/mcp"
    auth = OAuthClientProvider(url, metadata, Storage(), redirect, callback)
    async with httpx2.AsyncClient(auth=auth, timeout=DEADLINE) as http:
        async with streamable_http_client(url, http_client=http) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                tools = await session.list_tools()
                answer = await session.call_tool("add", {"a": 3, "b": 4})
    return [tool.name for tool in tools.tools], answer.content[0].text, sent_to


def free_address():
    """The metadata says the address, so it has to be known before the gateway starts."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % probe.getsockname()[1]


def main():
    tally = Tally("mcp_python")
    address = free_address()
    with AuthorizationServer() as authorization, Tools() as tools:
        with Gateway(configuration(address, authorization, tools)) as gateway:
            resource = f"http://{address}/mcp"
            refused = request(address, "POST", "/mcp", body="{}")
            named = f'resource_metadata="http://{address}/.well-known/oauth-protected-resource/mcp"'
            tally.check("the challenge names the metadata", named in refused.headers["www-authenticate"], str(refused))
            found, answer, sent_to = asyncio.run(asyncio.wait_for(use(address, authorization), DEADLINE))
            tally.equal("the tools", found, ["add"])
            tally.equal("the answer of the tool", answer, "7")
            tally.equal("logins", len(sent_to), 1)
            asked = urllib.parse.urlsplit(sent_to[0])
            tally.equal("where", f"{asked.scheme}://{asked.netloc}{asked.path}", authorization.url + "/authorize")
            query = dict(urllib.parse.parse_qsl(asked.query))
            tally.equal("for what", (query["resource"], query["scope"]), (resource, "use:tools"))
            tally.equal("tokens were asked for this resource", authorization.resources, [resource])
            tally.check("it registered", "/register" in authorization.asked, str(authorization.asked))
            metadata = gateway.metric(
                "scopegate_auth_decisions_total", route="/.well-known/oauth-protected-resource/mcp", decision="allow"
            )
            tally.equal("the metadata was read", metadata, 1)
    tally.finish()


main()

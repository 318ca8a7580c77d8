"""The `websockets` library as client and server, with the gateway in between: large messages, pings, close codes both ways,
subprotocols, refusals before any upgrade, the end of a token, and a drain.
"""

import asyncio
import json
import signal
import time

import jwt as pyjwt
from common import DEADLINE, Gateway, Tally, definition
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

ISSUER, AUDIENCE = "https://issuer.test/", "https://chat.test/"
KEY = ec.generate_private_key(ec.SECP256R1())
LARGE = 1 << 20


def key_set():
    key = json.loads(pyjwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key()))
    return json.dumps({"keys": [{**key, "kid": "k", "use": "sig", "alg": "ES256"}]})


def token(scope="read:items", seconds=600):
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "7", "azp": "c", "iat": now, "exp": now + seconds, "scope": scope}
    return {"Authorization": f"Bearer {pyjwt.encode(claims, KEY, 'ES256', {'kid': 'k'})}"}


def configuration(port):
    return {
        "issuers": [{"issuer": ISSUER, "jwks_file": "jwks.json"}],
        "timeouts": {"drain": "4s"},
        "apis": [
            {
                "definition": definition(AUDIENCE, "ES256"),
                "leeway": "0s",
                "upstream": f"http://127.0.0.1:{port}",
                "routes": [
                    {"path": "/chat", "require": "read:items", "upgrade": ["websocket"]},
                    {"path": "/no", "require": "public", "upgrade": ["websocket"]},
                    {"path": "/plain", "require": "read:items"},
                ],
            }
        ],
    }


class Server:
    """Echoes; some words make it do something else. Counts its connections: the proof of what did not reach it."""

    def __init__(self):
        self.connections, self.codes = 0, []

    async def __call__(self, socket):
        self.connections += 1
        try:
            async for message in socket:
                match message:
                    case "close":
                        await socket.close(4001, "as asked")
                    case "ping":
                        await asyncio.wait_for(await socket.ping(b"from the server"), DEADLINE)
                        await socket.send("ponged")
                    case "headers":
                        await socket.send(json.dumps(dict(socket.request.headers.raw_items())))
                    case _:
                        await socket.send(message)
        except ConnectionClosed:
            pass
        self.codes.append(socket.close_code)


def choose(_connection, offered):
    return "chat.v2" if "chat.v2" in offered else None


def refuse(connection, request):
    return connection.respond(403, "not by me\n") if request.path == "/no" else None


class Suite:
    def __init__(self, tally, gateway, server):
        self.tally, self.gateway, self.server = tally, gateway, server

    def connect(self, path="/chat", headers=None, **options):
        uri = f"ws://{self.gateway.address}{path}"
        headers = token() if headers is None else headers
        # Uncompressed, so that a large message is large on the wire.
        options = {"max_size": None, "proxy": None, "open_timeout": DEADLINE, "compression": None, **options}
        return connect(uri, additional_headers=headers, **options)

    async def refused(self, what, status, path="/chat", headers=None):
        before = self.server.connections
        try:
            async with self.connect(path, headers):
                self.tally.check(what, False, "it was opened")
        except InvalidStatus as error:
            answer = error.response
            self.tally.equal(what, answer.status_code, status)
            self.tally.equal(f"{what}: connections at the server", self.server.connections, before)
            return answer
        return None

    async def refusals(self):
        answer = await self.refused("no token", 401, headers={})
        self.tally.equal("the challenge", answer.headers["www-authenticate"], f'Bearer realm="{AUDIENCE}"')
        self.tally.equal("the reason", json.loads(answer.body)["reason"], "missing_token")
        answer = await self.refused("no scope", 403, headers=token("write:items"))
        self.tally.equal("the reason", json.loads(answer.body)["reason"], "insufficient_scope")
        answer = await self.refused("an old token", 401, headers=token(seconds=-60))
        self.tally.check("its challenge", 'error="invalid_token"' in answer.headers["www-authenticate"])
        answer = await self.refused("the server's own refusal", 403, "/no", {})
        self.tally.equal("the server's own words", answer.body, b"not by me\n")
        # Without `upgrade` on the route the server gets a plain GET, and says what it thinks of that.
        answer = await self.refused("a route without it", 426, "/plain")

    async def messages(self):
        async with self.connect() as socket:
            text, data = "ä" * (LARGE // 2), bytes(range(256)) * (LARGE // 256)
            for what, message in [("1 MB of text", text), ("1 MB of bytes", data), ("nothing", ""), ("one", "x")]:
                await socket.send(message)
                self.tally.check(what, await socket.recv() == message)
            await socket.send([b"a" * 100_000, b"b" * 100_000, b"c"])
            self.tally.equal("fragments", len(await socket.recv()), 200_001)
            began = time.monotonic()
            for number in range(1000):
                await socket.send(str(number))
                if await socket.recv() != str(number):
                    self.tally.check("1000 echoes", False, number)
                    break
            self.tally.check("1000 echoes", True)
            print(f"1000 echoes in {time.monotonic() - began:.2f} s", flush=True)
            await asyncio.wait_for(await socket.ping(b"from the client"), DEADLINE)
            await socket.send("ping")
            self.tally.equal("pings both ways", await socket.recv(), "ponged")
            await socket.send("headers")
            headers = {name.lower(): value for name, value in json.loads(await socket.recv()).items()}
            self.tally.equal("via", headers.get("via"), "1.1 scopegate")
            self.tally.equal("open", self.gateway.metric("scopegate_upgrades_open"), 1)

    async def closes(self):
        async with self.connect() as socket:
            await socket.send("close")
            try:
                await socket.recv()
                self.tally.check("a close of the server", False)
            except ConnectionClosed as closed:
                self.tally.equal("a close of the server", (closed.rcvd.code, closed.rcvd.reason), (4001, "as asked"))
        await self.all_closed()
        async with self.connect() as socket:
            await socket.close(4002, "enough")
        await self.all_closed()
        self.tally.equal("a close of the client", self.server.codes[-1], 4002)
        # Without a close frame.
        async with self.connect() as socket:
            socket.transport.abort()
        await self.all_closed()
        self.tally.equal("a client that is gone", self.server.codes[-1], 1006)

    async def until(self, condition):
        end = time.monotonic() + DEADLINE
        while not condition() and time.monotonic() < end:
            await asyncio.sleep(0.02)

    async def all_closed(self):
        await self.until(lambda: len(self.server.codes) == self.server.connections)

    async def subprotocols(self):
        async with self.connect(subprotocols=["other", "chat.v2"]) as socket:
            self.tally.equal("subprotocol", socket.subprotocol, "chat.v2")
        async with self.connect() as socket:
            self.tally.equal("no subprotocol", socket.subprotocol, None)
        async with self.connect(compression="deflate") as socket:
            await socket.send("z" * 100_000)
            self.tally.equal("compressed", len(await socket.recv()), 100_000)

    async def closed_with(self, what, socket, code):
        try:
            while True:
                await asyncio.wait_for(socket.recv(), DEADLINE)
        except ConnectionClosed as closed:
            self.tally.equal(what, closed.rcvd and closed.rcvd.code, code)

    async def expiry(self):
        await self.all_closed()
        async with self.connect(headers=token(seconds=3)) as socket:
            await socket.send("still good")
            await socket.recv()
            await self.closed_with("the end of the token", socket, 1008)
        await self.all_closed()
        self.tally.equal("the end of the token, for the server", self.server.codes[-1], 1008)

    async def drain(self):
        async with self.connect() as socket:
            await socket.send("before")
            await socket.recv()
            self.gateway.child.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
            await socket.send("while")
            self.tally.equal("while it drains", await socket.recv(), "while")
            await self.closed_with("the end of the drain", socket, 1001)
        self.tally.equal("exit code", self.gateway.child.wait(DEADLINE), 0)


async def run(tally):
    server = Server()
    options = {"max_size": None, "select_subprotocol": choose, "process_request": refuse}
    async with serve(server, "127.0.0.1", 0, **options) as listening:
        port = listening.sockets[0].getsockname()[1]
        with Gateway(configuration(port), {"jwks.json": key_set()}) as gateway:
            suite = Suite(tally, gateway, server)
            await suite.refusals()
            tally.equal("nothing was opened", server.connections, 0)
            await suite.messages()
            await suite.closes()
            await suite.subprotocols()
            await suite.expiry()
            await suite.until(lambda: gateway.metric("scopegate_upgrades_open") == 0)
            tally.equal("none is left open", gateway.metric("scopegate_upgrades_open"), 0)
            tally.equal("one expired", gateway.metric("scopegate_upgrades_total", end="expired"), 1)
            lines = [line for line in gateway.access_log() if line["status"] == 101]
            tally.check("each has its line", len(lines) == server.connections, f"{len(lines)} {server.connections}")
            tally.check("with its bytes", max(line["bytes_in"] for line in lines) > 2 * LARGE)
            await suite.drain()


def main():
    tally = Tally("websockets_python")
    asyncio.run(run(tally))
    tally.finish()


main()

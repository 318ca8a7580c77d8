"""grpcio as client and server, with the gateway in between: all four kinds of calls, deadlines, cancellation, metadata,
large messages, a thousand streams at once; and refusals, which the client must see as statuses of gRPC and the server
not at all. Messages are bytes, so nothing has to be generated.
"""

import asyncio
import json
import time

import grpc
import jwt as pyjwt
from common import DEADLINE, Gateway, Tally, definition
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER, AUDIENCE = "https://issuer.test/", "https://grpc.test/"
KEY = ec.generate_private_key(ec.SECP256R1())
SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
STREAMS, CHANNELS = 1000, 5


def key_set():
    key = json.loads(pyjwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key()))
    return json.dumps({"keys": [{**key, "kid": "k", "use": "sig", "alg": "ES256"}]})


def bearer(scope="read:items", seconds=600):
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "7", "azp": "c", "iat": now, "exp": now + seconds, "scope": scope}
    return ("authorization", f"Bearer {pyjwt.encode(claims, KEY, 'ES256', {'kid': 'k'})}")


class Service:
    """What the server does, and what it has seen: the proof of what did not reach it."""

    def __init__(self):
        self.calls = 0
        self.cancelled = asyncio.Event()
        self.open, self.all_open = 0, asyncio.Event()

    def handlers(self):
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            "test.Echo",
            {
                "Unary": unary(self.unary),
                "Fail": unary(self.fail),
                "Slow": unary(self.slow),
                "Admin": unary(self.unary),
                "Down": stream(self.down),
                "SlowDown": stream(self.slow_down),
                "Up": grpc.stream_unary_rpc_method_handler(self.up),
                "Both": grpc.stream_stream_rpc_method_handler(self.both),
                "Meet": grpc.stream_stream_rpc_method_handler(self.meet),
            },
        )

    async def unary(self, request, context):
        self.calls += 1
        metadata = context.invocation_metadata()
        await context.send_initial_metadata([pair for pair in metadata if pair[0].startswith("x-echo")])
        context.set_trailing_metadata([("x-last", "1"), ("x-last-bin", b"\x00\xff")])
        return request

    async def fail(self, _request, context):
        self.calls += 1
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "näh, 100 %", (("x-why", "because"),))

    async def slow(self, request, _context):
        self.calls += 1
        try:
            await asyncio.sleep(DEADLINE)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return request

    async def slow_down(self, _request, _context):
        self.calls += 1
        yield b"first"
        try:
            await asyncio.sleep(DEADLINE)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def down(self, request, _context):
        self.calls += 1
        for number in range(int(request)):
            yield str(number).encode()

    async def up(self, requests, _context):
        self.calls += 1
        total = 0
        async for request in requests:
            total += len(request)
        return str(total).encode()

    async def both(self, requests, _context):
        self.calls += 1
        async for request in requests:
            yield request

    async def meet(self, requests, _context):
        """Answers once everybody is there, so that all streams are open at the same time."""
        self.calls += 1
        self.open += 1
        if self.open == STREAMS:
            self.all_open.set()
        async for request in requests:
            await self.all_open.wait()
            yield request


def configuration(address, dead):
    routes = [
        {"path": "/test.Echo/Admin", "require": "write:items"},
        {"path": "/test.Echo/Slow", "require": "read:items", "timeout": "20s"},
        {"path": "/test.Echo/Small", "require": "public", "max_body": "1KiB"},
        {"path": "/test.Echo/{method}", "methods": ["POST"], "require": "read:items", "max_body": "64MiB"},
    ]
    api = {"definition": definition(AUDIENCE, "ES256"), "routes": routes}
    gone = definition("https://gone.test/", "ES256")
    return {
        "issuers": [{"issuer": ISSUER, "jwks_file": "jwks.json"}],
        "limits": {"http2_streams": 250},
        "apis": [
            {**api, "upstream": {"servers": [f"http://{address}"], "http2": True}},
            {
                "definition": gone,
                "hosts": ["gone.test"],
                "upstream": {"servers": [f"http://{dead}"], "http2": True},
                "routes": [{"path": "/test.Echo/{method}", "require": "public"}],
            },
        ],
    }


class Suite:
    def __init__(self, tally, gateway, service):
        self.tally, self.gateway, self.service = tally, gateway, service

    def channel(self, *options):
        # Each channel has a connection of its own.
        return grpc.aio.insecure_channel(
            self.gateway.address, options=[*SIZES, ("grpc.use_local_subchannel_pool", 1), *options]
        )

    async def refused(self, what, call, status, reason, calls=0):
        """The status, and the reason in the details. Nothing reaches the server unless `calls` says so."""
        before = self.service.calls
        try:
            result = call()
            if hasattr(result, "__aiter__") and not hasattr(result, "__await__"):
                async for _ in result:
                    pass
            else:
                await result
            self.tally.check(what, False, "it was answered")
            return None
        except grpc.aio.AioRpcError as error:
            self.tally.equal(what, (error.code(), error.details().split(": ")[0]), (status, reason))
            self.tally.equal(f"{what}: calls at the server", self.service.calls - before, calls)
            return error

    async def kinds(self, channel):
        good = [bearer()]
        unary = channel.unary_unary("/test.Echo/Unary")
        self.tally.equal("unary", await unary(b"hello", metadata=good), b"hello")
        self.tally.equal("empty", await unary(b"", metadata=good), b"")
        down = channel.unary_stream("/test.Echo/Down")
        got = [message async for message in down(b"200", metadata=good)]
        self.tally.equal("server streaming", got, [str(number).encode() for number in range(200)])

        async def parts():
            for _ in range(200):
                yield b"x" * 1000

        total = await channel.stream_unary("/test.Echo/Up")(parts(), metadata=good)
        self.tally.equal("client streaming", total, b"200000")
        both = channel.stream_stream("/test.Echo/Both")(metadata=good)
        for number in range(50):
            # Ping and pong: each message needs the one before it to have come through.
            await both.write(str(number).encode())
            answer = await asyncio.wait_for(both.read(), DEADLINE)
            if answer != str(number).encode():
                self.tally.check("bidirectional streaming", False, repr(answer))
                break
        await both.done_writing()
        self.tally.equal("the end of both", await both.read(), grpc.aio.EOF)
        self.tally.equal("bidirectional streaming", await both.code(), grpc.StatusCode.OK)

    async def metadata(self, channel):
        sent = [bearer(), ("x-echo", "a"), ("x-echo-bin", bytes(range(256)))]
        call = channel.unary_unary("/test.Echo/Unary")(b"m", metadata=sent)
        await call
        initial = dict(await call.initial_metadata())
        trailing = dict(await call.trailing_metadata())
        self.tally.equal("metadata", initial.get("x-echo"), "a")
        self.tally.equal("binary metadata", initial.get("x-echo-bin"), bytes(range(256)))
        self.tally.equal("trailing metadata", (trailing.get("x-last"), trailing.get("x-last-bin")), ("1", b"\x00\xff"))

    async def refusals(self, channel):
        code = grpc.StatusCode
        unary = channel.unary_unary("/test.Echo/Unary")
        error = await self.refused("no token", lambda: unary(b"x"), code.UNAUTHENTICATED, "missing_token")
        fields = {**dict(error.initial_metadata() or ()), **dict(error.trailing_metadata() or ())}
        self.tally.equal("the challenge", fields.get("www-authenticate"), f'Bearer realm="{AUDIENCE}"')
        self.tally.equal("the details", error.details(), "missing_token: an access token is required")
        old = [bearer(seconds=-60)]
        await self.refused("an old token", lambda: unary(b"x", metadata=old), code.UNAUTHENTICATED, "expired")
        bad = [("authorization", "Bearer x.y.z")]
        await self.refused("no token at all", lambda: unary(b"x", metadata=bad), code.UNAUTHENTICATED, "malformed_token")
        admin = channel.unary_unary("/test.Echo/Admin")
        await self.refused(
            "no scope", lambda: admin(b"x", metadata=[bearer()]), code.PERMISSION_DENIED, "insufficient_scope"
        )
        nowhere = channel.unary_unary("/nowhere.Echo/Unary")
        await self.refused("no route", lambda: nowhere(b"x", metadata=[bearer()]), code.NOT_FOUND, "no_route")
        down = channel.unary_stream("/test.Echo/Down")
        await self.refused("a refused stream", lambda: down(b"3"), code.UNAUTHENTICATED, "missing_token")
        both = channel.stream_stream("/test.Echo/Both")(metadata=[bearer("write:items")])
        self.tally.equal("a refused exchange", await both.code(), code.PERMISSION_DENIED)
        small = channel.unary_unary("/test.Echo/Small")
        await self.refused("too large", lambda: small(b"x" * 100_000), code.RESOURCE_EXHAUSTED, "body_too_large")
        gone = grpc.aio.insecure_channel(self.gateway.address, options=[("grpc.default_authority", "gone.test")])
        async with gone:
            unary = gone.unary_unary("/test.Echo/Unary")
            await self.refused("no upstream", lambda: unary(b"x"), code.UNAVAILABLE, "upstream_connect")
        for reason, count in [("missing_token", 2), ("expired", 1), ("insufficient_scope", 2)]:
            counted = self.gateway.metric("scopegate_auth_decisions_total", reason=reason, decision="deny")
            self.tally.equal(f"counted as {reason}", counted, count)

    async def errors(self, channel):
        fail = channel.unary_unary("/test.Echo/Fail")
        try:
            await fail(b"x", metadata=[bearer()])
            self.tally.check("the server's own error", False)
        except grpc.aio.AioRpcError as error:
            self.tally.equal(
                "the server's own error", (error.code(), error.details()), (grpc.StatusCode.FAILED_PRECONDITION, "näh, 100 %")
            )
            self.tally.equal("its metadata", dict(error.trailing_metadata()).get("x-why"), "because")

    async def seen_cancelled(self, what):
        try:
            await asyncio.wait_for(self.service.cancelled.wait(), DEADLINE)
            self.tally.check(what, True)
        except TimeoutError:
            self.tally.check(what, False, "the server never heard of it")
        self.service.cancelled.clear()

    async def deadlines(self, channel):
        slow = channel.unary_unary("/test.Echo/Slow")
        began = time.monotonic()
        try:
            await slow(b"x", metadata=[bearer()], timeout=1)
            self.tally.check("a deadline", False)
        except grpc.aio.AioRpcError as error:
            self.tally.equal("a deadline", error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.tally.check("a deadline in time", time.monotonic() - began < 15)
        await self.seen_cancelled("a deadline cancels the server's work")
        call = slow(b"x", metadata=[bearer()])
        while self.service.calls == 0:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        call.cancel()
        await self.seen_cancelled("a client that cancels")
        stream = channel.unary_stream("/test.Echo/SlowDown")(b"x", metadata=[bearer()])
        self.tally.equal("the first of a stream", await stream.read(), b"first")
        stream.cancel()
        await self.seen_cancelled("a stream that is cancelled")
        # The connection goes on.
        unary = channel.unary_unary("/test.Echo/Unary")
        self.tally.equal("afterwards", await unary(b"y", metadata=[bearer()]), b"y")

    async def large(self, channel):
        message = bytes(range(256)) * (16 * 4096)
        unary = channel.unary_unary("/test.Echo/Unary")
        self.tally.check("16 MiB both ways", await unary(message, metadata=[bearer()]) == message)

    async def many(self):
        channels = [self.channel() for _ in range(CHANNELS)]
        good = [bearer()]

        async def one(number):
            call = channels[number % CHANNELS].stream_stream("/test.Echo/Meet")(metadata=good)
            await call.write(str(number).encode())
            answer = await call.read()
            await call.done_writing()
            return answer == str(number).encode() and await call.code() == grpc.StatusCode.OK

        done = await asyncio.wait_for(asyncio.gather(*(one(number) for number in range(STREAMS))), 2 * DEADLINE)
        self.tally.equal(f"{STREAMS} streams at once", sum(done), STREAMS)
        self.tally.equal("all of them at the server", self.service.open, STREAMS)
        for channel in channels:
            await channel.close()


async def run(tally):
    service = Service()
    server = grpc.aio.server(options=SIZES)
    server.add_generic_rpc_handlers((service.handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with Gateway(configuration(f"127.0.0.1:{port}", "127.0.0.1:1"), {"jwks.json": key_set()}) as gateway:
        suite = Suite(tally, gateway, service)
        async with suite.channel() as channel:
            await suite.refusals(channel)
            tally.equal("no refused call reached the server", service.calls, 0)
            await suite.kinds(channel)
            await suite.metadata(channel)
            await suite.errors(channel)
            await suite.deadlines(channel)
            await suite.large(channel)
        await suite.many()
        end = time.monotonic() + DEADLINE
        while gateway.metric("scopegate_http_requests_in_flight") and time.monotonic() < end:
            await asyncio.sleep(0.05)
        tally.equal("nothing left in flight", gateway.metric("scopegate_http_requests_in_flight"), 0)
    await server.stop(None)


def main():
    tally = Tally("grpc_python")
    asyncio.run(run(tally))
    tally.finish()


main()

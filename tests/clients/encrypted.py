"""Nested tokens (signed, then encrypted) by Authlib, jwcrypto and npm `jose`, for every key and algorithm that all of
them have in common with the gateway, and some that the gateway must not take."""

import json
import os
import subprocess
import time
import warnings

import jwt as pyjwt
from common import DEADLINE, PROJECT, Gateway, Issuer, Tally, Upstream, definition, request
from jwcrypto import jwe, jwk

warnings.showwarning = lambda *_, **__: None
from authlib.jose import JsonWebEncryption, JsonWebKey  # noqa: E402

ENCS = ["A128GCM", "A192GCM", "A256GCM", "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512"]
RSA, ECDH = ["RSA-OAEP", "RSA-OAEP-256"], ["ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"]
# A key, and what is said about it: how it is configured, and which algorithms are for it.
KEYS = {
    "rsa": (jwk.JWK.generate(kty="RSA", size=2048), "pem", RSA),
    "p256": (jwk.JWK.generate(kty="EC", crv="P-256"), "pem", ECDH),
    "p521": (jwk.JWK.generate(kty="EC", crv="P-521"), "jwk", ECDH),
    "x25519": (jwk.JWK.generate(kty="OKP", crv="X25519"), "pem", ECDH),
}
SIGNER = jwk.JWK.generate(kty="RSA", size=2048)
IDENTIFIER = "https://items.test/api"


def thumbprint(key):
    return key.thumbprint()


def by_authlib(key, kid, alg, enc, inner, **header):
    protected = {"alg": alg, "enc": enc, "typ": "JWT", "cty": "JWT", **({"kid": kid} if kid else {}), **header}
    public = JsonWebKey.import_key(json.loads(key.export_public()))
    return JsonWebEncryption().serialize_compact(protected, inner, public).decode()


def by_jwcrypto(key, kid, alg, enc, inner, **header):
    protected = {"alg": alg, "enc": enc, "typ": "JWT", "cty": "JWT", **({"kid": kid} if kid else {}), **header}
    known = {*jwe.default_allowed_algs, alg, enc}
    token = jwe.JWE(inner, json.dumps(protected), algs=list(known))
    public = jwk.JWK(**json.loads(key.export_public()))
    token.add_recipient(public)
    return token.serialize(compact=True)


def by_jose(inner):
    keys = [
        {"jwk": json.loads(key.export_public()), "kid": thumbprint(key), "algs": algs}
        for key, _, algs in KEYS.values()
    ]
    # RSA-OAEP-384 and -512 are beyond Authlib and jwcrypto.
    keys[0]["algs"] = [*RSA, "RSA-OAEP-384", "RSA-OAEP-512"]
    script = (PROJECT / "tests/clients/node_jose/encrypted.mjs").read_text()
    argument = json.dumps({"inner": inner, "keys": keys, "encs": ENCS})
    command = ["node", "--input-type=module", "-", argument]
    done = subprocess.run(
        command,
        cwd=os.environ["SCOPEGATE_NODE_JOSE"],
        input=script,
        capture_output=True,
        timeout=DEADLINE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


def signed(issuer, **changes):
    now = int(time.time())
    claims = {
        "iss": issuer.issuer,
        "aud": IDENTIFIER,
        "sub": "auth0|7",
        "azp": "client-1",
        "iat": now,
        "exp": now + 600,
        "scope": "read:items",
        **changes,
    }
    return pyjwt.encode(claims, SIGNER.export_to_pem(True, None), algorithm="RS256", headers={"kid": "signer"})


def files():
    """The private keys, as a deployment keeps them."""
    return {
        name: key.export_private() if form == "jwk" else key.export_to_pem(True, None).decode()
        for name, (key, form, _) in KEYS.items()
    }


def configuration(issuer, upstream):
    public = KEYS["rsa"][0].export_to_pem().decode()
    encryption = {"alg": "RSA-OAEP-256", "kid": "of-the-definition", "pem": public}
    apis = [
        (definition(IDENTIFIER, "RS256"), "items.test", [f"file:{name}" for name in KEYS], False),
        (
            {
                **definition(IDENTIFIER + "/strict", "RS256"),
                "token_encryption": {"format": "compact-nested-jwe", "encryption_key": encryption},
            },
            "strict.test",
            ["env:STRICT_KEY"],
            None,
        ),
    ]
    return {
        "issuers": [{"issuer": issuer.issuer}],
        "apis": [
            {
                "definition": found,
                "hosts": [host],
                "decryption_keys": keys,
                **({} if accepts is None else {"accept_unencrypted": accepts}),
                "upstream": upstream.url,
                "routes": [{"path": "/items", "require": "read:items"}],
            }
            for found, host, keys, accepts in apis
        ],
    }


def main():
    tally = Tally("encrypted")
    with Issuer() as issuer, Upstream() as upstream:
        issuer.keys = [{**json.loads(SIGNER.export_public()), "kid": "signer", "use": "sig", "alg": "RS256"}]
        key = KEYS["rsa"][0].export_to_pem(True, None).decode()
        with Gateway(configuration(issuer, upstream), files(), {"STRICT_KEY": key}) as gateway:

            def ask(what, token, status, reason=None, host="items.test"):
                before = upstream.count
                headers = {"Host": host, "Authorization": f"Bearer {token}"}
                answer = request(gateway.address, "GET", "/items", headers)
                tally.equal(what, (answer.status, answer.reason), (status, reason))
                tally.equal(f"{what}: requests at the upstream", upstream.count - before, int(status == 200))

            inner = signed(issuer)
            for made in by_jose(inner):
                ask(f"jose {made['what']}", made["token"], 200)
            for library, encrypt in [("Authlib", by_authlib), ("jwcrypto", by_jwcrypto)]:
                for name, (key, _, algs) in KEYS.items():
                    for alg in algs:
                        for enc in ENCS:
                            for kid in (None, thumbprint(key)):
                                what = f"{library} {name} {alg} {enc}, {'with' if kid else 'without'} a key id"
                                ask(what, encrypt(key, kid, alg, enc, inner), 200)
                rsa = KEYS["rsa"][0]
                args = (rsa, None, "RSA-OAEP-256", "A256GCM")
                if library == "jwcrypto":  # Authlib does not have it any more.
                    old = encrypt(rsa, None, "RSA1_5", "A256GCM", inner)
                    ask(f"{library}, RSA1_5", old, 401, "unsupported_alg")
                ask(f"{library}, compressed", encrypt(*args, inner, zip="DEF"), 401, "malformed_token")
                ask(f"{library}, unknown key id", encrypt(rsa, "x", *args[2:], inner), 401, "decryption_failed")
                other = jwk.JWK.generate(kty="RSA", size=2048)
                ask(f"{library}, another key", encrypt(other, *args[1:], inner), 401, "decryption_failed")
                ask(f"{library}, expired", encrypt(*args, signed(issuer, exp=1)), 401, "expired")
                ask(f"{library}, another scope", encrypt(*args, signed(issuer, scope="x")), 403, "insufficient_scope")
                ask(f"{library}, twice", encrypt(*args, encrypt(*args, inner)), 401, "malformed_token")
                strict = signed(issuer, aud=IDENTIFIER + "/strict")
                named = encrypt(rsa, "of-the-definition", "RSA-OAEP-256", "A256GCM", strict)
                ask(f"{library}, as the definition says", named, 200, host="strict.test")
                weaker = encrypt(rsa, "of-the-definition", "RSA-OAEP", "A256GCM", strict)
                ask(f"{library}, with another algorithm", weaker, 401, "alg_mismatch", host="strict.test")
            ask("only signed", inner, 401, "unencrypted")
            ask("only signed, strict", signed(issuer, aud=IDENTIFIER + "/strict"), 401, "unencrypted", "strict.test")
            gateway.stop()
            text = json.dumps(gateway.access_log()) + "".join(gateway.log)
            tally.check("no token and no key in the logs", "eyJ" not in text and "PRIVATE" not in text)
    tally.finish()


main()

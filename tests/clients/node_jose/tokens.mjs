// Makes keys and tokens with npm `jose`: `node tokens.mjs ISSUER` prints { keys, tokens } as JSON. `node_jose.py` runs it.

import { SignJWT, UnsecuredJWT, exportJWK, generateKeyPair } from "jose";

const issuer = process.argv[2];
const secret = new TextEncoder().encode("a secret of the API that is quite long enough");
const algorithms = ["RS256", "PS256", "ES256", "EdDSA", "HS256"];
const keys = [];
const tokens = [];

function claims(alg, changes) {
  const base = { scope: "read:items", azp: "client-1", client_id: "client-1" };
  return { ...base, ...changes };
}

async function add(alg, key, what, status, reason, { typ = "at+jwt", audience, expires = "5m", changes } = {}) {
  const token = await new SignJWT(claims(alg, changes))
    .setProtectedHeader({ alg, typ, ...(alg === "HS256" ? {} : { kid: alg }) })
    .setIssuer(issuer)
    .setAudience(audience ?? `urn:${alg.toLowerCase()}`)
    .setSubject("auth0|7")
    .setJti(crypto.randomUUID())
    .setIssuedAt(expires === "-2m" ? "-10m" : undefined)
    .setExpirationTime(expires)
    .sign(key);
  tokens.push({ alg, what, status, reason, token });
}

for (const alg of algorithms) {
  let key = secret;
  if (alg !== "HS256") {
    const pair = await generateKeyPair(alg, { extractable: true });
    key = pair.privateKey;
    keys.push({ ...(await exportJWK(pair.publicKey)), kid: alg, alg, use: "sig" });
  }
  await add(alg, key, "good", 200, null);
  await add(alg, key, "several audiences", 200, null, { audience: ["urn:other", `urn:${alg.toLowerCase()}`] });
  await add(alg, key, "another audience", 401, "audience_mismatch", { audience: "urn:other" });
  await add(alg, key, "expired", 401, "expired", { expires: "-2m" });
  await add(alg, key, "an ID token", 401, "wrong_type", { typ: "JWT" });
  await add(alg, key, "another scope", 403, "insufficient_scope", { changes: { scope: "write:items" } });
  await add(alg, key, "permissions do not decide", 403, "insufficient_scope", {
    changes: { scope: undefined, permissions: ["read:items"] },
  });
  const other = alg === "HS256" ? new TextEncoder().encode("another secret that is long enough") : (await generateKeyPair(alg)).privateKey;
  await add(alg, other, "another key", 401, "bad_signature");
  const unsecured = new UnsecuredJWT(claims(alg)).setIssuer(issuer).setAudience(`urn:${alg.toLowerCase()}`).setExpirationTime("5m");
  tokens.push({ alg, what: "unsecured", status: 401, reason: "unsupported_alg", token: unsecured.encode() });
}

console.log(JSON.stringify({ keys, tokens }));

// Makes bound tokens and DPoP proofs with npm `jose` and `dpop`: `node proofs.mjs ISSUER AUDIENCE ADDRESS [NONCE]` prints
// { keys, cases } as JSON. `dpop.py` runs it.

import * as DPoP from "dpop";
import { SignJWT, calculateJwkThumbprint, exportJWK, generateKeyPair } from "jose";

const [issuer, audience, address, nonce] = process.argv.slice(2);
const signing = await generateKeyPair("RS256", { extractable: true });
const keys = [{ ...(await exportJWK(signing.publicKey)), kid: "key", alg: "RS256", use: "sig" }];
const cases = [];

for (const alg of ["ES256", "Ed25519", "RS256", "PS256"]) {
  const [own, other] = [await DPoP.generateKeyPair(alg), await DPoP.generateKeyPair(alg)];
  const jkt = await calculateJwkThumbprint(await exportJWK(own.publicKey));
  const token = await new SignJWT({ scope: "read:items", azp: "client-1", cnf: { jkt } })
    .setProtectedHeader({ alg: "RS256", typ: "JWT", kid: "key" })
    .setIssuer(issuer)
    .setAudience(audience)
    .setSubject("auth0|7")
    .setIssuedAt()
    .setExpirationTime("5m")
    .sign(signing.privateKey);
  const add = async (what, reason, pair, htu, htm, bound) => {
    cases.push({ alg, what, reason, token, proof: await DPoP.generateProof(pair, htu, htm, nonce, bound) });
  };
  await add("right", null, own, address, "GET", token);
  await add("right again", null, own, address, "GET", token);
  await add("another key", "dpop_wrong_key", other, address, "GET", token);
  await add("another method", "dpop_wrong_method", own, address, "POST", token);
  await add("another address", "dpop_wrong_address", own, `${address}/other`, "GET", token);
  await add("another token", "dpop_wrong_token", own, address, "GET", "another");
  await add("no token", "dpop_wrong_token", own, address, "GET");
}

console.log(JSON.stringify({ keys, cases }));

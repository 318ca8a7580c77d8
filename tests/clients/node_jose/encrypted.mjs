// Encrypts tokens with npm `jose`: reads { inner, keys: [{ jwk, kid, algs }], encs } as JSON from the first argument and
// prints [{ what, token }]. `encrypted.py` runs it.

import { CompactEncrypt, importJWK } from "jose";

const { inner, keys, encs } = JSON.parse(process.argv[2]);
const plain = new TextEncoder().encode(inner);
const made = [];
for (const { jwk, kid, algs } of keys) {
  for (const alg of algs) {
    const key = await importJWK(jwk, alg);
    for (const enc of encs) {
      const token = await new CompactEncrypt(plain)
        .setProtectedHeader({ alg, enc, typ: "JWT", cty: "JWT", kid })
        .encrypt(key);
      made.push({ what: `${jwk.crv ?? jwk.kty} ${alg} ${enc}`, token });
    }
  }
}
console.log(JSON.stringify(made));

// Verifies tokens with npm `jose` as a Node service would: reads { issuer, jwks, cells: [{ alg, typ, audience, token,
// secret, decryptionKey }] } as JSON from standard input and prints [{ claims } or { error }]. `authority_tokens.py`
// runs it.

import { compactDecrypt, createRemoteJWKSet, importPKCS8, jwtVerify } from "jose";

const parts = [];
for await (const part of process.stdin) parts.push(part);
const { issuer, jwks, cells } = JSON.parse(Buffer.concat(parts).toString());
const remote = createRemoteJWKSet(new URL(jwks));
const found = [];
for (const { alg, typ, audience, token, secret, decryption } of cells) {
  try {
    let inner = token;
    let outer;
    if (decryption) {
      const key = await importPKCS8(decryption.pem, decryption.alg);
      const opened = await compactDecrypt(token, key, { keyManagementAlgorithms: [decryption.alg] });
      inner = new TextDecoder().decode(opened.plaintext);
      outer = opened.protectedHeader;
    }
    const key = secret ? new TextEncoder().encode(secret) : remote;
    const { payload, protectedHeader } = await jwtVerify(inner, key, { issuer, audience, typ, algorithms: [alg] });
    found.push({ claims: payload, header: protectedHeader, outer });
  } catch (error) {
    found.push({ error: String(error) });
  }
}
console.log(JSON.stringify(found));

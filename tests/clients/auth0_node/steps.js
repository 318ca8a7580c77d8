// The steps of a service with npm `auth0`, @auth0/auth0-auth-js and express-oauth2-jwt-bearer. Prints what it found.
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";

import { AuthClient } from "@auth0/auth0-auth-js";
import { ManagementClient } from "auth0";
import express from "express";
import { auth, requiredScopes } from "express-oauth2-jwt-bearer";

const { domain, clientId, clientSecret } = JSON.parse(process.env.FACTS);
const management = new ManagementClient({ domain, clientId, clientSecret });
const found = {};

const refusal = async (call) => {
  try {
    await call();
    return "accepted";
  } catch (error) {
    return error.statusCode;
  }
};

const audience = "https://orders.example/api";
const api = await management.resourceServers.create({
  identifier: audience, name: "Orders", scopes: [{ value: "read:orders" }, { value: "admin:orders" }],
});
found.byIdentifier = (await management.resourceServers.get(audience)).id === api.id;
await management.resourceServers.update(api.id, { enforce_policies: true, token_dialect: "rfc9068_profile_authz" });
found.duplicate = await refusal(() => management.resourceServers.create({ identifier: audience }));
found.immutable = await refusal(() => management.resourceServers.update(api.id, { signing_alg: "PS256" }));
found.absent = await refusal(() => management.resourceServers.get("urn:none"));

const odd = "https://x.example/a b?c=%2F#d";
const oddApi = await management.resourceServers.create({ identifier: odd });
found.odd = (await management.resourceServers.get(odd)).id === oddApi.id;
await management.resourceServers.delete(odd);
found.oddGone = await refusal(() => management.resourceServers.get(odd));

for (let n = 0; n < 105; n += 1) await management.resourceServers.create({ identifier: `urn:many:${n}` });
const identifiers = [];
for await (const one of await management.resourceServers.list()) identifiers.push(one.identifier);
found.many = [identifiers.length, new Set(identifiers).size, identifiers.filter((one) => one.startsWith("urn:many:")).length];
for (let n = 0; n < 105; n += 1) await management.resourceServers.delete(`urn:many:${n}`);

const client = await management.clients.create({
  name: "svc", app_type: "non_interactive", grant_types: ["client_credentials"],
});
const grant = await management.clientGrants.create({ client_id: client.client_id, audience, scope: ["read:orders"] });
const { client_secret: secret } = await management.clients.rotateSecret(client.client_id);
found.rotated = secret !== client.client_secret;
const authClient = new AuthClient({ domain, clientId: client.client_id, clientSecret: secret });
const { accessToken } = await authClient.getTokenByClientCredentials({ audience });

const { publicKey, privateKey } = generateKeyPairSync("rsa", {
  modulusLength: 2048,
  publicKeyEncoding: { type: "spki", format: "pem" },
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
});
const signing = await management.clients.create({
  name: "signs", app_type: "non_interactive", grant_types: ["client_credentials"],
  client_authentication_methods: {
    private_key_jwt: { credentials: [{ name: "k", credential_type: "public_key", pem: publicKey, alg: "RS256" }] },
  },
});
await management.clientGrants.create({ client_id: signing.client_id, audience, scope: ["read:orders"] });
const signed = new AuthClient({ domain, clientId: signing.client_id, clientAssertionSigningKey: privateKey });
found.signed = Boolean((await signed.getTokenByClientCredentials({ audience })).accessToken);

const app = express();
app.use(auth({ issuerBaseURL: `https://${domain}`, audience, strict: true }));
app.get("/orders", requiredScopes("read:orders"), (_request, response) => response.json("orders"));
app.get("/admin", requiredScopes("admin:orders"), (_request, response) => response.json("admin"));
app.use((error, _request, response, _next) => {
  response.status(error.status ?? 500).set(error.headers ?? {}).json(error.code ?? null);
});
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");
const get = async (path, token) => {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`http://127.0.0.1:${server.address().port}${path}`, { headers });
  return [answer.status, await answer.json(), answer.headers.get("www-authenticate")];
};
found.allowed = await get("/orders", accessToken);
found.insufficient = await get("/admin", accessToken);
found.missing = await get("/orders");
found.invalid = await get("/orders", `${accessToken.slice(0, -8)}AAAAAAAA`);
server.close();

// An API of PS256: its tokens verify with the same keys.
await management.resourceServers.create({ identifier: "urn:ps", signing_alg: "PS256", scopes: [{ value: "a" }] });
await management.clientGrants.create({ client_id: client.client_id, audience: "urn:ps", scope: ["a"] });
const { accessToken: ps } = await authClient.getTokenByClientCredentials({ audience: "urn:ps" });
const psApp = express();
psApp.get("/", auth({ issuerBaseURL: `https://${domain}`, audience: "urn:ps" }), (_request, response) => response.json("ok"));
const psServer = psApp.listen(0, "127.0.0.1");
await once(psServer, "listening");
const psAnswer = await fetch(`http://127.0.0.1:${psServer.address().port}/`, { headers: { authorization: `Bearer ${ps}` } });
found.ps256 = [psAnswer.status, await psAnswer.text()];
psServer.close();

await management.clientGrants.delete(grant.id);
for (const one of [client, signing]) await management.clients.delete(one.client_id);
for (const one of [audience, "urn:ps"]) await management.resourceServers.delete(one);
console.log(JSON.stringify(found));

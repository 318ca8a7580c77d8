// A service of npm express and express-oauth2-jwt-bearer: `node server.mjs FACTS` with { issuer, apis: [{ host, audience,
// strict }] } prints the port, and serves until its standard input ends. `express_side_by_side.py` runs it.
//
// One Express app for each host, as one service each would be; the path says what is asked for.

import { once } from "node:events";

import express from "express";
import { auth, claimIncludes, requiredScopes } from "express-oauth2-jwt-bearer";

const { issuer, apis } = JSON.parse(process.argv[2]);
const good = (_request, response) => response.json({});
const byHost = new Map();

for (const { host, audience, strict } of apis) {
  const app = express();
  // A proxy in front ends TLS and says so.
  app.set("trust proxy", true);
  app.use(express.urlencoded({ extended: false }));
  app.use(auth({ issuerBaseURL: issuer, audience, strict }));
  app.all("/items", requiredScopes("read:items"), good);
  app.all("/both", requiredScopes(["read:items", "write:items"]), good);
  app.all("/permitted", claimIncludes("permissions", "read:items"), good);
  app.use((error, _request, response, _next) => {
    response.status(error.status ?? 500).set(error.headers ?? {}).json({ code: error.code ?? null });
  });
  byHost.set(host, app);
}

const whole = express();
whole.use((request, response, next) => byHost.get(request.hostname)(request, response, next));
const server = whole.listen(0, "127.0.0.1");
await once(server, "listening");
console.log(server.address().port);
process.stdin.resume();
await once(process.stdin, "end");
process.exit(0);

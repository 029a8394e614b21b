// What the host calls: a function that a script exports, and answers to what was asked of the host.

const asked = new Map();
let lastAsked = 0;

// Asks the host for something that takes time.
function ask(what, details) {
  lastAsked += 1;
  const id = lastAsked;
  return new Promise((resolve, reject) => {
    asked.set(id, { resolve, reject });
    host.ask(id, what, details);
  });
}

function answer(id, failure, value) {
  const waiting = asked.get(id);
  asked.delete(id);
  if (failure === undefined) waiting?.resolve(value);
  else waiting?.reject(new TypeError(failure));
}

async function run(exported, parts) {
  if (typeof exported !== "function") {
    throw new TypeError("a script exports a function: export default async function (request, ctx) { ... }");
  }
  const { method, url, headers, body, group, key, request_id, params, query } = parts;
  // A caller may send a body with any method; no program could make such a request of GET or HEAD.
  const request = new Request(url, { method, headers });
  if (body !== undefined) giveBody(request, received(body));
  const secret = (name, scope) => ask("secret", { name: String(name), scope: scope === undefined ? undefined : String(scope) });
  const ctx = Object.freeze({
    authenticatedKeyGroup: group,
    authenticatedKey: key === undefined ? undefined : Object.freeze(key),
    requestId: request_id,
    params: Object.freeze(Object.fromEntries(params)),
    query: Object.freeze(Object.fromEntries(query)),
    getSecret: secret,
    getCompleteSecret: (name) => ask("complete_secret", { name: String(name) }),
  });
  const response = await exported(request, ctx);
  if (!(response instanceof Response)) throw new TypeError("a script answers with a Response");
  if (response.type === "error") throw new TypeError("the script answered with Response.error()");
  return { status: response.status, headers: [...response.headers], body: packed(wholeBody(response)) };
}

for (const [name, value] of Object.entries({
  AbortController, AbortSignal, DOMException, Headers, Request, Response, TextDecoder, TextEncoder, URL, URLSearchParams,
  atob, btoa, clearInterval: clearTimeout, clearTimeout, console, crypto, fetch, performance, queueMicrotask, setInterval, setTimeout,
})) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
}
globalThis.self = globalThis;

return { run, answer, untilNextTimer, fireTimer, isAsking: () => asked.size > 0 };

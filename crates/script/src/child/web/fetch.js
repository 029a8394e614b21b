// Headers, Request, Response and fetch (Fetch standard). A body is read whole before anybody sees it: there are no streams.

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

function headerName(name) {
  const text = String(name);
  if (!TOKEN.test(text)) throw new TypeError(`${JSON.stringify(text)} is not the name of a header`);
  return text.toLowerCase();
}

function headerValue(value) {
  const text = String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "");
  if (/[\0\n\r]|[^\0-\xFF]/.test(text)) throw new TypeError("the value cannot stand in a header");
  return text;
}

class Headers {
  #pairs = [];

  constructor(init) {
    if (init === undefined) return;
    if (typeof init !== "object" || init === null) throw new TypeError("headers are made of pairs or an object");
    if (typeof init[Symbol.iterator] === "function") {
      for (const pair of init) {
        const [name, value, ...more] = pair;
        if (value === undefined || more.length > 0) throw new TypeError("each must be a name and a value");
        this.append(name, value);
      }
    } else {
      for (const name of Object.keys(init)) this.append(name, init[name]);
    }
  }

  append(name, value) {
    this.#pairs.push([headerName(name), headerValue(value)]);
  }

  delete(name) {
    const gone = headerName(name);
    this.#pairs = this.#pairs.filter((pair) => pair[0] !== gone);
  }

  get(name) {
    const wanted = headerName(name);
    const values = this.#pairs.filter((pair) => pair[0] === wanted).map((pair) => pair[1]);
    return values.length === 0 ? null : values.join(", ");
  }

  getSetCookie() {
    return this.#pairs.filter((pair) => pair[0] === "set-cookie").map((pair) => pair[1]);
  }

  has(name) {
    const wanted = headerName(name);
    return this.#pairs.some((pair) => pair[0] === wanted);
  }

  set(name, value) {
    const known = headerName(name);
    const text = headerValue(value);
    const first = this.#pairs.findIndex((pair) => pair[0] === known);
    this.#pairs = this.#pairs.filter((pair, at) => pair[0] !== known || at === first);
    if (first < 0) this.#pairs.push([known, text]);
    else this.#pairs[first][1] = text;
  }

  forEach(callback, thisArg) {
    for (const [name, value] of this) callback.call(thisArg, value, name, this);
  }

  *entries() {
    const names = [...new Set(this.#pairs.map((pair) => pair[0]))].sort();
    for (const name of names) {
      if (name === "set-cookie") for (const value of this.getSetCookie()) yield [name, value];
      else yield [name, this.get(name)];
    }
  }

  *keys() {
    for (const [name] of this.entries()) yield name;
  }

  *values() {
    for (const [, value] of this.entries()) yield value;
  }

  [Symbol.iterator]() {
    return this.entries();
  }
}

// What a body holds, a text or bytes, and what it is if it says that itself.
function extract(body) {
  if (body === undefined || body === null) return [null, null];
  if (body instanceof URLSearchParams) return [body.toString(), "application/x-www-form-urlencoded;charset=UTF-8"];
  const bytes = bytesOf(body);
  if (bytes !== undefined) return [bytes.slice(), null];
  return [String(body).toWellFormed(), "text/plain;charset=UTF-8"];
}

// The same for the host.
function packed(content) {
  if (content === null) return undefined;
  return typeof content === "string" ? { text: content } : { latin1: latin1(content) };
}

class Body {
  #content = null;
  #used = false;

  static give(body, content) {
    body.#content = content;
  }

  static whole(body) {
    if (body.#used) throw new TypeError("the body has been read already");
    return body.#content;
  }

  get bodyUsed() {
    return this.#used;
  }

  #read() {
    if (this.#used) throw new TypeError("the body has been read already");
    this.#used = this.#content !== null;
    return this.#content ?? "";
  }

  async bytes() {
    const content = this.#read();
    return typeof content === "string" ? new Uint8Array(host.encode(content)) : content.slice();
  }

  async arrayBuffer() {
    return (await this.bytes()).buffer;
  }

  async text() {
    const content = this.#read();
    return typeof content === "string" ? content.replace(/^\uFEFF/, "") : new TextDecoder().decode(content);
  }

  async json() {
    return JSON.parse(await this.text());
  }
}

const { give: giveBody, whole: wholeBody } = Body;
delete Body.give;
delete Body.whole;

// A body as the host gives it: a text, or an ArrayBuffer of what is none.
function received(body) {
  return typeof body === "string" ? body : new Uint8Array(body);
}

const USUAL = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

function methodOf(method) {
  const text = String(method);
  if (!TOKEN.test(text)) throw new TypeError(`${JSON.stringify(text)} is not a method`);
  const upper = text.toUpperCase();
  if (["CONNECT", "TRACE", "TRACK"].includes(upper)) throw new TypeError(`the method ${upper} is not allowed`);
  return USUAL.includes(upper) && upper !== "PATCH" ? upper : text;
}

class Request extends Body {
  #method = "GET";
  #url;
  #headers;
  #redirect = "follow";
  #signal;

  constructor(input, init = {}) {
    super();
    let inherited = null;
    if (input instanceof Request) {
      this.#method = input.#method;
      this.#url = input.#url;
      this.#redirect = input.#redirect;
      this.#signal = input.#signal;
      inherited = wholeBody(input);
    } else {
      const url = new URL(input);
      if (url.username !== "" || url.password !== "") throw new TypeError("a URL with a password cannot be asked");
      this.#url = url.href;
    }
    if (init.method !== undefined) this.#method = methodOf(init.method);
    this.#headers = new Headers(init.headers ?? (input instanceof Request ? input.#headers : undefined));
    if (init.redirect !== undefined) {
      if (!["follow", "error", "manual"].includes(init.redirect)) throw new TypeError("redirect is follow, error or manual");
      this.#redirect = init.redirect;
    }
    if (init.signal !== undefined) this.#signal = init.signal ?? undefined;
    const [content, type] = init.body === undefined || init.body === null ? [inherited, null] : extract(init.body);
    if (content !== null && ["GET", "HEAD"].includes(this.#method)) throw new TypeError("GET and HEAD have no body");
    if (type !== null && !this.#headers.has("content-type")) this.#headers.set("content-type", type);
    giveBody(this, content);
  }

  get method() {
    return this.#method;
  }

  get url() {
    return this.#url;
  }

  get headers() {
    return this.#headers;
  }

  get redirect() {
    return this.#redirect;
  }

  get signal() {
    this.#signal ??= new AbortSignal();
    return this.#signal;
  }

  clone() {
    return new Request(this);
  }
}

const WITHOUT_BODY = [204, 205, 304];

class Response extends Body {
  #status;
  #statusText;
  #headers;
  #url = "";
  #redirected = false;
  #type = "default";

  constructor(body = null, init = {}) {
    super();
    const { status = 200, statusText = "", headers } = init ?? {};
    const code = Number(status);
    if (!Number.isInteger(code) || code < 200 || code > 599) throw new RangeError("a status is 200 to 599");
    if (/[^\t\x20-\x7E\x80-\xFF]/.test(String(statusText))) throw new TypeError("this cannot be a status text");
    this.#status = code;
    this.#statusText = String(statusText);
    this.#headers = new Headers(headers);
    const [content, type] = extract(body);
    if (content !== null && WITHOUT_BODY.includes(code)) throw new TypeError(`an answer of ${code} has no body`);
    if (type !== null && !this.#headers.has("content-type")) this.#headers.set("content-type", type);
    giveBody(this, content);
  }

  static json(data, init = {}) {
    const text = JSON.stringify(data);
    if (text === undefined) throw new TypeError("this cannot be written as JSON");
    const headers = new Headers(init?.headers);
    if (!headers.has("content-type")) headers.set("content-type", "application/json");
    return new Response(text, { ...init, headers });
  }

  static redirect(url, status = 302) {
    const location = new URL(url).href;
    if (![301, 302, 303, 307, 308].includes(status)) throw new RangeError("a redirect is 301, 302, 303, 307 or 308");
    return new Response(null, { status, headers: { location } });
  }

  static error() {
    const response = new Response();
    response.#status = 0;
    response.#type = "error";
    return response;
  }

  static fetched(parts) {
    const bodiless = WITHOUT_BODY.includes(parts.status) || parts.body === undefined;
    const response = new Response(null, { status: parts.status, headers: parts.headers });
    if (!bodiless) giveBody(response, received(parts.body));
    response.#statusText = parts.status_text;
    response.#url = parts.url;
    response.#redirected = parts.redirected;
    response.#type = "basic";
    return response;
  }

  get status() {
    return this.#status;
  }

  get ok() {
    return this.#status >= 200 && this.#status <= 299;
  }

  get statusText() {
    return this.#statusText;
  }

  get headers() {
    return this.#headers;
  }

  get url() {
    return this.#url;
  }

  get redirected() {
    return this.#redirected;
  }

  get type() {
    return this.#type;
  }

  clone() {
    const content = wholeBody(this);
    const copy = new Response(null, { status: this.#status || 200, headers: this.#headers });
    copy.#status = this.#status;
    copy.#statusText = this.#statusText;
    copy.#url = this.#url;
    copy.#redirected = this.#redirected;
    copy.#type = this.#type;
    giveBody(copy, content);
    return copy;
  }
}

const { fetched } = Response;
delete Response.fetched;

async function fetch(input, init) {
  const request = new Request(input, init);
  request.signal.throwIfAborted();
  const answer = ask("fetch", {
    method: request.method,
    url: request.url,
    headers: [...request.headers],
    redirect: request.redirect,
    body: packed(wholeBody(request)),
  });
  const aborted = new Promise((_, reject) => {
    request.signal.addEventListener("abort", () => reject(request.signal.reason));
  });
  return fetched(await Promise.race([answer, aborted]));
}

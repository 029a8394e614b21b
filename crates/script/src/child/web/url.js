// URL and URLSearchParams (URL standard). The parser is the host's; a URL here is the text it wrote.

// application/x-www-form-urlencoded
function formEncode(text) {
  let out = "";
  for (const byte of new Uint8Array(host.encode(text))) {
    const character = String.fromCharCode(byte);
    if (/[A-Za-z0-9*\-._]/.test(character)) out += character;
    else if (byte === 32) out += "+";
    else out += "%" + byte.toString(16).toUpperCase().padStart(2, "0");
  }
  return out;
}

function formDecode(text) {
  const source = new Uint8Array(host.encode(text));
  const bytes = [];
  for (let at = 0; at < source.length; at += 1) {
    const hex = source[at] === 37 ? String.fromCharCode(source[at + 1] ?? 0, source[at + 2] ?? 0) : "";
    if (/^[0-9A-Fa-f]{2}$/.test(hex)) {
      bytes.push(parseInt(hex, 16));
      at += 2;
    } else {
      bytes.push(source[at] === 43 ? 32 : source[at]);
    }
  }
  return host.decode(latin1(new Uint8Array(bytes)), false);
}

class URLSearchParams {
  #pairs = [];
  #changed = undefined;

  constructor(init = "") {
    if (typeof init === "object" && init !== null && typeof init[Symbol.iterator] === "function") {
      for (const pair of init) {
        const [name, value, ...more] = pair;
        if (value === undefined || more.length > 0) throw new TypeError("each must be a name and a value");
        this.#pairs.push([String(name), String(value)]);
      }
    } else if (typeof init === "object" && init !== null) {
      for (const name of Object.keys(init)) this.#pairs.push([name, String(init[name])]);
    } else {
      this.#pairs = URLSearchParams.#parse(String(init));
    }
  }

  static #parse(text) {
    const query = text.startsWith("?") ? text.slice(1) : text;
    const parts = query.split("&").filter((part) => part !== "");
    return parts.map((part) => {
      const at = part.indexOf("=");
      const [name, value] = at < 0 ? [part, ""] : [part.slice(0, at), part.slice(at + 1)];
      return [formDecode(name), formDecode(value)];
    });
  }

  // For the URL that they are of.
  static follow(text, changed) {
    const params = new URLSearchParams(text);
    params.#changed = changed;
    return params;
  }

  static reset(params, text) {
    params.#pairs = URLSearchParams.#parse(text);
  }

  #tell() {
    this.#changed?.(this.toString());
  }

  get size() {
    return this.#pairs.length;
  }

  append(name, value) {
    this.#pairs.push([String(name), String(value)]);
    this.#tell();
  }

  delete(name, value) {
    this.#pairs = this.#pairs.filter(
      (pair) => pair[0] !== String(name) || (value !== undefined && pair[1] !== String(value)),
    );
    this.#tell();
  }

  get(name) {
    return this.#pairs.find((pair) => pair[0] === String(name))?.[1] ?? null;
  }

  getAll(name) {
    return this.#pairs.filter((pair) => pair[0] === String(name)).map((pair) => pair[1]);
  }

  has(name, value) {
    return this.#pairs.some((pair) => pair[0] === String(name) && (value === undefined || pair[1] === String(value)));
  }

  set(name, value) {
    const first = this.#pairs.findIndex((pair) => pair[0] === String(name));
    if (first < 0) {
      this.append(name, value);
      return;
    }
    this.#pairs[first][1] = String(value);
    this.#pairs = this.#pairs.filter((pair, at) => at <= first || pair[0] !== String(name));
    this.#tell();
  }

  sort() {
    this.#pairs.sort((one, other) => (one[0] < other[0] ? -1 : one[0] > other[0] ? 1 : 0));
    this.#tell();
  }

  forEach(callback, thisArg) {
    for (const [name, value] of this) callback.call(thisArg, value, name, this);
  }

  *entries() {
    for (const [name, value] of this.#pairs) yield [name, value];
  }

  *keys() {
    for (const [name] of this.#pairs) yield name;
  }

  *values() {
    for (const [, value] of this.#pairs) yield value;
  }

  [Symbol.iterator]() {
    return this.entries();
  }

  toString() {
    return this.#pairs.map(([name, value]) => `${formEncode(name)}=${formEncode(value)}`).join("&");
  }
}

const { follow: followParams, reset: resetParams } = URLSearchParams;
delete URLSearchParams.follow;
delete URLSearchParams.reset;

class URL {
  #parts;
  #params;

  constructor(url, base) {
    this.#parts = host.url(String(url), base === undefined ? undefined : String(base));
    if (this.#parts === undefined) throw new TypeError(`${url} is not a URL`);
    this.#params = followParams(this.search, (query) => this.#set("search", query, false));
  }

  static canParse(url, base) {
    return host.url(String(url), base === undefined ? undefined : String(base)) !== undefined;
  }

  static parse(url, base) {
    return URL.canParse(url, base) ? new URL(url, base) : null;
  }

  #set(part, value, tell = true) {
    this.#parts = host.set_url(this.#parts.href, part, String(value)) ?? this.#parts;
    if (tell) resetParams(this.#params, this.search);
  }

  get href() {
    return this.#parts.href;
  }

  set href(value) {
    const parts = host.url(String(value), undefined);
    if (parts === undefined) throw new TypeError(`${value} is not a URL`);
    this.#parts = parts;
    resetParams(this.#params, this.search);
  }

  get origin() {
    return this.#parts.origin;
  }

  get searchParams() {
    return this.#params;
  }

  toString() {
    return this.href;
  }

  toJSON() {
    return this.href;
  }

  static {
    for (const part of ["protocol", "username", "password", "host", "hostname", "port", "pathname", "search", "hash"]) {
      Object.defineProperty(URL.prototype, part, {
        get() {
          return this.#parts[part];
        },
        set(value) {
          this.#set(part, value);
        },
        enumerable: true,
        configurable: true,
      });
    }
  }
}

// TextEncoder, TextDecoder, atob and btoa (Encoding standard; HTML standard, section 8.3).

class TextEncoder {
  get encoding() {
    return "utf-8";
  }

  encode(text = "") {
    return new Uint8Array(host.encode(String(text)));
  }

  encodeInto(text, into) {
    let read = 0;
    let written = 0;
    for (const character of String(text)) {
      const bytes = this.encode(character);
      if (written + bytes.length > into.length) break;
      into.set(bytes, written);
      written += bytes.length;
      read += character.length;
    }
    return { read, written };
  }
}

class TextDecoder {
  #fatal;
  #ignoreBOM;

  constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
    if (!["utf-8", "utf8", "unicode-1-1-utf-8"].includes(String(label).trim().toLowerCase())) {
      throw new RangeError(`the encoding ${label} is not supported`);
    }
    this.#fatal = Boolean(fatal);
    this.#ignoreBOM = Boolean(ignoreBOM);
  }

  get encoding() {
    return "utf-8";
  }

  get fatal() {
    return this.#fatal;
  }

  get ignoreBOM() {
    return this.#ignoreBOM;
  }

  decode(input) {
    const bytes = input === undefined ? new Uint8Array() : bytesOf(input);
    if (bytes === undefined) throw new TypeError("decode takes an ArrayBuffer or a view of one");
    const text = host.decode(latin1(bytes), this.#fatal);
    if (text === undefined) throw new TypeError("the data is not UTF-8");
    return !this.#ignoreBOM && text.startsWith("\uFEFF") ? text.slice(1) : text;
  }
}

// The bytes of an ArrayBuffer or a view of one; undefined for anything else.
function bytesOf(input) {
  if (input instanceof ArrayBuffer) return new Uint8Array(input);
  if (ArrayBuffer.isView(input)) return new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
  return undefined;
}

// Bytes as a text of as many characters: so they go to the host.
function latin1(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + 4096));
  }
  return text;
}

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

function btoa(data) {
  const text = String(data);
  let out = "";
  for (let at = 0; at < text.length; at += 3) {
    const codes = [0, 1, 2].map((next) => (at + next < text.length ? text.charCodeAt(at + next) : 0));
    if (codes.some((code) => code > 255)) {
      throw new DOMException("the text has characters beyond U+00FF", "InvalidCharacterError");
    }
    const bits = (codes[0] << 16) | (codes[1] << 8) | codes[2];
    const digits = [18, 12, 6, 0].map((shift) => BASE64[(bits >> shift) & 63]);
    const missing = Math.max(0, at + 3 - text.length);
    out += digits.slice(0, 4 - missing).join("") + "=".repeat(missing);
  }
  return out;
}

function atob(data) {
  let text = String(data).replace(/[\t\n\f\r ]/g, "");
  if (text.length % 4 === 0) text = text.replace(/==?$/, "");
  if (text.length % 4 === 1 || /[^A-Za-z0-9+/]/.test(text)) {
    throw new DOMException("the text is not base64", "InvalidCharacterError");
  }
  let out = "";
  let bits = 0;
  let count = 0;
  for (const character of text) {
    bits = (bits << 6) | BASE64.indexOf(character);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += String.fromCharCode((bits >> count) & 255);
      bits &= (1 << count) - 1;
    }
  }
  return out;
}

// What scripts rely on of the web platform. Answers with the names of those expectations that do not hold.

const failures = [];

function same(name, got, wanted) {
  const [one, other] = [JSON.stringify(got) ?? String(got), JSON.stringify(wanted) ?? String(wanted)];
  if (one !== other) failures.push(`${name}: ${one} instead of ${other}`);
}

function throws(name, type, act) {
  try {
    act();
    failures.push(`${name}: nothing was thrown`);
  } catch (error) {
    if (!(error instanceof type)) failures.push(`${name}: ${error} is no ${type.name}`);
  }
}

async function rejects(name, type, promise) {
  try {
    await promise;
    failures.push(`${name}: it was not rejected`);
  } catch (error) {
    if (!(error instanceof type)) failures.push(`${name}: ${error} is no ${type.name}`);
  }
}

function headers() {
  const list = new Headers([["B", "2"], ["a", " 1 "], ["b", "3"], ["Set-Cookie", "x=1"], ["set-cookie", "y=2"]]);
  same("headers are sorted, lower case and combined", [...list], [["a", "1"], ["b", "2, 3"], ["set-cookie", "x=1"], ["set-cookie", "y=2"]]);
  same("get combines", list.get("B"), "2, 3");
  same("get of nothing", list.get("c"), null);
  same("cookies apart", list.getSetCookie(), ["x=1", "y=2"]);
  list.set("B", "4");
  list.delete("A");
  same("set replaces, delete removes", [list.get("b"), list.has("a")], ["4", false]);
  same("from an object", new Headers({ "X-Y": 1 }).get("x-y"), "1");
  same("from headers", [...new Headers(new Headers({ a: "b" }))], [["a", "b"]]);
  throws("a name with a space", TypeError, () => new Headers({ "a b": "c" }));
  throws("a value with a line break", TypeError, () => new Headers({ a: "b\nc" }));
  throws("a value beyond a byte", TypeError, () => new Headers({ a: "\u0100" }));
  throws("a pair of three", TypeError, () => new Headers([["a", "b", "c"]]));
}

async function bodies() {
  const text = new Response("grün");
  same("a text says what it is", text.headers.get("content-type"), "text/plain;charset=UTF-8");
  same("its text", await text.text(), "grün");
  same("it is used then", text.bodyUsed, true);
  await rejects("read twice", TypeError, text.text());
  same("its bytes", [...(await new Response("ü").bytes())], [195, 188]);
  same("an array buffer", (await new Response("ü").arrayBuffer()).byteLength, 2);
  same("bytes come back", [...(await new Response(new Uint8Array([0, 255, 128])).bytes())], [0, 255, 128]);
  same("bytes say nothing of themselves", new Response(new Uint8Array(1)).headers.get("content-type"), null);
  same("a view of a part", await new Response(new Uint8Array([65, 66, 67]).subarray(1)).text(), "BC");
  same("bytes that are no text", await new Response(new Uint8Array([65, 255])).text(), "A\uFFFD");
  same("a byte order mark is cut off", await new Response("\uFEFFa").text(), "a");
  same("lone surrogates", await new Response("\uD800").text(), "\uFFFD");
  same("json", await new Response('{"a":[1]}').json(), { a: [1] });
  await rejects("what is no json", SyntaxError, new Response("{").json());
  const form = new Response(new URLSearchParams({ a: "b c" }));
  same("a form", [form.headers.get("content-type"), await form.text()], ["application/x-www-form-urlencoded;charset=UTF-8", "a=b+c"]);
  same("nothing", [await new Response().text(), new Response(null).bodyUsed], ["", false]);
  const one = new Response("twice");
  const two = one.clone();
  same("a clone", [await one.text(), await two.text()], ["twice", "twice"]);
}

async function responses() {
  const made = new Response("x", { status: 201, statusText: "Made", headers: { "X-A": "b" } });
  same("what it is made of", [made.status, made.statusText, made.ok, made.headers.get("x-a"), made.type], [201, "Made", true, "b", "default"]);
  same("200 by default", [new Response().status, new Response(null, { status: 404 }).ok], [200, false]);
  const data = Response.json({ a: 1 }, { status: 202 });
  same("json", [data.status, data.headers.get("content-type"), await data.text()], [202, "application/json", '{"a":1}']);
  const away = Response.redirect("https://example.com/a", 307);
  same("redirect", [away.status, away.headers.get("location")], [307, "https://example.com/a"]);
  same("error", [Response.error().status, Response.error().type], [0, "error"]);
  for (const status of [199, 600, 1.5, "x"]) throws(`status ${status}`, RangeError, () => new Response(null, { status }));
  throws("204 with a body", TypeError, () => new Response("", { status: 204 }));
  throws("redirect with 200", RangeError, () => Response.redirect("https://example.com", 200));
  throws("undefined as json", TypeError, () => Response.json(undefined));
}

async function requests() {
  const get = new Request("https://Example.com:443/a b?c#d");
  same("address and method", [get.url, get.method, get.redirect], ["https://example.com/a%20b?c#d", "GET", "follow"]);
  const post = new Request("http://x/", { method: "post", body: "a", headers: { a: "b" } });
  same("a method in capitals", [post.method, post.headers.get("content-type"), await post.clone().text()], ["POST", "text/plain;charset=UTF-8", "a"]);
  same("patch stays as it is written", new Request("http://x/", { method: "patch" }).method, "patch");
  const again = new Request(post, { headers: { c: "d" } });
  same("of another request", [again.method, [...again.headers], await again.text()], ["POST", [["c", "d"], ["content-type", "text/plain;charset=UTF-8"]].slice(0, 1), "a"]);
  throws("no address", TypeError, () => new Request("/relative"));
  throws("a password in the address", TypeError, () => new Request("http://a:b@x/"));
  throws("GET with a body", TypeError, () => new Request("http://x/", { body: "a" }));
  throws("TRACE", TypeError, () => new Request("http://x/", { method: "trace" }));
  throws("no method", TypeError, () => new Request("http://x/", { method: "a b" }));
}

function addresses() {
  const url = new URL("../b/./c?q=1&q=2#h", "HTTPS://User:pw@EXAMPLE.com:8443/a/x/");
  same("parts", [url.protocol, url.username, url.password, url.host, url.hostname, url.port, url.pathname, url.search, url.hash, url.origin],
    ["https:", "User", "pw", "example.com:8443", "example.com", "8443", "/a/b/c", "?q=1&q=2", "#h", "https://example.com:8443"]);
  url.searchParams.append("é", "&=");
  same("the query follows", url.search, "?q=1&q=2&%C3%A9=%26%3D");
  url.search = "?a=b";
  same("and is followed", [url.searchParams.get("a"), url.searchParams.has("q")], ["b", false]);
  url.port = "";
  url.hash = "";
  url.pathname = "/é";
  url.username = "";
  url.password = "";
  same("changed", [url.href, String(url), JSON.stringify({ url })], ["https://example.com/%C3%A9?a=b", "https://example.com/%C3%A9?a=b", '{"url":"https://example.com/%C3%A9?a=b"}']);
  same("a default port goes", new URL("http://x:80/").port, "");
  same("an address in another writing", new URL("http://0x7f.1/").hostname, "127.0.0.1");
  same("can be parsed", [URL.canParse("http://x"), URL.canParse("x"), URL.parse("x")], [true, false, null]);
  throws("no address", TypeError, () => new URL("nonsense"));

  const params = new URLSearchParams("?a=1&b=%20+x&a=2&c");
  same("pairs", [...params], [["a", "1"], ["b", "  x"], ["a", "2"], ["c", ""]]);
  same("all of one", [params.getAll("a"), params.get("z"), params.size], [["1", "2"], null, 4]);
  params.set("a", "3");
  params.delete("c");
  params.append("d", "ä&");
  params.sort();
  same("written", params.toString(), "a=3&b=++x&d=%C3%A4%26");
  same("of an object and of pairs", [String(new URLSearchParams({ x: 1 })), String(new URLSearchParams([["y", "2"]]))], ["x=1", "y=2"]);
  same("half an escape", new URLSearchParams("a=%zz%4").get("a"), "%zz%4");
  same("with a value", [params.has("a", "3"), params.has("a", "4")], [true, false]);
}

function texts() {
  same("encode", [...new TextEncoder().encode("ä€😀")], [195, 164, 226, 130, 172, 240, 159, 152, 128]);
  same("encodeInto", new TextEncoder().encodeInto("aä", new Uint8Array(2)), { read: 1, written: 1 });
  same("decode", new TextDecoder().decode(new Uint8Array([239, 187, 191, 195, 164])), "ä");
  same("keep the mark", new TextDecoder("utf-8", { ignoreBOM: true }).decode(new Uint8Array([239, 187, 191])), "\uFEFF");
  throws("fatal", TypeError, () => new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array([255])));
  throws("another encoding", RangeError, () => new TextDecoder("utf-16"));
  same("base64", [btoa("ab"), atob("YWI="), atob(" YW I "), btoa("")], ["YWI=", "ab", "ab", ""]);
  throws("what is no base64", DOMException, () => atob("a"));
  throws("what is no byte", DOMException, () => btoa("€"));
}

async function times() {
  const order = [];
  setTimeout(() => order.push("second"), 5);
  setTimeout((word) => order.push(word), 1, "first");
  clearTimeout(setTimeout(() => order.push("never"), 1));
  queueMicrotask(() => order.push("at once"));
  await new Promise((resolve) => setTimeout(resolve, 20));
  same("timers", order, ["at once", "first", "second"]);
  let ticks = 0;
  await new Promise((resolve) => {
    const id = setInterval(() => {
      ticks += 1;
      if (ticks === 3) resolve(clearInterval(id));
    }, 1);
  });
  same("an interval", ticks, 3);
  same("time goes on", performance.now() > 0, true);
}

async function signals() {
  const controller = new AbortController();
  let told = 0;
  controller.signal.addEventListener("abort", () => (told += 1));
  controller.abort();
  controller.abort();
  same("aborted once", [controller.signal.aborted, told, controller.signal.reason.name], [true, 1, "AbortError"]);
  throws("thrown", DOMException, () => controller.signal.throwIfAborted());
  const slow = AbortSignal.timeout(1);
  await new Promise((resolve) => setTimeout(resolve, 10));
  same("timeout", slow.reason?.name, "TimeoutError");
  same("any", AbortSignal.any([new AbortController().signal, controller.signal]).aborted, true);
  await rejects("fetch of the aborted", DOMException, fetch("http://x/", { signal: controller.signal }));
}

function chance() {
  const id = crypto.randomUUID();
  same("an id", /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id) && id !== crypto.randomUUID(), true);
  const bytes = crypto.getRandomValues(new Uint8Array(64));
  same("bytes", [bytes.length, new Set(bytes).size > 20], [64, true]);
  throws("too many", DOMException, () => crypto.getRandomValues(new Uint8Array(65_537)));
  throws("no integers", DOMException, () => crypto.getRandomValues(new Float64Array(1)));
}

function surroundings() {
  for (const name of ["process", "require", "Deno", "os", "std", "host", "__keyrack", "ask", "timers"]) {
    same(`there is no ${name}`, typeof globalThis[name], "undefined");
  }
  same("self", self === globalThis, true);
  throws("strict", TypeError, () => {
    Object.freeze([]).push(1);
  });
}

const PARTS = [headers, bodies, responses, requests, addresses, texts, times, signals, chance, surroundings];

export default async function () {
  for (const part of PARTS) {
    try {
      await part();
    } catch (error) {
      failures.push(`${part.name}: ${error}\n${error.stack}`);
    }
  }
  return Response.json(failures);
}

// DOMException, AbortController and AbortSignal (DOM standard), timers (HTML standard), and what else programs take for granted.

class DOMException extends Error {
  #name;

  constructor(message = "", name = "Error") {
    super(String(message));
    this.#name = String(name);
  }

  get name() {
    return this.#name;
  }
}

const ABORT = Symbol("abort");

class AbortSignal {
  #reason = undefined;
  #aborted = false;
  #listeners = new Set();
  onabort = null;

  static abort(reason) {
    const signal = new AbortSignal();
    signal[ABORT](reason);
    return signal;
  }

  static timeout(milliseconds) {
    const signal = new AbortSignal();
    setTimeout(() => signal[ABORT](new DOMException("the time is over", "TimeoutError")), milliseconds);
    return signal;
  }

  static any(signals) {
    const any = new AbortSignal();
    for (const signal of signals) {
      if (signal.aborted) any[ABORT](signal.reason);
      else signal.addEventListener("abort", () => any[ABORT](signal.reason));
    }
    return any;
  }

  [ABORT](reason) {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason === undefined ? new DOMException("it was aborted", "AbortError") : reason;
    const event = { type: "abort", target: this };
    this.onabort?.(event);
    for (const listener of this.#listeners) listener.call(this, event);
  }

  get aborted() {
    return this.#aborted;
  }

  get reason() {
    return this.#reason;
  }

  throwIfAborted() {
    if (this.#aborted) throw this.#reason;
  }

  addEventListener(type, listener) {
    if (type === "abort" && typeof listener === "function") this.#listeners.add(listener);
  }

  removeEventListener(type, listener) {
    if (type === "abort") this.#listeners.delete(listener);
  }
}

class AbortController {
  signal = new AbortSignal();

  abort(reason) {
    this.signal[ABORT](reason);
  }
}

const timers = new Map();
let lastTimer = 0;

function addTimer(callback, delay, values, every) {
  if (typeof callback !== "function") throw new TypeError("a timer calls a function");
  const wait = Math.max(every ? 1 : 0, Number(delay) || 0);
  lastTimer += 1;
  timers.set(lastTimer, { callback, values, wait, every, due: host.elapsed() + wait });
  return lastTimer;
}

function setTimeout(callback, delay = 0, ...values) {
  return addTimer(callback, delay, values, false);
}

function setInterval(callback, delay = 0, ...values) {
  return addTimer(callback, delay, values, true);
}

function clearTimeout(id) {
  timers.delete(id);
}

// How many milliseconds it is to the next timer; undefined without any.
function untilNextTimer() {
  let next;
  for (const { due } of timers.values()) next = next === undefined || due < next ? due : next;
  return next === undefined ? undefined : Math.max(0, next - host.elapsed());
}

// Calls the timer that is due for longest.
function fireTimer() {
  const now = host.elapsed();
  let first;
  for (const [id, timer] of timers) {
    if (timer.due <= now && (first === undefined || timer.due < first[1].due)) first = [id, timer];
  }
  if (first === undefined) return;
  const [id, timer] = first;
  if (timer.every) timer.due = now + timer.wait;
  else timers.delete(id);
  timer.callback(...timer.values);
}

function queueMicrotask(callback) {
  if (typeof callback !== "function") throw new TypeError("queueMicrotask calls a function");
  Promise.resolve().then(callback);
}

const crypto = Object.freeze({
  randomUUID() {
    return host.random_uuid();
  },
  getRandomValues(into) {
    const bytes = bytesOf(into);
    if (bytes === undefined || into instanceof ArrayBuffer || into instanceof DataView || /Float/.test(into.constructor.name)) {
      throw new DOMException("getRandomValues fills arrays of integers", "TypeMismatchError");
    }
    if (bytes.length > 65536) throw new DOMException("at most 65536 bytes at once", "QuotaExceededError");
    bytes.set(new Uint8Array(host.random(bytes.length)));
    return into;
  },
});

const performance = Object.freeze({
  now() {
    return host.elapsed();
  },
});

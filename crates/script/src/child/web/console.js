// console (Console standard), as far as a log has lines.

function shown(value, depth = 0, seen = new Set()) {
  switch (typeof value) {
    case "string":
      return depth === 0 ? value : JSON.stringify(value);
    case "bigint":
      return `${value}n`;
    case "symbol":
      return value.toString();
    case "function":
      return `[Function ${value.name || "anonymous"}]`;
    case "object":
      break;
    default:
      return String(value);
  }
  if (value === null) return "null";
  if (value instanceof Error) return `${value.name}: ${value.message}${value.stack ? `\n${value.stack.trimEnd()}` : ""}`;
  if (seen.has(value)) return "[Circular]";
  if (depth > 4) return "[Object]";
  const inside = new Set(seen).add(value);
  const inner = (one) => shown(one, depth + 1, inside);
  if (Array.isArray(value)) {
    const listed = value.slice(0, 100).map(inner);
    return `[${listed.join(", ")}${value.length > 100 ? `, ... ${value.length - 100} more` : ""}]`;
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString();
  if (value instanceof Map) return `Map {${[...value].map(([k, v]) => `${inner(k)} => ${inner(v)}`).join(", ")}}`;
  if (value instanceof Set) return `Set {${[...value].map(inner).join(", ")}}`;
  if (value instanceof URL) return value.href;
  if (value instanceof Headers) return `Headers {${[...value].map(([k, v]) => `${k}: ${inner(v)}`).join(", ")}}`;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.constructor.name} of ${value.byteLength} bytes]`;
  const fields = Object.keys(value).slice(0, 100);
  return `{${fields.map((name) => `${/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name)}: ${inner(value[name])}`).join(", ")}}`;
}

function line(values) {
  return values
    .map((value) => {
      try {
        return shown(value);
      } catch (error) {
        return `[cannot be shown: ${error}]`;
      }
    })
    .join(" ");
}

const counts = new Map();
const begun = new Map();
const console = {};
for (const [name, level] of [["debug", 0], ["log", 1], ["info", 1], ["dir", 1], ["warn", 2], ["error", 3], ["trace", 0]]) {
  console[name] = (...values) => host.log(level, line(values));
}
console.assert = (holds, ...values) => {
  if (!holds) host.log(3, line(["Assertion failed", ...values]));
};
console.count = (label = "default") => {
  counts.set(label, (counts.get(label) ?? 0) + 1);
  host.log(1, `${label}: ${counts.get(label)}`);
};
console.time = (label = "default") => void begun.set(label, host.elapsed());
console.timeEnd = (label = "default") => {
  if (begun.has(label)) host.log(1, `${label}: ${(host.elapsed() - begun.get(label)).toFixed(2)} ms`);
  begun.delete(label);
};

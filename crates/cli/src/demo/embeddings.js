// A stand-in for a model: hashed n-grams. Each run of three letters adds to one of 384 numbers, so that texts with the same words lie
// close together. It knows nothing of what they mean.
const DIMENSIONS = 384;

// FNV-1a, 32 bits.
function hash(text) {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  return value >>> 0;
}

function embed(text) {
  const numbers = new Float64Array(DIMENSIONS);
  const padded = ` ${text.toLowerCase().normalize("NFKC")} `;
  for (let at = 0; at + 3 <= padded.length; at += 1) {
    const value = hash(padded.slice(at, at + 3));
    numbers[value % DIMENSIONS] += value & 0x10000 ? 1 : -1;
  }
  const length = Math.hypot(...numbers) || 1;
  return Array.from(numbers, (number) => number / length);
}

export default async function (request) {
  if (request.method === "GET") return Response.json({ model: "hashed-ngrams", dimensions: DIMENSIONS });
  const body = await request.json().catch(() => null);
  const texts = [body?.input ?? body?.text].flat();
  if (!texts.every((text) => typeof text === "string")) {
    return Response.json({ error: "send {\"input\": \"a text\"}, or a list of texts" }, { status: 400 });
  }
  const data = texts.map((text, index) => ({ object: "embedding", index, embedding: embed(text) }));
  return Response.json({ object: "list", model: "hashed-ngrams", data });
}

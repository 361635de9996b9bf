// Reads StatsService over gRPC-Web by hand: the page ships inside the binary and has nothing to build.

const WINDOW_S = 300;
const RETRY_MS = 1000;
const SERVICE = "/headwater.stats.v1.StatsService/";
const text = { decode: new TextDecoder(), encode: new TextEncoder() };

// Protobuf, as much of it as is needed here.

function varint(n) {
  const bytes = [];
  for (; n > 127; n = Math.floor(n / 128)) bytes.push((n % 128) | 128);
  return [...bytes, n];
}
const bytesField = (number, bytes) => [...varint(number * 8 + 2), ...varint(bytes.length), ...bytes];
const textField = (number, value) => bytesField(number, text.encode.encode(value));
const numberField = (number, value) => [...varint(number * 8), ...varint(value)];

// Fields by number, each a list: integers as BigInt, everything else as bytes.
function fields(bytes) {
  const found = {};
  let at = 0;
  const integer = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = Number(integer());
    let value;
    if (tag % 8 === 0) value = integer();
    else if (tag % 8 === 2) { const length = Number(integer()); value = bytes.subarray(at, at += length); }
    else value = bytes.subarray(at, at += tag % 8 === 1 ? 8 : 4);
    (found[tag >> 3] ??= []).push(value);
  }
  return found;
}
const textOf = (found, number) => found[number] ? text.decode.decode(found[number][0]) : "";
const listOf = (found, number) => (found[number] ?? []).map(fields);

// gRPC-Web: each message has a byte of flags and four of length before it; the last one is the trailers.

async function call(method, message, onMessage) {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  const headers = { "content-type": "application/grpc-web+proto", "x-grpc-web": "1" };
  if (token) headers.authorization = `Bearer ${token}`;
  const length = message.length;
  const body = new Uint8Array([0, length >>> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255, ...message]);
  const response = await fetch(SERVICE + method, { method: "POST", headers, body });
  const check = (status, detail) => {
    if (status && status !== "0") throw new Error(decodeURIComponent(detail ?? "") || `gRPC status ${status}`);
  };
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  check(response.headers.get("grpc-status"), response.headers.get("grpc-message"));
  let held = new Uint8Array();
  for (const reader = response.body.getReader(); ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(held.length + value.length);
    joined.set(held);
    joined.set(value, held.length);
    held = joined;
    while (held.length >= 5) {
      const size = new DataView(held.buffer, held.byteOffset).getUint32(1);
      if (held.length < 5 + size) break;
      const frame = held.subarray(5, 5 + size);
      if (held[0] & 128) {
        const trailers = Object.fromEntries(text.decode.decode(frame).trim().split("\r\n").map((line) => line.split(/:\s*/, 2)));
        check(trailers["grpc-status"], trailers["grpc-message"]);
      } else onMessage(fields(frame));
      held = held.slice(5 + size);
    }
  }
}

// The page.

const state = document.getElementById("state");
const main = document.getElementById("stats");

function show(stat, result) {
  const id = `${stat.stream}/${stat.name}`;
  let section = document.getElementById(id);
  if (!section) {
    section = main.appendChild(document.createElement("section"));
    section.id = id;
    const title = section.appendChild(document.createElement("h2"));
    title.append(`${stat.title} `);
    title.appendChild(document.createElement("small")).textContent = stat.stream;
    section.appendChild(document.createElement("div"));
  }
  const values = listOf(result, 5).map((value) => [textOf(value, 1), textOf(value, 3)]);
  const body = document.createElement("div");
  if (!stat.by) {
    body.className = "figure";
    body.textContent = values[0]?.[1] ?? "0";
  } else if (values.length === 0) {
    body.className = "note";
    body.textContent = "nothing yet";
  } else {
    const table = body.appendChild(document.createElement("table"));
    for (const [key, figure] of values) {
      const row = table.insertRow();
      row.insertCell().textContent = key;
      row.insertCell().textContent = figure;
    }
  }
  section.lastChild.replaceWith(body);
  return result[10]?.[0] === 1n;
}

async function live() {
  const stats = [];
  await call("ListStats", [], (answer) => stats.push(...listOf(answer, 1).map((stat) => ({
    stream: textOf(stat, 1), name: textOf(stat, 2), title: textOf(stat, 3), by: textOf(stat, 6),
  }))));
  const query = (stat) =>
    [...textField(1, stat.stream), ...textField(2, stat.name), ...bytesField(4, numberField(1, WINDOW_S)), ...numberField(5, 5)];
  const request = stats.flatMap((stat) => bytesField(1, query(stat)));
  await call("SubscribeStats", request, (answer) => {
    const complete = listOf(answer, 1).map((result, i) => show(stats[i], result)).every(Boolean);
    state.dataset.live = "yes";
    state.textContent = `${complete ? "live" : "being mended, figures may be low"} · ${new Date().toLocaleTimeString()}`;
  });
}

for (;;) {
  try {
    await live();
  } catch (error) {
    state.textContent = `not connected: ${error.message}`;
  }
  state.dataset.live = "no";
  await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
}

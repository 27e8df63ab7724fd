// The real xterm.js, without a window, at a terminal of Colony by the example's own module.
//
//     node xterm.mjs FOLDER URL TOKEN ORIGIN ROWS COLUMNS
//
// FOLDER is examples/browser-terminal with its packages installed. Commands come as lines of JSON,
// each is answered by a line: what the terminal shows by then.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [folder, url, token, origin, rows, columns] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { Terminal } = require("@xterm/headless");
const Socket = require("ws");
const { ColonyTerminal } = await import(pathToFileURL(`${folder}/colony-terminal.js`));

const term = new Terminal({ rows: +rows, cols: +columns, scrollback: 50_000, allowProposedApi: true });
let status = "", exit = null, held = false, acknowledged = 0;
const seat = new ColonyTerminal(term, url, {
  token,
  onStatus: (text) => (status = text),
  onExit: (message) => (exit = message),
  // As a page would: with an Origin, which this package leaves out otherwise.
  makeSocket: (url, protocols) => new Socket(url, protocols, { origin }),
});
const tell = seat.tell.bind(seat);
seat.tell = (message) => {
  if (message.t === "ack") {
    if (held) return;
    acknowledged += message.bytes;
  }
  tell(message);
};

const commands = {
  type: ({ text }) => term.input(text),
  resize: ({ rows, columns }) => seat.resize(rows, columns),
  drop: () => seat.socket.terminate(), // without a farewell
  hold: () => (held = true), // nothing is acknowledged any more
  look: () => {},
  close: () => seat.close(),
};

function shown() {
  const buffer = term.buffer.active;
  const line = (y) => buffer.getLine(y)?.translateToString().trimEnd() ?? "";
  const normal = term.buffer.normal;
  return {
    status, exit, acknowledged, offset: seat.offset, replay: seat.replay,
    rows: term.rows, columns: term.cols,
    lines: Array.from({ length: term.rows }, (_, y) => line(buffer.baseY + y)),
    history: Array.from({ length: normal.length }, (_, y) => normal.getLine(y).translateToString().trimEnd()),
    cursor: [buffer.cursorY, buffer.cursorX],
    alternate: buffer.type === "alternate",
    modes: term.modes,
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  commands[command.do](command);
  await new Promise((done) => term.write("", done)); // what came before is parsed by then
  console.log(JSON.stringify(shown()));
}
seat.close();
process.exit(0);

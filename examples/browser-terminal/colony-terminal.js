// One xterm.js Terminal at one terminal session of Colony: docs/terminal-protocol.md, spoken by a page.
//
//     const seat = new ColonyTerminal(term, "ws://127.0.0.1:8000/api/colonies/blog/terminals/terminal/attach",
//                                     { token, onStatus: (text) => (status.textContent = text) });
//     seat.resize(40, 120);      // the room that the page has for it
//     seat.close();
//
// The law: `offset` counts the bytes that the terminal was given. A connection that breaks is made
// anew from there, so that nothing is missed and nothing is shown twice.

const FIRST_PAUSE = 250, LONGEST_PAUSE = 5000; // milliseconds until the next attempt

// Bytes that the instance may be ahead of what xterm.js has shown: a page cannot stop reading its
// WebSocket, and xterm.js throws away what it cannot keep up with.
const WINDOW = 400_000, ACKNOWLEDGED_AT_ONCE = 100_000;

export class ColonyTerminal {
  constructor(term, url, { token, readOnly = false, rows = term.rows, columns = term.cols,
                           onStatus = () => {}, onExit = () => {}, makeSocket } = {}) {
    Object.assign(this, { term, url, token, readOnly, onStatus, onExit });
    this.wanted = { rows, columns };
    this.makeSocket = makeSocket ?? ((url, protocols) => new WebSocket(url, protocols));
    this.offset = null; // nothing is known yet
    this.replay = 0; // bytes to come that show what was, and do not count
    this.shown = 0; // bytes that are shown, and not acknowledged yet
    this.accepted = false; // once it was let in, a lost connection is made anew
    this.pause = FIRST_PAUSE;
    this.over = false;
    const encoder = new TextEncoder();
    this.listening = [
      term.onData((text) => this.type(encoder.encode(text))),
      term.onBinary((text) => this.type(Uint8Array.from(text, (c) => c.charCodeAt(0)))),
    ];
    this.connect();
  }

  connect() {
    const query = new URLSearchParams({ ...this.wanted, read_only: this.readOnly, window: WINDOW });
    if (this.offset !== null && this.replay === 0) query.set("since", this.offset);
    this.shown = 0;
    const protocols = ["colony", ...(this.token ? [`colony.token.${this.token}`] : [])];
    const socket = (this.socket = this.makeSocket(`${this.url}?${query}`, protocols));
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) =>
      typeof data === "string" ? this.hear(JSON.parse(data)) : this.show(new Uint8Array(data));
    socket.onerror = () => {}; // a close follows
    socket.onclose = () => this.lost();
  }

  lost() {
    if (this.over) return;
    if (!this.accepted) return this.end("refused: is the token right, and the colony there?");
    this.onStatus("connection lost; trying again");
    this.timer = setTimeout(() => this.connect(), this.pause);
    this.pause = Math.min(2 * this.pause, LONGEST_PAUSE);
  }

  show(bytes) {
    const again = Math.min(this.replay, bytes.length);
    this.replay -= again;
    this.offset += bytes.length - again;
    const socket = this.socket;
    this.term.write(bytes, () => socket === this.socket && this.acknowledge(bytes.length));
  }

  acknowledge(count) {
    this.shown += count;
    if (this.shown < ACKNOWLEDGED_AT_ONCE) return;
    this.tell({ t: "ack", bytes: this.shown });
    this.shown = 0;
  }

  hear(message) {
    switch (message.t) {
      case "hello":
        this.pause = FIRST_PAUSE;
        this.accepted = true;
        this.onStatus(message.read_only ? "attached, to look" : "attached");
        this.fit(message);
        // fall through
      case "resync":
        this.offset = message.offset;
        this.replay = message.replay;
        break;
      case "size":
        this.fit(message);
        break;
      case "exit":
        this.end(message.reason);
        this.onExit(message);
    }
  }

  fit({ rows, columns }) {
    this.term.resize(columns, rows); // the smallest viewer's, and so perhaps not what we asked for
  }

  type(bytes) {
    if (!this.readOnly && this.socket.readyState === 1) this.socket.send(bytes);
  }

  tell(message) {
    if (this.socket.readyState === 1) this.socket.send(JSON.stringify(message));
  }

  resize(rows, columns) {
    this.wanted = { rows, columns };
    this.tell({ t: "resize", rows, columns });
  }

  end(why) {
    this.over = true;
    clearTimeout(this.timer);
    for (const each of this.listening) each.dispose();
    this.onStatus(why);
  }

  close() {
    if (!this.over) this.tell({ t: "detach" });
    this.end("detached");
    this.socket.close();
  }
}

// Serves the page, and passes its WebSocket on to Colony.
//
// Colony lets a page in that comes from Colony's own address alone, and only with the token. Ours
// comes from here, so that this server stands for it: it says Colony's address instead of its own.
// The token it does not know: the page has it from whoever opens it.

import { readFile } from "node:fs/promises";
import http from "node:http";
import { createRequire } from "node:module";

const colony = new URL(process.env.COLONY_API ?? "http://127.0.0.1:8000");
const port = Number(process.env.PORT ?? 8080);
const find = createRequire(import.meta.url).resolve;

const JAVASCRIPT = "text/javascript";
const FILES = {
  "/": ["text/html; charset=utf-8", new URL("index.html", import.meta.url)],
  "/colony-terminal.js": [JAVASCRIPT, new URL("colony-terminal.js", import.meta.url)],
  "/xterm.js": [JAVASCRIPT, find("@xterm/xterm")],
  "/xterm.css": ["text/css", find("@xterm/xterm/css/xterm.css")],
  "/addon-fit.js": [JAVASCRIPT, find("@xterm/addon-fit")],
};

const server = http.createServer(async (request, response) => {
  const [type, file] = FILES[new URL(request.url, "http://here").pathname] ?? [];
  response.writeHead(file ? 200 : 404, { "content-type": type ?? "text/plain" });
  response.end(file ? await readFile(file) : "there is nothing here\n");
});

server.on("upgrade", (request, socket, head) => {
  const { "sec-fetch-site": _, ...headers } = request.headers;
  const asked = http.request(new URL(request.url, colony), {
    headers: { ...headers, host: colony.host, origin: colony.origin },
  });
  const answer = ({ statusCode, statusMessage, rawHeaders }) => {
    const lines = [`HTTP/1.1 ${statusCode} ${statusMessage}`];
    for (let i = 0; i < rawHeaders.length; i += 2) lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`);
    socket.write(lines.join("\r\n") + "\r\n\r\n");
  };
  asked.on("upgrade", (response, other, rest) => {
    answer(response);
    socket.write(rest);
    other.write(head);
    socket.pipe(other).pipe(socket);
    for (const [one, end] of [[socket, other], [other, socket]]) one.on("error", () => end.destroy());
  });
  asked.on("response", (response) => {
    answer(response);
    response.pipe(socket);
  });
  asked.on("error", () => socket.end("HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\n\r\n"));
  socket.on("error", () => asked.destroy());
  asked.end();
});

server.listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));

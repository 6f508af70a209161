// A server as people write them for Node; `node server.js` prints the port that it listens on, of its machine alone.
"use strict";
const http = require("http");
const { createHash } = require("crypto");

function json(response, value) {
    const body = Buffer.from(JSON.stringify(value));
    response.writeHead(200, { "Content-Type": "application/json", "Content-Length": body.length });
    response.end(body);
}

const pages = {
    "/request"(request, response) {
        const { method, url, headers } = request;
        json(response, { pid: process.pid, method, url, headers, remote: request.socket.remoteAddress });
    },
    "/echo"(request, response) {
        const hash = createHash("sha256");
        let length = 0;
        request.on("data", (bytes) => {
            length += bytes.length;
            hash.update(bytes);
        });
        request.on("end", () => json(response, { length, sha256: hash.digest("hex"), trailers: request.trailers }));
    },
    "/big"(request, response, query) {
        const size = Number(query.get("size"));
        const length = query.has("length") ? { "Content-Length": size } : {};
        response.writeHead(200, length);
        for (let left = size; left > 0; left -= 1000) {
            response.write("x".repeat(Math.min(left, 1000)));
        }
        response.end();
    },
    "/hints"(request, response) {
        response.writeEarlyHints({ link: "</a.css>; rel=preload" }, () => json(response, {}));
    },
    "/trailers"(request, response) {
        response.writeHead(200, { Trailer: "X-Checksum" });
        response.write("a body");
        response.addTrailers({ "X-Checksum": "abc" });
        response.end();
    },
    "/events"(request, response) {
        response.writeHead(200, { "Content-Type": "text/event-stream" });
        response.write("data: first\n\n");
        request.on("close", () => process.stdout.write("closed\n"));
    },
};

const server = http.createServer((request, response) => {
    const url = new URL(request.url, "http://localhost");
    const page = pages[url.pathname];
    if (page) {
        page(request, response, url.searchParams);
    } else {
        response.writeHead(404);
        response.end("no such page\n");
    }
});

server.on("upgrade", (request, socket, head) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    socket.write(head);
    socket.pipe(socket);
});

// As a command of the server: on what it was given.
const where = process.env.LISTEN_PID === String(process.pid) ? { fd: 3 }
    : process.env.SOCKET ? { path: process.env.SOCKET }
    : { port: Number(process.env.PORT || 0), host: "127.0.0.1" };
server.listen(where, () => process.stdout.write(`${server.address()?.port}\n`));
process.on("SIGTERM", () => process.exit(0));

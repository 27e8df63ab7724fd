"""A service for the tests: answers every request with its text and its process's number.

    page.py PORT TEXT [ADDRESS]

Plain sockets and no import that costs time, for it is started some hundred times. GET /crash makes
it end with exit code 3, after a last word on stderr.
"""

import os
import socket
import sys

port, text = int(sys.argv[1]), sys.argv[2]
address = sys.argv[3] if len(sys.argv) > 3 else "0.0.0.0"
server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((address, port))
server.listen(16)
print(f"{text} listens on {address}", flush=True)
while True:
    client, _ = server.accept()
    with client:
        client.settimeout(5)
        try:
            head = client.recv(65536)
            if head.startswith(b"GET /crash "):
                print("told to crash", file=sys.stderr, flush=True)
                os._exit(3)
            if head:
                body = f"{text} {os.getpid()}\n".encode()
                client.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
                )
        except OSError:
            continue

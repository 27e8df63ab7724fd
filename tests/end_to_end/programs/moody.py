"""A server that does on command what servers do at the worst time.

Accepts connections on $PORT. A line on its input, or on a connection, is what it does next:

    exit N      ends
    daemon      forks, and ends with 0; the child, in a session of its own, serves on
    storm N     starts N children in sessions of their own that do nothing, and go on as it was
    chain       starts a process that does nothing but fork and end
    deaf        does not accept any more, and ignores SIGTERM
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time

SLEEP = ["sleep", "1000"]
CHAIN = "import os, time\nwhile True:\n    time.sleep(0.002)\n    if os.fork(): os._exit(0)\n"


def obey(line: str) -> None:
    command, *words = line.split() or [""]
    if command == "exit":
        os._exit(int(words[0]))
    elif command == "daemon":
        if os.fork():
            os._exit(0)
        os.setsid()
    elif command == "storm":
        for _ in range(int(words[0])):
            subprocess.Popen(SLEEP, start_new_session=True)
    elif command == "chain":
        subprocess.Popen([sys.executable, "-I", "-S", "-c", CHAIN], start_new_session=True).wait()
        print("chain", flush=True)
    elif command == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1000)


def main() -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(os.environ["PORT"])))
    listener.listen(8)
    print("up", flush=True)
    sources = [listener.fileno(), 0]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if 0 in ready:
            text = os.read(0, 4096).decode()
            if not text:
                sources.remove(0)
            for line in text.splitlines():
                obey(line)
        if listener.fileno() in ready:
            connection, _ = listener.accept()
            connection.sendall(b"%d\n" % os.getpid())
            connection.close()


if __name__ == "__main__":
    main()

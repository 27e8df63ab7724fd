"""A service for the tests: answers every UDP packet with its text and what the packet said.

udp.py PORT TEXT ADDRESS
"""

import socket
import sys

port, text, address = int(sys.argv[1]), sys.argv[2], sys.argv[3]
server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
server.bind((address, port))
print("listening", flush=True)
while True:
    data, client = server.recvfrom(2000)
    server.sendto(f"{text}: {data.decode()}".encode(), client)

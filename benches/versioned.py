#!/usr/bin/env python3
"""A proxy to measure `mlops data push` against an S3 server without versioning (s3s-fs): adds
`x-amz-version-id` to every response. Only for benches/data.py: such a server loses old versions.

usage: benches/versioned.py PORT UPSTREAM_PORT
"""

import itertools
import socket
import sys
import threading

numbers = itertools.count(1)


def requests(client, server):
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    while True:
        try:
            count = client.recv_into(buffer)
            if not count:
                break
            server.sendall(view[:count])
        except OSError:
            break
    try:
        server.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def answers(server, client):
    source = server.makefile("rb")
    while True:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = source.readline()
            if not line:
                client.close()
                return
            head += line
        lower = head.lower()
        client.sendall(head[:-2] + b"x-amz-version-id: v%d\r\n\r\n" % next(numbers))
        if b"transfer-encoding: chunked" in lower:
            while True:
                line = source.readline()
                size = int(line.split(b";")[0], 16)
                client.sendall(line + source.read(size + 2))
                if size == 0:
                    break
        elif b"content-length:" in lower:
            length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
            client.sendall(source.read(length))


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
while True:
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    for one in (client, server):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=requests, args=(client, server), daemon=True).start()
    threading.Thread(target=answers, args=(server, client), daemon=True).start()

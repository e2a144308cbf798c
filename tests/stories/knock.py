#!/usr/bin/python3
"""Knocks at a hub as a stock client would, and prints the answer's status line.

usage: knock.py HOST PREFIX R RP     (the path prefix, and the target the JWT asks for)
Fails: with a traceback where there is no TLS server."""
import base64
import json
import socket
import ssl
import sys


def part(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


host, prefix, r, rp = sys.argv[1:5]
claims = {"id": "01919e42-7b2b-7ff3-b0fe-af5e07f5d913", "p": {"Udp": {"timeout": None}}, "r": r, "rp": int(rp)}
jwt = ".".join([part(b'{"typ":"JWT","alg":"HS256"}'), part(json.dumps(claims).encode()), part(bytes(32))])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
with context.wrap_socket(socket.create_connection((host, 443), timeout=10)) as stream:
    stream.sendall(
        f"GET /{prefix}/events HTTP/1.1\r\nhost: {host}\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        f"sec-websocket-key: {base64.b64encode(bytes(16)).decode()}\r\nsec-websocket-version: 13\r\n"
        f"sec-websocket-protocol: v1, authorization.bearer.{jwt}\r\n\r\n".encode()
    )
    print(stream.recv(4096).split(b"\r\n")[0].decode())

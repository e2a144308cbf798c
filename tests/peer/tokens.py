"""JSON Web Tokens as our clients and stock ones make them (RFC 7519, HS256)."""

import base64
import hashlib
import hmac
import json
import os
import time

PROTOCOL = 'authorization.bearer.'


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


def unbase64url(text):
    return base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))


def uuid7():
    raw = bytearray(int(time.time() * 1000).to_bytes(6, 'big') + os.urandom(10))
    raw[6] = raw[6] & 0x0f | 0x70
    raw[8] = raw[8] & 0x3f | 0x80
    text = raw.hex()
    return '-'.join([text[:8], text[8:12], text[12:16], text[16:20], text[20:]])


def kid(token):
    return hashlib.sha256(token.encode()).hexdigest()[:16]


def sign(claims, key, header=None):
    """claims: a dict, or JSON text as it is to be sent."""
    header = json.dumps(header or {'typ': 'JWT', 'alg': 'HS256'}, separators=(',', ':'))
    text = claims if isinstance(claims, str) else json.dumps(claims, separators=(',', ':'))
    body = base64url(header.encode()) + '.' + base64url(text.encode())
    return body + '.' + base64url(hmac.new(key.encode(), body.encode(), hashlib.sha256).digest())


def read(jwt):
    """Header and claims of a token, and whether a key signed it, as a function of the key."""
    head, claims, signature = jwt.split('.')

    def signed_by(key):
        wanted = hmac.new(key.encode(), (head + '.' + claims).encode(), hashlib.sha256).digest()
        return base64url(wanted) == signature
    return json.loads(unbase64url(head)), json.loads(unbase64url(claims)), signed_by


def stock_claims(port, host='127.0.0.1', timeout=None):
    seconds = None if timeout is None else {'secs': timeout, 'nanos': 0}
    return {'id': uuid7(), 'p': {'Udp': {'timeout': seconds}}, 'r': host, 'rp': port}


def our_claims(port, token, binding=None, instance=None, host='127.0.0.1'):
    claims = stock_claims(port, host)
    claims.update({'kid': kid(token), 'inst': instance or os.urandom(16).hex(), 'iat': int(time.time())})
    if binding is not None:
        claims['cb'] = base64url(binding)
    return claims

"""Both ends of an ACME challenge, for where no ACME server is at hand.

acme.py answer http|tls ADDRESS DOMAIN TOKEN     the home server's ACME client: at port 80 or 443 until it is ended
acme.py validate http|tls ADDRESS DOMAIN TOKEN   the ACME server: one look by RFC 8555 §8.3 or RFC 8737 §3

The key authorization is TOKEN and the thumbprint of an account's key, which is any text here.
"""

import hashlib
import http.client
import http.server
import os
import ssl
import socket
import subprocess
import sys
import tempfile

PATH = '/.well-known/acme-challenge/'
ACME_IDENTIFIER = bytes.fromhex('06082b0601050507011f')  # the OID 1.3.6.1.5.5.7.1.31 in DER


def authorization(token):
    return f'{token}.evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA'


def digest(token):
    return b'\x04\x20' + hashlib.sha256(authorization(token).encode()).digest()


def answer_http(address, domain, token):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            right = self.path == PATH + token and self.headers['Host'] == domain
            body = authorization(token).encode() if right else b''
            self.send_response(200 if right else 404)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    http.server.HTTPServer((address, 80), Handler).serve_forever()


def answer_tls(address, domain, token):
    folder = tempfile.mkdtemp()
    key, certificate = os.path.join(folder, 'key'), os.path.join(folder, 'pem')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
                    '-subj', f'/CN={domain}', '-addext', f'subjectAltName=DNS:{domain}',
                    '-addext', f'1.3.6.1.5.5.7.1.31=critical,DER:{digest(token).hex()}', '-keyout', key, '-out', certificate],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(['acme-tls/1'])
    listener = socket.create_server((address, 443))
    while True:
        try:
            context.wrap_socket(listener.accept()[0], server_side=True).close()
        except OSError as error:
            print(error, flush=True)


def validate_http(address, domain, token):
    connection = http.client.HTTPConnection(address, 80, timeout=20)
    connection.request('GET', PATH + token, headers={'Host': domain})
    response = connection.getresponse()
    assert response.status == 200, response.status
    assert response.read().decode().rstrip() == authorization(token)


def validate_tls(address, domain, token):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(['acme-tls/1'])
    with context.wrap_socket(socket.create_connection((address, 443), 20), server_hostname=domain) as connection:
        assert connection.selected_alpn_protocol() == 'acme-tls/1', connection.selected_alpn_protocol()
        certificate = connection.getpeercert(binary_form=True)
    critical_value = b'\x01\x01\xff' + b'\x04\x22' + digest(token)
    assert ACME_IDENTIFIER + critical_value in certificate, certificate.hex()
    assert domain.encode() in certificate


role, kind, *rest = sys.argv[1:]
globals()[f'{role}_{kind}'](*rest)

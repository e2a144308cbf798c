"""Certificates of every kind a client may meet, made with the openssl program in a temporary folder."""

import base64
import hashlib
import os
import ssl
import subprocess


NAMES = ('localhost', 'hub.test', '127.0.0.1', '::1')  # hub.test: see programs.Client


def _openssl(*arguments, **options):
    done = subprocess.run(['openssl', *arguments], capture_output=True, check=False, **options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Certificate:
    """Paths of a certificate and its key, and the key's pin as curl writes it."""

    def __init__(self, folder, name):
        self.path = os.path.join(folder, name + '.pem')
        self.key = os.path.join(folder, name + '.key')

    @property
    def pin(self):
        public = _openssl('x509', '-in', self.path, '-noout', '-pubkey')
        der = _openssl('pkey', '-pubin', '-outform', 'DER', input=public)
        return 'sha256//' + base64.b64encode(hashlib.sha256(der).digest()).decode()


def _alternative_names(names):
    return ','.join(('IP:' if name[0].isdigit() or ':' in name else 'DNS:') + name for name in names)


_EC = ('ec', '-pkeyopt', 'ec_paramgen_curve:P-256')


def self_signed(folder, name, names=NAMES, new_key=_EC, subject=None):
    """A self-signed certificate that is its own CA."""
    made = Certificate(folder, name)
    _openssl('req', '-x509', '-newkey', *new_key, '-nodes', '-days', '2',
             '-subj', subject or '/CN=' + names[0], '-addext', 'subjectAltName=' + _alternative_names(names),
             '-keyout', made.key, '-out', made.path)
    return made


_CA = """[ca]
default_ca = here
[here]
database = {0}.index
new_certs_dir = {1}
default_md = sha256
policy = any
rand_serial = yes
[any]
commonName = supplied
"""


def signed(folder, name, ca, names=NAMES, until='20460101000000Z', key=None):
    """A certificate signed by ca, valid from 2020 until then. (`openssl ca`: `x509 -req` makes no expired ones.) key: a
    file, instead of a new one."""
    made = Certificate(folder, name)
    base = os.path.join(folder, name)
    for suffix, text in (('.ext', 'subjectAltName=' + _alternative_names(names) + '\n'), ('.index', ''),
                         ('.cnf', _CA.format(base, folder))):
        with open(base + suffix, 'w') as file:
            file.write(text)
    with_key = ['-newkey', *_EC, '-nodes', '-keyout', made.key]
    _openssl('req', '-new', *(['-key', key] if key else with_key), '-subj', '/CN=' + names[0], '-out', base + '.csr')
    _openssl('ca', '-batch', '-notext', '-config', base + '.cnf', '-cert', ca.path, '-keyfile', ca.key,
             '-in', base + '.csr', '-extfile', base + '.ext', '-startdate', '20200101000000Z', '-enddate', until,
             '-out', made.path)
    return made


def client_context(alpn=('http/1.1',)):
    """A client's that accepts any certificate, as stock clients do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key)
    context.set_alpn_protocols(['http/1.1'])
    return context

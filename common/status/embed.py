#!/usr/bin/python3
"""Writes page.html as a C header: its bytes, and a Content-Security-Policy that allows its own script and style alone.

    embed.py page.html page_html.h

The policy names both by their hash, so an injected script or style does not run. Fails where the page has not exactly
one of each.
"""

import base64
import hashlib
import re
import sys


def hash_of(html, tag):
    (content,) = re.findall(rb'<%s>(.*?)</%s>' % (tag, tag), html, re.DOTALL)
    return "'sha256-" + base64.b64encode(hashlib.sha256(content).digest()).decode() + "'"


with open(sys.argv[1], 'rb') as source:
    html = source.read()
policy = (f"default-src 'none'; script-src {hash_of(html, b'script')}; style-src {hash_of(html, b'style')}; "
          "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
rows = [', '.join(str(byte) for byte in html[at:at + 20]) for at in range(0, len(html), 20)]
with open(sys.argv[2], 'w', encoding='ascii') as header:
    header.write(f'/* Made by embed.py. */\n#pragma once\n\n#define STATUS_PAGE_POLICY "{policy}"\n\n'
                 '#define STATUS_PAGE_BYTES \\\n\t' + ', \\\n\t'.join(rows) + '\n')

"""A headless Chromium, steered by chromedriver over its HTTP interface (W3C WebDriver)."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

from . import claims, programs

ARGUMENTS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
             '--disable-extensions', '--disable-background-networking', '--disable-component-update',
             '--host-resolver-rules=MAP *.evil.example 127.0.0.1']


class Browser:
    """One browser with one tab, its profile in a folder of its own."""

    def __init__(self):
        for name in ('chromium', 'chromedriver'):
            if not shutil.which(name):
                raise claims.Skip(f'{name} is not installed')
        self.folder = tempfile.mkdtemp(prefix='towpath-test-')
        self.port = programs.free_port()
        self.process = subprocess.Popen(['chromedriver', f'--port={self.port}'], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, env={**os.environ, 'HOME': self.folder,
                                                                        'TMPDIR': self.folder})
        claims.at_exit(self.close)
        claims.wait_for(lambda: programs.is_listening(self.port), 'chromedriver', 60)
        options = {'args': [*ARGUMENTS, f'--user-data-dir={self.folder}/profile']}
        wanted = {'goog:chromeOptions': options, 'goog:loggingPrefs': {'browser': 'ALL'}}
        self.session = ''
        self.session = '/session/' + self.call('POST', '/session', {'capabilities': {'alwaysMatch': wanted}})['sessionId']

    def call(self, method, path, body=None):
        request = urllib.request.Request(f'http://127.0.0.1:{self.port}{self.session}{path}', method=method,
                                         data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=180) as answer:
                return json.load(answer)['value']
        except urllib.error.HTTPError as error:
            raise AssertionError(f'{path}: {error.read()[:500]}') from None

    def devtools(self, command, **parameters):
        return self.call('POST', '/goog/cdp/execute', {'cmd': command, 'params': parameters})

    def look(self, width=1000, scheme='light'):
        """A window of that width, and what the person's system prefers."""
        self.devtools('Emulation.setDeviceMetricsOverride', width=width, height=900, deviceScaleFactor=1,
                      mobile=width < 500)
        self.devtools('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])

    def go(self, url):
        self.call('POST', '/url', {'url': url})

    def run(self, script):
        """What the script returns; a promise is waited for."""
        return self.call('POST', '/execute/sync', {'script': script, 'args': []})

    def text(self):
        """What a person reads."""
        return self.run('return document.body.innerText')

    def sees(self, *words, timeout=30.0):
        """Wait until all of them are to be read, without anybody doing anything."""
        claims.wait_for(lambda: all(word in self.text() for word in words), f'{words} in:\n{self.text()}', timeout, 0.3)

    def complaints(self):
        """What the browser has complained of since the last time: errors of scripts, violations of the policy."""
        return [entry['message'] for entry in self.call('POST', '/se/log', {'type': 'browser'})]

    def picture(self, name):
        """A picture of the whole page, where SCREENSHOTS names a folder for it."""
        if os.environ.get('SCREENSHOTS'):
            data = self.devtools('Page.captureScreenshot', captureBeyondViewport=True)['data']
            with open(os.path.join(os.environ['SCREENSHOTS'], name + '.png'), 'wb') as file:
                file.write(base64.b64decode(data))

    def close(self):
        try:
            if self.session:
                self.call('DELETE', '')
        finally:
            self.process.terminate()
            self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)

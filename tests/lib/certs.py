# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates and keys for the tests of TLS, made by certtool(1), in
directories as --tls wants them."""
import os
import shutil
import subprocess

from godwit import Skip

WHO = {
    'ca': 'ca\ncert_signing_key\n',
    'server': 'tls_www_server\nsigning_key\n',
    'client': 'tls_www_client\nsigning_key\n',
}


def certtool(*words):
    subprocess.run(['certtool', *words], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Authority:
    """A CA, and what it signs, all below one directory."""

    def __init__(self, path):
        if not shutil.which('certtool'):
            raise Skip('no certtool (gnutls-bin)')
        os.makedirs(path)
        self.path = path
        self.issue(path, 'ca', 'a CA')

    def issue(self, path, who, name, extra=''):
        """who-cert.pem and who-key.pem in path."""
        key, cert, text = (os.path.join(path, who + end) for end in
                           ('-key.pem', '-cert.pem', '.tmpl'))
        with open(text, 'w', encoding='ascii') as f:
            f.write(f'cn = {name}\norganization = Godwits\n'
                    f'{WHO[who]}{extra}')
        certtool('--generate-privkey', '--key-type=ed25519', '--outfile', key)
        if who == 'ca':
            sign = ['--generate-self-signed']
        else:
            sign = ['--generate-certificate', '--load-ca-certificate',
                    os.path.join(self.path, 'ca-cert.pem'),
                    '--load-ca-privkey', os.path.join(self.path, 'ca-key.pem')]
        certtool(*sign, '--load-privkey', key, '--template', text,
                 '--outfile', cert)
        os.unlink(text)

    def host(self, name, extra='', server='ip_address = 127.0.0.1\n'):
        """A directory for a host of this name: both roles."""
        path = os.path.join(self.path, name)
        os.makedirs(path)
        shutil.copy(os.path.join(self.path, 'ca-cert.pem'), path)
        self.issue(path, 'server', name,
                   f'dns_name = {name}\n{server}{extra}')
        self.issue(path, 'client', name, f'dns_name = {name}\n{extra}')
        return path


EXPIRED = ('activation_date = 2020-01-01 00:00:00\n'
           'expiration_date = 2021-01-01 00:00:00\n')


def keys(path, **names):
    """A file of pre-shared keys; what --tls takes."""
    with open(path, 'w', encoding='ascii') as f:
        for name, key in names.items():
            f.write(f'{name}:{key}\n')
    os.chmod(path, 0o600)
    return 'psk=' + path

# SPDX-License-Identifier: GPL-2.0-or-later
"""A man in the middle of a migration (migration/PROTOCOL.md): he sees each
control message, and may delay, change or drop it, or cut all links.

    proxy = Proxy(to_uri, on_frame=..., on_bytes=...)
    source.migrate(proxy.uri)

on_frame(link, direction, kind, frame) is asked for each control message and
answers with the bytes to pass on, with CUT, or with Cut(bytes): those first;
bytes of a bulk channel come as the kind PAGES (BLOCKS of a disk, FAULTS), as they
are read. on_bytes(count, data) is asked for all bytes that the source sends on any
channel, before they are split into frames: count of them went before. Directions
are 'S' and 'D' for who sends.
"""
import os
import socket
import struct
import threading

HEADER = struct.Struct('>IHHIIQ')
KINDS = ('', 'HELLO', 'OFFER', 'ACCEPT', 'REFUSE', 'ROUND', 'STATE',
         'PREPARED', 'GO', 'RUNNING', 'DEAD', 'CANCEL', 'PING', 'PONG',
         'QUERY', 'BYE', 'DISKS', 'MISSING', 'MEMORY', 'FETCHED')
RAW = {2: 'PAGES', 4: 'BLOCKS', 5: 'FAULTS'}    # what these roles carry


class Cut(bytes):
    """These bytes still pass, then all links are cut."""


CUT = Cut()


def dial(uri):
    kind, rest = uri.split(':', 1)
    if kind == 'unix':
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(rest)
        return sock
    host, port = rest.rsplit(':', 1)
    return socket.create_connection((host.strip('[]'), int(port)))


def receive(sock):
    """Some bytes, and the open files that came along."""
    if sock.family != socket.AF_UNIX:
        return sock.recv(65536), []
    data, files, _, _ = socket.recv_fds(sock, 65536, 4)
    return data, files


def close_all(files):
    while files:
        os.close(files.pop())


def with_(before, answer):
    """Both; they end in a cut if the answer does."""
    return Cut(before + answer) if isinstance(answer, Cut) else before + answer


def crc32c(data):
    """Castagnoli's, bit by bit: frames are small."""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def frame(kind, payload, flags=0):
    """A control message as it should be."""
    head = HEADER.pack(0x47445754, 1, KINDS.index(kind), flags, 0,
                       len(payload))
    crc = crc32c(head + payload)
    return HEADER.pack(0x47445754, 1, KINDS.index(kind), flags, crc,
                       len(payload)) + payload


class Link:
    """One connection through the proxy, both ways."""

    def __init__(self, proxy, here, there):
        self.proxy, self.role = proxy, None
        self.ends = {'S': (here, there), 'D': (there, here)}
        self.buf = {'S': b'', 'D': b''}
        self.threads = [threading.Thread(target=self.pump, args=(d,))
                        for d in 'SD']
        for thread in self.threads:
            thread.start()

    def pump(self, direction):
        source, sink = self.ends[direction]
        files = []
        try:
            while True:
                data, more = receive(source)
                if not data:
                    break
                files += more
                out = self.proxy.pass_on(self, direction, data)
                self.send(sink, out, files)
                if isinstance(out, Cut):
                    self.proxy.cut_all()
                    break
        except OSError:
            pass
        finally:
            close_all(files)
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def send(self, sink, out, files):
        if files and out:
            socket.send_fds(sink, [out[:1]], files)
            close_all(files)
            out = out[1:]
        sink.sendall(out)

    def frames(self, direction, data):
        """All bytes of whole frames in the buffer, each asked about."""
        self.buf[direction] += data
        out = b''
        while self.buf[direction]:
            if self.role in RAW and self.seen_hello(direction):
                data, self.buf[direction] = self.buf[direction], b''
                data = self.proxy.asked(self, direction, RAW[self.role], data)
                return with_(out, data)
            if len(self.buf[direction]) < HEADER.size:
                break
            head = HEADER.unpack_from(self.buf[direction])
            size = HEADER.size + head[5]
            if len(self.buf[direction]) < size:
                break
            whole = self.buf[direction][:size]
            self.buf[direction] = self.buf[direction][size:]
            kind = KINDS[head[2]]
            if kind == 'HELLO':
                self.role = struct.unpack_from('>H', whole, 28)[0]
                self.hello = getattr(self, 'hello', '') + direction
            answer = self.proxy.asked(self, direction, kind, whole)
            if isinstance(answer, Cut):
                return with_(out, answer)
            out += answer
        return out

    def seen_hello(self, direction):
        return direction in getattr(self, 'hello', '')

    def cut(self):
        for sock in self.ends['S']:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Proxy:
    def __init__(self, to, on_frame=None, on_bytes=None, path=None):
        """On TCP, or where a path is given on a unix socket there."""
        self.to, self.on_frame, self.on_bytes = to, on_frame, on_bytes
        self.lock = threading.RLock()
        self.links, self.seen, self.count = [], [], 0
        self.blocked = self.was_cut = False
        if path:
            self.listener = socket.create_server(path, family=socket.AF_UNIX)
            self.uri = 'unix:' + path
        else:
            self.listener = socket.create_server(('127.0.0.1', 0))
            self.uri = 'tcp:127.0.0.1:%d' % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while True:
            try:
                here = self.listener.accept()[0]
            except OSError:
                return
            try:
                there = None if self.blocked else dial(self.to)
            except OSError:
                there = None
            if there is None:
                here.close()
                continue
            for sock in (here, there):
                if sock.family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.links.append(Link(self, here, there))

    def pass_on(self, link, direction, data):
        with self.lock:
            if direction == 'S' and self.on_bytes:
                data = self.on_bytes(self.count, data)
                if isinstance(data, Cut):
                    return data
            if direction == 'S':
                self.count += len(data)
        if not self.on_frame:
            return data
        return link.frames(direction, data)

    def asked(self, link, direction, kind, whole):
        self.seen.append(direction + ' ' + kind)
        return self.on_frame(link, direction, kind, whole)

    def cut_all(self):
        self.was_cut = True
        for link in list(self.links):
            link.cut()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for link in self.links:
            link.cut()
            for thread in link.threads:
                thread.join()
            for sock in link.ends['S']:
                sock.close()

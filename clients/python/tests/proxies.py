"""Between a program and a real part: a broker that can be cut off, and a registry that asks for a password."""

import base64
import contextlib
import socket
import struct
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_CHUNK_BYTES = 1 << 16


class BrokerProxy:
    """A TCP proxy that puts its own address wherever the broker tells its own."""

    def __init__(self, broker: str) -> None:
        host, _, port = broker.partition(":")
        self._broker = (host, int(port))
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((host, 0))
        self._own = self._listener.getsockname()
        self.address = f"{host}:{self._own[1]}"
        # As answers have a broker's address: the host, then four bytes of port.
        self._told, self._telling = (host.encode() + struct.pack(">i", one) for one in (int(port), self._own[1]))
        self._listen()

    def cut(self) -> None:
        """Nobody listens there any more, and who was connected no longer is."""
        # Wakes the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        with self._lock:
            connections, self._connections = self._connections, set()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def restore(self) -> None:
        """Listens again, at the same address."""
        self._listener = socket.create_server(self._own)
        self._listen()

    def _listen(self) -> None:
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._accepting.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._broker)
            with self._lock:
                self._connections |= {client, server}
            for target, pair in ((self._forward, (client, server)), (self._backward, (server, client))):
                threading.Thread(target=target, args=pair, daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while some := client.recv(_CHUNK_BYTES):
                server.sendall(some)
        self._end(client, server)

    def _backward(self, server: socket.socket, client: socket.socket) -> None:
        # Answer by answer: an address may not be torn apart.
        with contextlib.suppress(OSError), server.makefile("rb") as answers:
            while len(size := answers.read(4)) == 4:
                answer = answers.read(int.from_bytes(size, "big"))
                client.sendall(size + answer.replace(self._told, self._telling))
        self._end(client, server)

    def _end(self, *connections: socket.socket) -> None:
        with self._lock:
            self._connections -= set(connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


class RegistryProxy:
    """Passes on what brings the name and password, and answers 401 to what does not."""

    def __init__(self, registry: str, name: str, password: str) -> None:
        wanted = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
        self.refused = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.headers.get("Authorization") != wanted:
                    proxy.refused += 1
                    self.answer(401, b'{"error_code":401,"message":"Unauthorized"}')
                    return
                request = urllib.request.Request(registry + self.path, headers={"Accept": self.headers["Accept"]})  # noqa: S310
                try:
                    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                        self.answer(answer.status, answer.read())
                except urllib.error.HTTPError as error:
                    self.answer(error.code, error.read())

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()

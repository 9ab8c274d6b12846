"""What the kernel tells of TCP connections, to anybody."""

import socket

import pytest

from healthagent import diag


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_received_bytes(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as listener:
        try:
            listener.bind((address, 0))
        except OSError:
            pytest.skip("no such network here")
        listener.listen()
        port = listener.getsockname()[1]
        assert diag.connections(port) == (), "a listener is no connection"

        with socket.create_connection((address, port)) as client:
            accepted, (_, client_port, *_) = listener.accept()
            with accepted:
                client.sendall(b"x" * 12345)
                while len(accepted.recv(65536, socket.MSG_PEEK)) < 12345:
                    pass
                (found,) = diag.connections(port) or ()

    assert (found.local, found.remote, found.remote_port) == (address, address, client_port)
    assert found.received_bytes == 12345
    assert found.inode > 0


def test_a_kernel_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError("seccomp")

    monkeypatch.setattr(socket, "socket", refuse)
    assert diag.connections(4444) is None


def test_an_ipv4_client_of_an_ipv6_socket() -> None:
    with socket.socket(socket.AF_INET6) as listener:
        try:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(("::", 0))
        except OSError:
            pytest.skip("no such network here")
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listener.accept()
            with accepted:
                (found,) = diag.connections(port) or ()
    assert (found.local, found.remote) == ("127.0.0.1", "127.0.0.1")

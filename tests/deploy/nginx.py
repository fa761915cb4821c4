"""nginx with a configuration of `deploy/`: TLS by a certificate of its own, on loopback."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.daemon import which
from tests.engines.ports import accepts, free_port
from tests.engines.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

NAME = "registry.example.org"


@dataclass(frozen=True, slots=True)
class Front:
    """A running nginx."""

    port: int
    certificate: Path

    def connect(self) -> HTTPSConnection:
        """Return a connection that trusts this certificate."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.check_hostname = False  # it is reached by number
        return HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)


def substituted(text: str, replaced: Mapping[str, str]) -> str:
    """Return a file of the example with places of this machine in it; each must be there."""
    for old, new in replaced.items():
        assert old in text, f"the example has no {old!r} any more"
        text = text.replace(old, new)
    return text


@contextmanager
def running_nginx(
    example: Path, folder: Path, replaced: Mapping[str, str], *, http: str = ""
) -> Iterator[Front]:
    """Run nginx on an example, with ports and files replaced; `http` is put before its server."""
    folder.mkdir()
    port = free_port()
    certificate, key = make_certificate(folder)
    server = substituted(
        example.read_text(encoding="utf-8"),
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            f"/etc/ssl/{NAME}.pem": str(certificate),
            f"/etc/ssl/{NAME}.key": str(key),
            "/var/log/nginx/blobd.log": str(folder / "access.log"),
            **replaced,
        },
    )
    (folder / "server.conf").write_text(server)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; {'user root;' if os.geteuid() == 0 else ''} pid {folder}/pid;\n"
        f"error_log {folder}/error.log;\nevents {{}}\n"
        f"http {{ {temporary} {http} include {folder}/server.conf; }}\n"
    )
    nginx = which("nginx") or "nginx"
    command = [nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    process = Process("nginx", command, log=folder / "log")
    process.start()
    try:
        process.wait(lambda: accepts(port))
        yield Front(port, certificate)
    finally:
        process.kill()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for NAME and 127.0.0.1; return its file and that of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, key_file

"""Makes proxies as grid-proxy-init does, right ones and wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from broker.x509 import PROXY_CERT_INFO

KEYS = [rsa.generate_private_key(65537, 2048) for _ in range(4)]
USER = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "EU"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
        x509.NameAttribute(NameOID.COMMON_NAME, "Alice Archer"),
    ]
)
INHERIT_ALL = b"\x30\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x15\x01"


def limited_to(depth: int) -> bytes:
    """Give a proxyCertInfo that allows so many proxies after it."""
    return b"\x30\x0f\x02\x01" + bytes([depth]) + INHERIT_ALL[2:]


class Chain:
    """A user's certificate and the proxies made of it: `infos` are their proxyCertInfo, the oldest first."""

    def __init__(
        self,
        infos: Sequence[bytes | None] = (INHERIT_ALL,),
        hours: float = 12,
        begins: float = -1,
        names: Sequence[str] = ("1", "2", "3"),
        wrong_signer: bool = False,
        base: x509.Name | None = None,
    ) -> None:
        self.now = datetime.now(UTC)
        self.key = KEYS[0]
        self.chain = [self._make(USER, USER, KEYS[0], KEYS[0], 24 * 365, -1, None)]
        for n, info in enumerate(infos, start=1):
            above = self.chain[0]
            subject = x509.Name(
                [*(base or above.subject), x509.NameAttribute(NameOID.COMMON_NAME, names[n - 1])]
            )
            signer = KEYS[3] if wrong_signer else self.key
            self.chain.insert(0, self._make(subject, above.subject, KEYS[n], signer, hours, begins, info))
            self.key = KEYS[n]

    def _make(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: Any,
        signer: Any,
        hours: float,
        begins: float,
        info: Any,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now + timedelta(hours=begins))
            .not_valid_after(self.now + timedelta(hours=hours))
        )
        if info is not None:
            builder = builder.add_extension(x509.UnrecognizedExtension(PROXY_CERT_INFO, info), critical=True)
        return builder.sign(signer, hashes.SHA256())

    def pem(self, key: Any = None, password: bytes = b"", certificates: int | None = None) -> str:
        """Write the proxy as a file of `voms-proxy-init`: certificate, key, the rest of the chain."""
        texts = [c.public_bytes(Encoding.PEM).decode() for c in self.chain[:certificates]]
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        private = (key or self.key).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, encryption)
        return "".join([texts[0], private.decode(), *texts[1:]])

"""RFC 3820, section by section."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from broker.x509 import ProxyRefused, read_proxy
from tests.unit.broker.proxies import INHERIT_ALL, KEYS, Chain, limited_to


def test_a_proxy_is_read_with_its_users_name_and_the_end_of_the_shortest_certificate() -> None:
    chain = Chain((INHERIT_ALL, INHERIT_ALL), hours=7)
    proxy = read_proxy(chain.pem())
    assert proxy.subject == "CN=Alice Archer,O=Example,C=EU"
    assert abs(proxy.ends_at - (chain.now + timedelta(hours=7))) < timedelta(seconds=2)
    assert "PRIVATE" not in repr(proxy)


def test_a_proxy_may_allow_as_many_as_follow() -> None:
    assert read_proxy(Chain((limited_to(1), INHERIT_ALL)).pem())


OTHER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Mallory")])
WRONG = {
    "is no RFC 3820 proxy": Chain(()).pem(),
    "has no proxyCertInfo": Chain((None,)).pem(),
    "the user's own certificate must follow": Chain().pem(certificates=1),
    "private key is not that of the proxy": Chain().pem(key=KEYS[3]),
    "private key has a password": Chain().pem(password=b"secret"),
    "has not been signed by": Chain(wrong_signer=True).pem(),
    "not that of its issuer and one CN more": Chain(base=OTHER).pem(),
    "allows 0 proxies after it, there are 1": Chain((limited_to(0), INHERIT_ALL)).pem(),
    "cannot be read": Chain((b"\x04\x00",)).pem(),
    "ended at": Chain(hours=-0.5).pem(),
    "begins at": Chain(begins=1).pem(),
    "holds no certificate": "hello",
    "private key is missing": Chain().pem().replace("RSA PRIVATE KEY", "SECRET"),
    "larger than 65536 bytes": Chain().pem() + "#" * 70_000,
}


@pytest.mark.parametrize(("why", "pem"), WRONG.items(), ids=WRONG)
def test_what_cannot_be_used_is_refused_with_the_reason(why: str, pem: str) -> None:
    with pytest.raises(ProxyRefused, match=why):
        read_proxy(pem)

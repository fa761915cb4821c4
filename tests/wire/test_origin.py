"""Where requests come from, and by which URL: whom the operator trusts is believed, nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from blobd.errors import ConfigInvalid
from blobd.wire.origin import Origins

if TYPE_CHECKING:
    from aiohttp import web


class Transport:
    """A connection from somewhere."""

    def __init__(self, peer: object) -> None:
        self._peer = peer

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._peer if name == "peername" else default


def request(peer: object, **headers: str) -> web.BaseRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("GET", "/", named, transport=Transport(peer))


NEAR, FAR = ("10.1.2.3", 4711), ("198.51.100.7", 4711)


def origins(public_url: str = "", *trusted: str) -> Origins:
    return Origins(public_url=public_url, trusted_proxies=trusted)


def test_without_proxies_the_connection_tells() -> None:
    forged = request(FAR, X_Forwarded_For="192.0.2.1", X_Forwarded_Proto="https", Host="a:5000")
    assert origins().address(forged) == "198.51.100.7"
    assert origins().base_url(forged) == "http://a:5000"


def test_a_trusted_proxy_is_believed_as_far_as_the_last_that_is_trusted() -> None:
    some = origins("", "10.0.0.0/8")
    said = "192.0.2.66, 203.0.113.9, 10.9.9.9"
    behind = request(
        NEAR, X_Forwarded_For=said, X_Forwarded_Proto="HTTPS", X_Forwarded_Host="r.example"
    )
    assert some.address(behind) == "203.0.113.9"
    assert some.base_url(behind) == "https://r.example"
    assert some.address(request(FAR, X_Forwarded_For=said)) == "198.51.100.7"
    assert some.address(request(NEAR)) == "10.1.2.3"
    assert some.address(request(NEAR, X_Forwarded_For="nonsense")) == "nonsense"


def test_over_a_unix_socket_whoever_connects_is_the_proxy() -> None:
    behind = request("", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https", Host="r.example")
    assert origins().address(behind) == "203.0.113.9"
    assert origins().base_url(behind) == "https://r.example"


def test_a_public_url_is_the_whole_truth() -> None:
    some = origins("https://r.example:8443/")
    assert some.base_url(request(FAR, Host="evil.example")) == "https://r.example:8443"


@given(st.text(max_size=40))
def test_a_host_header_never_leaves_the_quotes_of_a_challenge(host: str) -> None:
    url = origins().base_url(request(FAR, Host=host.encode(errors="replace").decode()))
    assert url.startswith("http://")
    assert not set(url) & set('"\\\r\n ,')


@pytest.mark.parametrize("url", ["example.org", "https://", "https://a/b", "ftp://a", 'http://a"'])
def test_a_public_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"registry\.public_url"):
        origins(url)


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match=r"registry\.trusted_proxies.*10\.0\.0\.1/8"):
        origins("", "10.0.0.1/8")

"""Bounds what a model may fetch: in size, in time, and to the public internet."""
# pyright: standard

import ipaddress
import socket
import sys
import urllib.request
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import requests

MAX_SECONDS = 60.0
"""Seconds to fetch and to read a page. For a malformed page, the package takes very long."""
MAX_BYTES = 20_000_000

_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that represent the IPv4 address in their last 32 bits (RFC 6052)."""
_TRANSLATED_AT_HOME = (
    ipaddress.ip_network("64:ff9b:1::/48"),  # RFC 8215
    ipaddress.ip_network("::ffff:0:0:0/96"),  # RFC 2765
)


class _Session(requests.Session):
    """Sends requests and their redirects to public addresses only."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Sends one request.

        A proxy would connect to any host, so the host's address is looked up here. If that is
        impossible, the proxy decides.
        """
        host = urlsplit(str(request.url)).hostname or ""
        try:
            found = socket.getaddrinfo(host, None)
        except OSError:
            found = []
        for address in found:
            if not is_public(str(address[4][0])):
                raise PermissionError(f"{host} is not an address of the public internet")
        return super().send(request, **options)


def fetch(url: str, **options: Any) -> requests.Response:
    """Replaces `requests.get`, which would read an endless page forever.

    Raises:
        PermissionError: The page is not on the public internet.
        requests.RequestException: The server cannot be reached, or the page is too long.
    """
    with _Session() as session:
        response = session.get(url, stream=True, **options)
        content = bytearray()
        for part in response.iter_content(8192):
            content += part
            if len(content) > MAX_BYTES:
                raise requests.exceptions.ReadTimeout(f"more than {MAX_BYTES:,} bytes")
        response._content = bytes(content)
        return response


@cache
def stay_public() -> None:
    """Keeps this process from connecting to anything but the public internet and a proxy.

    A model chooses the pages, and a page chooses where it redirects to.
    """
    proxies = set(_proxies())

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            address = arguments[1]
            host, port = address[:2] if isinstance(address, tuple) else (str(address), 0)
            if (host, port) not in proxies and not is_public(host):
                raise PermissionError(f"{host} is not an address of the public internet")

    sys.addaudithook(hook)


def _proxies() -> Iterator[tuple[str, int]]:
    known = urllib.request.getproxies()
    for proxy in (known[scheme] for scheme in ("http", "https", "all") if scheme in known):
        parts = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
        if parts.hostname:
            port = parts.port or {"https": 443, "socks5": 1080}.get(parts.scheme, 80)
            try:
                found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
            except OSError:  # then nothing uses it
                continue
            yield from ((str(address[4][0]), port) for address in found)


def is_public(host: str) -> bool:
    """Returns True if an IP address, or the one that it wraps, is on the public internet."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address in _TRANSLATED or int(address) >> 32 == 0:
            return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
        wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo or (None,))[-1]
        if wrapped:
            return is_public(str(wrapped))
        if address.is_site_local or any(address in network for network in _TRANSLATED_AT_HOME):
            return False
    return address.is_global and not address.is_multicast

"""Connections to hosts that are public or trusted, and what went wrong with them in words without secrets."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import threading
import time
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from catalogs.remote.hrefs import Patience, Refused, in_private_network, is_public

IN_FLIGHT = 16
"""Requests of one process at the same time."""

PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
AGENT = "forestsink"


class Passing(Exception):
    """What may be better the next time. `tries`: how often at most; None: as long as patience lasts. `quiet_s`: what the
    server asks to wait; `down`: it is the server that fails, not this file; `sentence`: what is said if it does not pass, where
    that is not `what`."""

    def __init__(
        self, what: str, *, tries: int | None = None, quiet_s: float = 0.0, down: bool = False, sentence: str = ""
    ) -> None:
        super().__init__(what)
        self.what, self.tries, self.quiet_s, self.down, self.sentence = what, tries, quiet_s, down, sentence


class Connections:
    """Pools of kept connections to hosts that are public or trusted, judged by the address that is connected to."""

    def __init__(self, trusted: frozenset[str]) -> None:
        self.trusted = trusted
        self._managers: dict[str | None, Any] = {}
        self._lock = threading.Lock()

    def pool_for(self, url: str) -> Any:
        parts = urlsplit(url)
        proxy = _proxy_for(parts.scheme, parts.hostname or "")
        with self._lock:
            if proxy not in self._managers:
                self._managers[proxy] = self._manager(proxy)
            return self._managers[proxy].connection_from_host(parts.hostname, parts.port, parts.scheme)

    def _manager(self, proxy: str | None) -> Any:
        import urllib3

        settings = {"num_pools": 16, "maxsize": IN_FLIGHT, "ca_certs": certificates()}
        if proxy is not None:  # the proxy looks names up, and decides where it connects to
            return urllib3.ProxyManager(proxy, **settings)
        manager = urllib3.PoolManager(**settings)
        manager.pool_classes_by_scheme = _guarded_pools(self.trusted)
        return manager


def _guarded_pools(trusted: frozenset[str]) -> dict[str, type]:
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.exceptions import NameResolutionError, NewConnectionError
    from urllib3.util.connection import create_connection

    class Guarded(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            host = self._dns_host.strip("[]")
            try:
                found = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM)
            except (socket.gaierror, UnicodeError) as error:
                raise NameResolutionError(self.host, self, error) from error
            addresses = list(dict.fromkeys(entry[4][0] for entry in found))
            if host.lower() not in trusted and not all(is_public(ipaddress.ip_address(a.partition("%")[0])) for a in addresses):
                raise Refused(in_private_network(host, f"{host} resolves to {', '.join(addresses)}"))
            problem: Exception | None = None
            for address in addresses:  # the very addresses that were judged: a second look-up might say otherwise
                try:
                    return create_connection((address, self.port), self.timeout, socket_options=self.socket_options)
                except OSError as error:
                    problem = error
            raise NewConnectionError(self, type(problem).__name__) from problem

    class GuardedTLS(Guarded, HTTPSConnection):
        pass

    class Plain(HTTPConnectionPool):
        ConnectionCls = Guarded

    class TLS(HTTPSConnectionPool):
        ConnectionCls = GuardedTLS

    return {"http": Plain, "https": TLS}


def _proxy_for(scheme: str, host: str) -> str | None:
    from urllib.request import getproxies, proxy_bypass

    proxy = getproxies().get(scheme)
    return proxy if proxy and not proxy_bypass(host) else None


@lru_cache(maxsize=1)
def certificates() -> str | None:
    """The bundle that the user's other tools are told to use, else the one that comes with rasterio and requests."""
    for variable in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        if os.environ.get(variable):
            return os.environ[variable]
    try:
        import certifi
    except ImportError:
        return None
    return certifi.where()


# ---------------------------------------------------------------- answers in words


def retry_after(text: str | None) -> float:
    """Seconds that a server asks to wait: a number, or a date."""
    from email.utils import parsedate_to_datetime

    if not text:
        return 0.0
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def words(error: Exception, patience: Patience) -> str:
    """What went wrong with a connection, in words that hold no address: urllib3's own carry query strings."""
    from urllib3 import exceptions

    if isinstance(error, exceptions.NameResolutionError | socket.gaierror):
        return "its host is not known"
    if isinstance(error, exceptions.ConnectTimeoutError):
        return f"no connection in {patience.connect_s:g} s"
    if isinstance(error, exceptions.ReadTimeoutError | exceptions.TimeoutError | TimeoutError):
        return f"the server fell silent for {patience.silence_s:g} s"
    if isinstance(error, exceptions.SSLError):
        return "its certificate or encryption is not accepted"
    if isinstance(error, exceptions.NewConnectionError | ConnectionRefusedError):
        return "no connection"
    if isinstance(error, exceptions.IncompleteRead | exceptions.ProtocolError | ConnectionError):
        return "the connection broke"
    return f"the connection failed ({type(error).__name__})"

"""Signatures of addresses, made just before they are asked: Azure blobs of the Planetary Computer, and S3."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from catalogs.remote.connections import AGENT, PASSING_STATUS, Connections, Passing, retry_after, words
from catalogs.remote.hrefs import Refused, RemoteError, Source, endpoint_of, environment_of, shown


class Unsigned:
    """Files that are open, or whose addresses carry what they need."""

    def signed(self, href: str) -> str:
        """The address that is asked: signed just before, and never kept or told."""
        return href

    def refused(self, href: str, signed: str, response: Any) -> None:
        """What a refusal of a signed address teaches: Passing where another signature may help."""

    def explains(self, href: str, response: Any) -> bool:
        """Whether a redirect is to be answered by signing otherwise."""
        return False

    def hint(self, status: int) -> str:
        return ""


def signer_of(source: Source) -> Unsigned:
    signs = {"signed": _PlanetaryComputer}
    kinds = set((endpoint_of(source.provider).get("access") or {}).values())
    return next((signs[kind](source) for kind in kinds if kind in signs), _S3(source))


def signs_late(provider: str | None) -> bool:
    """Whether http addresses of a provider are signed just before they are asked, so that none needs to be kept signed."""
    return "signed" in (endpoint_of(provider).get("access") or {}).values()


class _S3(Unsigned):
    """s3:// addresses as signed https ones (AWS Signature Version 4 in the query); http ones as they are."""

    def __init__(self, source: Source) -> None:
        self.environment = environment_of(source.provider)
        self.regions: dict[str, str] = {}
        named = os.environ.get("FORESTSINK_S3_BUCKETS", "").replace(",", " ").split()
        self.buckets = None if source.catalogue is None else {*(endpoint_of(source.provider).get("buckets") or ()), *named}

    def signed(self, href: str) -> str:
        parts = urlsplit(href)
        if parts.scheme != "s3":
            return href
        setting = self._setting
        region = self.regions.get(parts.netloc) or setting("AWS_REGION") or setting("AWS_DEFAULT_REGION") or "us-east-1"
        endpoint = setting("AWS_S3_ENDPOINT") or f"s3.{region}.amazonaws.com"
        scheme = "http" if _no(setting("AWS_HTTPS")) else "https"
        by_path = _no(setting("AWS_VIRTUAL_HOSTING")) or "." in parts.netloc
        host, path = (endpoint, f"/{parts.netloc}{parts.path}") if by_path else (f"{parts.netloc}.{endpoint}", parts.path)
        address = f"{scheme}://{host}{quote(path, safe='/-_.~')}"
        if _yes(setting("AWS_NO_SIGN_REQUEST")):
            return address
        if self.buckets is not None and parts.netloc not in self.buckets:  # else any catalogue could spend the user's money
            own = f" of the catalogue's own ({', '.join(sorted(self.buckets))})" if self.buckets else " that are named"
            raise Refused(
                f"{shown(href)} lies in a bucket for which your keys are not used: they sign for buckets{own} only; name it in "
                "FORESTSINK_S3_BUCKETS if it is meant, or set AWS_NO_SIGN_REQUEST=YES where it is open"
            )
        keys = _aws_keys(setting)
        return presigned(address, region=region, payer=setting("AWS_REQUEST_PAYER"), keys=keys, now=time.time())

    def _setting(self, name: str) -> str:
        return self.environment.get(name) or os.environ.get(name, "")

    def refused(self, href: str, signed: str, response: Any) -> None:
        if self.explains(href, response):
            self.regions[urlsplit(href).netloc] = response.headers["x-amz-bucket-region"]
            raise Passing("its bucket lies in another region", tries=3)

    def explains(self, href: str, response: Any) -> bool:
        region = response.headers.get("x-amz-bucket-region", "")
        bucket = urlsplit(href).netloc
        return href.startswith("s3://") and bool(re.fullmatch(r"[a-z0-9-]+", region)) and self.regions.get(bucket) != region

    def hint(self, status: int) -> str:
        if status == 403 and _setting_is(self._setting("AWS_REQUEST_PAYER"), "requester"):
            return "; the requester pays for this bucket: are these the keys of an account that may?"
        return ""


class AwsKeys(NamedTuple):
    """What signs requests to S3."""

    access: str
    secret: str
    session: str = ""


def presigned(address: str, *, region: str, keys: AwsKeys, payer: str = "", now: float, lifetime_s: int = 900) -> str:
    """An https address of S3 that is good for a quarter of an hour: AWS Signature Version 4 by query parameters.

    References
    ----------
    Amazon S3 API reference, "Authenticating requests: using query parameters (AWS Signature Version 4)".
    """
    import hashlib
    import hmac

    def sign(key: bytes, text: str) -> bytes:
        return hmac.new(key, text.encode(), hashlib.sha256).digest()

    parts = urlsplit(address)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{keys.access}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(lifetime_s),
        "X-Amz-SignedHeaders": "host",
    }
    if keys.session:
        query["X-Amz-Security-Token"] = keys.session
    if payer:
        query["x-amz-request-payer"] = payer
    asked = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(query.items()))
    request = f"GET\n{parts.path}\n{asked}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = sign(b"AWS4" + keys.secret.encode(), moment[:8])
    for part in (region, "s3", "aws4_request"):
        key = sign(key, part)
    signature = sign(key, f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}").hex()
    return f"{address}?{asked}&X-Amz-Signature={signature}"


def _aws_keys(setting: Callable[[str], str]) -> AwsKeys:
    """Keys from the environment, else from the profile of the shared credentials file."""
    import configparser

    if setting("AWS_ACCESS_KEY_ID") and setting("AWS_SECRET_ACCESS_KEY"):
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        return AwsKeys(*(setting(name) for name in names))
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or Path.home() / ".aws" / "credentials")
    profile = setting("AWS_PROFILE") or "default"
    kept = configparser.RawConfigParser()
    kept.read(file, encoding="utf-8")
    if kept.has_option(profile, "aws_access_key_id") and kept.has_option(profile, "aws_secret_access_key"):
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        return AwsKeys(*(kept.get(profile, name, fallback="") for name in names))
    raise RemoteError(
        "reading s3 addresses needs keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (for a role or "
        "single sign-on: aws configure export-credentials --format env), or AWS_NO_SIGN_REQUEST=YES for an open bucket"
    )


def s3_hosts(environment: Mapping[str, str]) -> frozenset[str]:
    """The host of an S3 service that the user or `endpoints.yaml` names: their choice, private or not."""
    endpoint = environment.get("AWS_S3_ENDPOINT") or os.environ.get("AWS_S3_ENDPOINT", "")
    host = urlsplit(f"//{endpoint}").hostname if endpoint else None
    return frozenset([host.lower()] if host else [])


def _yes(text: str) -> bool:
    return text.strip().lower() in ("yes", "true", "on", "1")


def _no(text: str) -> bool:
    return text.strip().lower() in ("no", "false", "off", "0")


def _setting_is(text: str, word: str) -> bool:
    return text.strip().lower() == word


class _PlanetaryComputer(Unsigned):
    """Azure blobs with a shared access signature per container, as the `planetary-computer` package keeps and renews them.

    The token itself is fetched here: the package's own request has no time limit.
    """

    TOKEN_LEFT_S = 60.0  # the package renews a token with less than this left

    def __init__(self, source: Source) -> None:
        self.patience = source.patience
        self._lock = threading.Lock()

    def signed(self, href: str) -> str:
        if not self._container(href) or {"sig", "se"} & set(re.findall(r"[?&](\w+)=", href)):
            return href
        with self._lock:
            return self._token(href).sign(href).href

    def refused(self, href: str, signed: str, response: Any) -> None:
        """A token that ended early is forgotten; a newer one, which another reader has fetched meanwhile, is not."""
        if response.status != 403 or not self._container(href):
            return
        from planetary_computer.sas import TOKEN_CACHE

        with self._lock:
            held = TOKEN_CACHE.get(self._token_address(href))
            if held is not None and signed.endswith(held.token):
                TOKEN_CACHE.pop(self._token_address(href), None)
        raise Passing("its signature has expired or is not accepted", tries=3)

    def _container(self, href: str) -> tuple[str, str] | None:
        parts = urlsplit(href)
        account, _, domain = (parts.hostname or "").partition(".")
        container = parts.path.lstrip("/").partition("/")[0]
        return (account, container) if domain == "blob.core.windows.net" and container else None

    def _token_address(self, href: str) -> str:
        from planetary_computer.settings import Settings

        account, container = self._container(href)
        return f"{Settings.get().sas_url}/{account}/{quote(container)}"

    def _token(self, href: str) -> Any:
        import urllib3
        from planetary_computer.sas import TOKEN_CACHE, SASToken
        from planetary_computer.settings import Settings

        address = self._token_address(href)
        held = TOKEN_CACHE.get(address)
        if held is not None and held.ttl() >= self.TOKEN_LEFT_S:
            return held
        key = Settings.get().subscription_key
        headers = {"User-Agent": AGENT, **({"Ocp-Apim-Subscription-Key": key} if key else {})}
        timeout = urllib3.Timeout(connect=self.patience.connect_s, read=self.patience.silence_s)
        trusted = frozenset([(urlsplit(address).hostname or "").lower()])  # the user's own setting
        try:
            response = _tokenConnections(trusted).pool_for(address).urlopen(
                "GET", address, headers=headers, redirect=False, retries=False, timeout=timeout, assert_same_host=False
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Passing(f"no token for it: {words(error, self.patience)}", down=True) from None
        if response.status in PASSING_STATUS:
            wait_s = retry_after(response.headers.get("Retry-After"))
            raise Passing(f"no token for it: the giver of tokens answers {response.status}", quiet_s=wait_s, down=True)
        if response.status != 200:
            raise RemoteError(f"{shown(href)} cannot be read: the giver of tokens refuses ({response.status})")
        try:
            TOKEN_CACHE[address] = SASToken(**response.json())
        except (TypeError, ValueError):
            raise RemoteError(f"{shown(href)} cannot be read: the giver of tokens answers with something else") from None
        return TOKEN_CACHE[address]


@lru_cache(maxsize=4)
def _tokenConnections(trusted: frozenset[str]) -> Connections:
    return Connections(trusted)

"""Digest: a password is proved without being sent (RFC 7616)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator
from typing import Final, NamedTuple
from urllib.parse import quote

from fastreq.content.sources import replayable
from fastreq.errors import StreamConsumed
from fastreq.messages import Request, Response
from fastreq.policies.auth import Auth, octets, signed
from fastreq.policies.challenges import (
    Challenge,
    authentication_info,
    challenges,
    quoted_string,
)

MAX_ORIGINS: Final = 64
"""Servers whose nonce is remembered; the oldest is forgotten, which costs it one more 401."""

MAX_ANSWERS: Final = 2
"""Challenges answered per request: one, and one more if its nonce was stale at once."""

# Name in the challenge → name of hashlib, and how strong it is.
_ALGORITHMS: Final = {
    "MD5": ("md5", 1),
    "SHA-256": ("sha256", 2),
    "SHA-512-256": ("sha512_256", 2),
    "SHA-512": ("sha512", 2),  # in no RFC, but spoken by httpbin, requests, httpx and aiohttp
}


def random_nonce() -> str:
    """128 bits that nobody can foresee."""
    return os.urandom(16).hex()


class Digest(Auth):
    """User name and password, of which only a hash with the server's nonce is sent.

    Of what a server offers, the strongest algorithm is taken (any SHA before MD5; else the server's
    first), and auth-int before auth where the body is bytes. A nonce is remembered per origin once
    it was accepted, so that only the first request to a server costs two. Credentials that a server
    refuses are not sent again, unless it says that only the nonce was stale; its 401 is handed out.

    Args:
        user: the user name.
        password: the password.
        cnonce: gives our own nonces; for tests.

    Raises:
        LocalProtocolError: one of them has a control character.
        StreamConsumed: by `flow()`: the body is a stream, and the server wants it once more, or
            wants it signed (auth-int).
    """

    def __init__(
        self, user: str, password: str, *, cnonce: Callable[[], str] = random_nonce
    ) -> None:
        for name, value in (("user", user), ("password", password)):
            if not isinstance(value, str):
                raise TypeError(f"Digest({name}=...) is {type(value).__name__}; expected str")
            octets("Digest", name, value)
        self._user = user
        self._password = password
        self._cnonce = cnonce
        self._sessions: dict[str, _Session] = {}  # by origin, oldest first

    def __repr__(self) -> str:
        return f"<Digest user={self._user!r} origins={len(self._sessions)}>"

    def flow(self, request: Request) -> Generator[Request, Response, None]:
        origin = request.url.origin
        session, is_new = self._sessions.get(origin), False
        response = yield session.sign(request) if session else request
        for answers in range(MAX_ANSWERS):
            if response.status != 401:
                break
            self._forget(origin, session)
            offer = strongest_offer(response)
            if offer is None or request.method == "TRACE" or (answers and not offer.stale):
                return  # RFC 9110, section 15.5.2: what was refused is not repeated
            if not replayable(request.body):
                raise StreamConsumed(
                    f"{origin} answers 401 and wants Digest, but the body is a stream, which "
                    "cannot be sent twice; give bytes, or make a GET first: its nonce is remembered"
                )
            session, is_new = _Session(offer, self._user, self._password, self._cnonce()), True
            response = yield session.sign(request)
        if session is not None and response.status != 401:
            session.hear(response)
            if is_new:  # an older one may have been replaced meanwhile, as stale
                self._remember(origin, session)

    def _remember(self, origin: str, session: _Session) -> None:
        if len(self._sessions) >= MAX_ORIGINS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[origin] = session

    def _forget(self, origin: str, session: _Session | None) -> None:
        if session is not None and self._sessions.get(origin) is session:
            del self._sessions[origin]


class Offer(NamedTuple):
    """A Digest challenge that we can answer. Texts stand for bytes, as ISO-8859-1."""

    realm: str
    nonce: str
    opaque: str | None
    algorithm: str | None  # as the server spells it; None is MD5
    hash_name: str
    strength: int
    has_session_key: bool  # "-sess"
    qops: frozenset[str]  # none: as it was before RFC 2617
    stale: bool
    hashes_user: bool
    wants_utf8: bool


def strongest_offer(response: Response) -> Offer | None:
    """The best of the Digest challenges; the server's first among equals."""
    offers = [offer for challenge in challenges(response) if (offer := read_offer(challenge))]
    return max(offers, key=lambda offer: offer.strength, default=None)


def read_offer(challenge: Challenge) -> Offer | None:
    """What a challenge offers; None if it is not Digest, or one we cannot answer."""
    given = challenge.parameters
    if challenge.scheme != "digest" or "realm" not in given or "nonce" not in given:
        return None
    algorithm = given.get("algorithm", "MD5")
    algorithm = algorithm.upper() if algorithm.isascii() else ""  # "ß".upper() is "SS"
    has_session_key = algorithm.endswith("-SESS")
    hash_name, strength = _ALGORITHMS.get(algorithm.removesuffix("-SESS"), ("", 0))
    qops = frozenset(qop.strip().lower() for qop in given.get("qop", "").split(",")) - {""}
    if not _has_hash(hash_name) or ("qop" in given and not qops & {"auth", "auth-int"}):
        return None
    if has_session_key and not qops:
        return None  # its key has our nonce in it, which is only sent with a qop
    return Offer(
        given["realm"],
        given["nonce"],
        given.get("opaque"),
        given.get("algorithm"),
        hash_name,
        strength,
        has_session_key,
        qops,
        given.get("stale", "").lower() == "true",
        given.get("userhash", "").lower() == "true",
        given.get("charset", "").upper() == "UTF-8",
    )


def _has_hash(name: str) -> bool:
    """OpenSSL has not all of them everywhere: no MD5 under FIPS 140, no SHA-512/256 if old."""
    try:
        hashlib.new(name, usedforsecurity=False)
    except ValueError:
        return False
    return True


class _Session:
    """What follows from one challenge: the key, the nonce, and how often that was used."""

    def __init__(self, offer: Offer, user: str, password: str, cnonce: str) -> None:
        if offer.wants_utf8:  # section 4: and then in normal form C
            import unicodedata

            user, password = (unicodedata.normalize("NFC", text) for text in (user, password))
        self._offer = offer
        self._user = user
        self._cnonce = cnonce
        self._nonce = offer.nonce
        self._count = 0  # requests signed with this nonce
        # Section 3.4.2: of the first nonces, and kept when the server gives the next.
        self._key = self._hash(_latin(user), offer.realm, _latin(password))
        if offer.has_session_key:
            self._key = self._hash(self._key, offer.nonce, cnonce)

    def sign(self, request: Request) -> Request:
        """A copy of the request that proves who we are."""
        qop = self._qop(request)
        self._count += 1
        count = f"{self._count:08x}"
        target = request.url.target.decode("ascii") or "*"  # see URL.whole_server()
        parts = [
            self._user_parameter(),
            f"realm={quoted_string(self._offer.realm)}",
            f"nonce={quoted_string(self._nonce)}",
            f"uri={quoted_string(target)}",
            f'response="{self._response(request, target, qop, count)}"',
        ]
        # Section 3.4: without quotes, whatever the challenge had.
        if self._offer.algorithm is not None:
            parts.append(f"algorithm={self._offer.algorithm}")
        if qop:
            parts += [f"qop={qop}", f"nc={count}", f"cnonce={quoted_string(self._cnonce)}"]
        if self._offer.opaque is not None:
            parts.append(f"opaque={quoted_string(self._offer.opaque)}")
        if self._offer.hashes_user:
            parts.append("userhash=true")
        proven = signed(request, f"Digest {', '.join(parts)}")
        proven.sign_again = self.sign  # each time it is sent counts (section 3.4)
        return proven

    def hear(self, response: Response) -> None:
        """Take the next nonce, if the server gives one (section 3.5)."""
        following = authentication_info(response).get("nextnonce")
        if following:
            self._nonce, self._count = following, 0

    def _qop(self, request: Request) -> str:
        qops = self._offer.qops
        if "auth-int" in qops and isinstance(request.body, bytes):
            return "auth-int"
        if "auth-int" in qops and "auth" not in qops:
            raise StreamConsumed(
                f"{request.url.origin} wants the body signed (Digest with qop=auth-int), but the "
                "body of this request is a stream; give it as bytes"
            )
        return "auth" if qops else ""

    def _response(self, request: Request, target: str, qop: str, count: str) -> str:
        """Sections 3.4.1 and 3.4.3."""
        asked = [request.method, target]
        if qop == "auth-int":
            asked.append(self._digest(request.content))
        proof = [count, self._cnonce, qop] if qop else []
        return self._hash(self._key, self._nonce, *proof, self._hash(*asked))

    def _user_parameter(self) -> str:
        if self._offer.hashes_user:  # section 3.4.4
            return f'username="{self._hash(_latin(self._user), self._offer.realm)}"'
        if self._offer.wants_utf8 and not self._user.isascii():
            return f"username*=UTF-8''{quote(self._user, safe='')}"
        return f"username={quoted_string(_latin(self._user))}"

    def _hash(self, *parts: str) -> str:
        return self._digest(":".join(parts).encode("latin-1"))

    def _digest(self, data: bytes) -> str:
        return hashlib.new(self._offer.hash_name, data, usedforsecurity=False).hexdigest()


def _latin(text: str) -> str:
    """UTF-8 as it travels in field values: one character for each byte."""
    return text.encode().decode("latin-1")

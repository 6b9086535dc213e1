"""The envelope around an answer that takes long: signs of progress first, then the answer with its status.

A client that accepts `MEDIA_TYPE` gets status 200 at once and, as the body, an empty line for each second in which the
process has done something. Then come one line, an `Envelope` as JSON, and the body of the answer. A client that reads
nothing for longer than the service may need between two signs of progress knows that it hangs. Naive twin: the answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from rolekeeper.contracts.problems import Contract

MEDIA_TYPE = "application/vnd.rolekeeper.beats"
BEAT = b"\n"


class Envelope(Contract):
    """Status and headers of the answer that follows."""

    status: int
    headers: Mapping[str, str] = {}


def seal(envelope: Envelope, body: bytes) -> bytes:
    """Return an answer in its envelope."""
    return envelope.model_dump_json().encode() + b"\n" + body


def unseal(content: bytes) -> tuple[Envelope, bytes]:
    """Return the envelope and the body of an answer that came with beats before it. Raises pydantic's ValidationError.

    An answer that was cut off before its envelope has none.
    """
    head, _, body = content.lstrip(BEAT).partition(b"\n")
    return Envelope.model_validate_json(head), body

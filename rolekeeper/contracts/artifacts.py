"""Artifacts: immutable bytes with a kind and a digest."""

from __future__ import annotations

from enum import StrEnum

from rolekeeper.contracts.problems import Contract


class ArtifactKind(StrEnum):
    """What an artifact of a job is."""

    SCORES = "scores"
    ADAPTER = "adapter"
    REPORT = "report"


class Artifact(Contract):
    """Bytes in the artifact store."""

    sha256: str
    bytes: int

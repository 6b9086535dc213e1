"""Where the files of public suites are: in the operator's folder, or else on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError

from rolekeeper.errors import NotFound
from rolekeeper.suites.catalog import HubFile, SuiteEntry, SuiteFile

SETTING = "ROLEKEEPER_SUITES_DIR"


class SuiteUnavailable(NotFound):
    """A file is neither in the folder of suites nor to be had from the hub. The message says what to put where."""

    code = "suite_unavailable"


class Found(NamedTuple):
    """The bytes of a file, and where they were found."""

    data: bytes
    where: str


Fetch = Callable[[HubFile], Path]


def fetch_from_hub(file: HubFile) -> Path:
    """Download a file, or find it in the hub's cache. Raises OSError and HfHubHTTPError."""
    return Path(hf_hub_download(file.repo, file.file, repo_type="dataset", revision=file.revision))


class SuiteFiles:
    """The files of public suites."""

    def __init__(self, folder: Path | None, fetch: Fetch = fetch_from_hub) -> None:
        self.folder = folder
        self._fetch = fetch

    def read(self, entry: SuiteEntry, file: SuiteFile) -> Found:
        """Return the bytes of a file. Raises SuiteUnavailable."""
        own = self._in_folder(file.path)
        if own is not None:
            return Found(own.read_bytes(), f"{file.path} in the folder of suites")
        if file.hub is None:
            raise SuiteUnavailable(f"suite {entry.name!r} is not here; {self.advice(entry, file)}")
        try:
            path = self._fetch(file.hub)
        except (OSError, ValueError, HfHubHTTPError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise SuiteUnavailable(
                f"suite {entry.name!r} is not here, and the Hugging Face hub does not give it ({reason}); "
                f"{self.advice(entry, file)}"
            ) from error
        return Found(path.read_bytes(), f"{file.hub.file} of {file.hub.repo} on the hub at {_commit(path, file.hub)}")

    def is_here(self, file: SuiteFile) -> bool:
        """Whether a file can be read without any network."""
        if self._in_folder(file.path) is not None:
            return True
        hub = file.hub
        return hub is not None and isinstance(
            try_to_load_from_cache(hub.repo, hub.file, repo_type="dataset", revision=hub.revision), str
        )

    def advice(self, entry: SuiteEntry, file: SuiteFile) -> str:
        """What to do so that a file can be read."""
        folder = f"the evaluator's setting {SETTING} names" if self.folder is None else f"{self.folder} ({SETTING})"
        where = f"the folder that {folder}" if self.folder is None else folder
        return f"download {file.url} to {file.path} in {where}. {entry.terms}".rstrip()

    def _in_folder(self, path: str) -> Path | None:
        full = None if self.folder is None else self.folder / path
        return full if full is not None and full.is_file() else None


def _commit(path: Path, hub: HubFile) -> str:
    """The commit that the hub's cache holds the file under."""
    parents = [parent.name for parent in path.parents]
    return parents[parents.index("snapshots") - 1] if "snapshots" in parents else hub.revision

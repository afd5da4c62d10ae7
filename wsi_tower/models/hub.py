"""Files of the Hugging Face Hub: from its cache, the network, or an error that says what to do.

The hub's client repeats a failed request for half a minute; here a machine without network is told
so within seconds.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is httpx's
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from wsi_tower.errors import EncoderError

__all__ = ["CONFIG_NAME", "WEIGHTS_NAMES", "HubFile"]

CONFIG_NAME = "config.json"
WEIGHTS_NAMES = ("model.safetensors", "pytorch_model.bin")
"""Where timm keeps weights in a repository, the better one first."""
_PROBE_SECONDS = 5.0
_LOG_IN = "log in (hf auth login, or the variable HF_TOKEN)"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a repository of the hub."""

    repository: str
    """``owner/name``."""
    names: tuple[str, ...]
    """Its name there; where it may have several, the best first."""
    revision: str | None = None
    """Branch, tag or commit; None: the newest."""
    by_hand: str = ""
    """What to do where it cannot be fetched."""

    def cached(self) -> Path | None:
        """The copy that an earlier run fetched, if there is one."""
        for name in self.names:
            try:
                found = try_to_load_from_cache(self.repository, name, revision=self.revision)
            except HFValidationError as error:
                raise EncoderError(
                    f"{self.repository!r} is no repository of the Hugging Face Hub; its names are "
                    f"owner/name, and owner/name@revision"
                ) from error
            if isinstance(found, str):
                return Path(found)
        return None

    def fetched(self) -> Path:
        """The file on this machine, fetched where the cache has no copy.

        Raises:
            EncoderError: it cannot be had; says what to fetch by hand.
        """
        found = self.cached()
        if found is not None:
            return found
        if constants.HF_HUB_OFFLINE or not _answers(constants.ENDPOINT):
            raise self._refusal("the Hugging Face Hub does not answer, and its cache has no copy")
        for name in self.names:
            try:
                return Path(hf_hub_download(self.repository, name, revision=self.revision))
            except LocalEntryNotFoundError as error:  # an EntryNotFoundError, but of the network
                raise self._refusal("the Hugging Face Hub does not answer") from error
            except EntryNotFoundError:
                continue
            except (HTTPError, OSError) as error:
                raise self._refusal(_reason(error)) from error
        raise self._refusal("it has no such file")

    def _refusal(self, why: str) -> EncoderError:
        return EncoderError(
            f"{' or '.join(self.names)} of repository {self.repository} cannot be fetched: {why}; "
            f"{self.by_hand}"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, GatedRepoError):
        return f"it is gated. Ask for access on its page and {_LOG_IN}. Or"
    if isinstance(error, RevisionNotFoundError):
        return "it has no such revision"
    if isinstance(error, RepositoryNotFoundError):
        return f"it does not exist or is private. Check the name, or {_LOG_IN}. Or"
    return f"{type(error).__name__}, {str(error).partition(chr(10))[0]}"


def _answers(endpoint: str) -> bool:
    """Whether anybody answers there, directly or through the proxy that the machine names."""
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True
    except HTTPException:
        return True
    except urllib.error.URLError as error:
        # Certificates are the client's business: it may know more of them.
        return isinstance(error.reason, SSLError)
    except OSError:
        return False

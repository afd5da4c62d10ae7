"""Files of weights: read without running what is in them, and fitted to an architecture."""

from __future__ import annotations

import pickle
import struct
import sys
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from wsi_tower.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["load_weights", "read_tensors"]

_UNREADABLE = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError),
    *(AttributeError, TypeError, AssertionError, struct.error),
)
"""What PyTorch's reader raises for files that are no checkpoints: it checks little itself."""
_AVERAGED = ("teacher", "ema")
"""Marks of the averaged copy of two networks in one file: the one that is meant for use."""


def load_weights(model: nn.Module, path: Path, architecture: str) -> None:
    """Put a file's tensors into a model of timm that was built without classifier.

    Takes what timm, PyTorch and the usual training scripts write: tensors by name, nested under
    keys such as ``state_dict``, ``model`` or ``teacher``, with prefixes such as ``module.`` or
    ``backbone.``. Where names or shapes differ, timm's own converter for that family is tried:
    original releases, other picture sizes. Colour filters are summed for grey models, as timm does.

    Raises:
        EncoderError: the file cannot be read, or is not of this architecture.
    """
    tensors = read_tensors(path)
    fit = _Fit.of(model, tensors)
    if not fit.is_whole:
        converted = _converted(model, _without_prefix(model.state_dict(), tensors))
        fit = max(fit, _Fit.of(model, converted), key=_Fit.rank)
    if not fit.is_whole:
        raise EncoderError(
            f"weights {path} do not fit {architecture}: {fit.told()}; take a file of this "
            f"architecture, or name the architecture that the file is of"
        )
    model.load_state_dict(fit.tensors, strict=False)  # what is left out was looked at above


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or PyTorch checkpoint, by dotted name, on the CPU.

    Raises:
        EncoderError: no such file, not a checkpoint, or one that would run code when read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise EncoderError(
            f"weights {path} cannot be read ({error.strerror}); give the path of a file that is "
            f"there with --weights"
        ) from error
    try:
        if head[8:] == b"{":
            return safetensors.torch.load_file(path)
        # Training scripts keep their options beside the weights; these hold plain values.
        with torch.serialization.safe_globals([Namespace]):
            tensors = dict(_flat(torch.load(path, map_location="cpu", weights_only=True)))
    except safetensors.SafetensorError as error:
        raise _unreadable(path, error) from error
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    if not tensors:
        raise EncoderError(f"weights {path} hold no tensors; give a file of weights")
    return tensors


def _unreadable(path: Path, error: Exception) -> EncoderError:
    if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
        why = "it holds more than tensors, which reading it would run"
        remedy = "if you trust it, load it yourself and save model.state_dict() again"
    else:
        why = "it is damaged or no file of weights"
        remedy = "give a safetensors file, or one of PyTorch (.pt, .pth, .bin)"
    return EncoderError(f"weights {path} cannot be read: {why}; {remedy}")


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(values, dict):
        for key, value in values.items():
            name = f"{prefix}{key}"
            if isinstance(value, Tensor):
                yield name, value
            else:
                yield from _flat(value, f"{name}.")


def _without_prefix(
    wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Tensors below the prefix under which most of the wanted names are found."""
    found: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in wanted:
                found["".join(f"{part}." for part in parts[:start])] += 1
    best = max(found, key=lambda prefix: (found[prefix], _is_averaged(prefix)), default="")
    return {
        name.removeprefix(best): tensor for name, tensor in tensors.items() if name.startswith(best)
    }


def _is_averaged(prefix: str) -> bool:
    return any(mark in prefix for mark in _AVERAGED)


@dataclass(frozen=True, slots=True)
class _Fit:
    """What of a model's tensors a file has."""

    tensors: dict[str, Tensor]
    missing: tuple[str, ...]
    of_other_shape: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    strange: tuple[str, ...]
    """In the file alone: further layers of a larger relative, whose first ones would fit."""

    @classmethod
    def of(cls, model: Any, tensors: Mapping[str, Tensor]) -> _Fit:
        wanted: dict[str, Tensor] = model.state_dict()
        own = _without_prefix(wanted, tensors)
        found = {name: own[name] for name in wanted if name in own}
        for name in _told(model, "first_conv"):
            if f"{name}.weight" in found:
                weight = f"{name}.weight"
                found[weight] = _adapted(found[weight], wanted[weight])
        fitting = {name: one for name, one in found.items() if one.shape == wanted[name].shape}
        other = tuple(
            (name, tuple(found[name].shape), tuple(wanted[name].shape))
            for name in found
            if name not in fitting
        )
        # BatchNorm's counter came late to PyTorch; older files go without.
        absent = (name for name in wanted if name not in found)
        missing = tuple(name for name in absent if not name.endswith(".num_batches_tracked"))
        parts = {_part(name) for name in wanted}
        classifiers = tuple(f"{name}." for name in _told(model, "classifier"))
        strange = tuple(
            name
            for name in own
            if name not in wanted and _part(name) in parts and not name.startswith(classifiers)
        )
        return cls(fitting, missing, other, strange)

    @property
    def is_whole(self) -> bool:
        return not (self.missing or self.of_other_shape or self.strange)

    def rank(self) -> tuple[int, int]:
        """The better of two fits has the higher."""
        return len(self.tensors), -len(self.strange)

    def told(self) -> str:
        """What fits and what does not, with the first of each kind."""
        wanted = len(self.tensors) + len(self.missing) + len(self.of_other_shape)
        parts = [f"{len(self.tensors)} of {wanted} tensors matched"]
        if self.missing:
            parts.append(f"{len(self.missing)} are missing, the first {self.missing[0]}")
        if self.of_other_shape:
            name, found, right = self.of_other_shape[0]
            count = len(self.of_other_shape)
            parts.append(f"{count} are of another shape, the first {name}: {found}, not {right}")
        if self.strange:
            parts.append(f"{len(self.strange)} have no place in it, the first {self.strange[0]}")
        return ", ".join(parts)


def _part(name: str) -> str:
    return name.partition(".")[0]


def _told(model: Any, key: str) -> tuple[str, ...]:
    """Names of layers that timm's config of a model has under ``key``."""
    named = model.pretrained_cfg.get(key) or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _adapted(found: Tensor, wanted: Tensor) -> Tensor:
    """Filters of the first layer for as many channels as the model has."""
    if found.ndim != 4 or found.shape[1] == wanted.shape[1] or found.shape[1] != 3:
        return found
    adapted: Tensor = adapt_input_conv(wanted.shape[1], found)
    return adapted


def _converted(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What timm's converter for the model's family makes of foreign tensors.

    Families keep it beside their model under this name. It is written for the releases that it
    knows and fails in many ways for others: then the file is left as it was.
    """
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        converted: dict[str, Tensor] = convert(dict(tensors), model)
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError, AssertionError):
        return tensors
    return converted

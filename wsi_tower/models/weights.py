"""Files of weights: read without running what is in them, and fitted to an architecture."""

from __future__ import annotations

import pickle
import struct
import sys
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
    wanted = model.state_dict()
    fit = _Fit.of(wanted, tensors, _first_convolutions(model))
    if not fit.is_whole:
        converted = _converted(model, _without_prefix(wanted, tensors))
        fit = max(fit, _Fit.of(wanted, converted, _first_convolutions(model)), key=_Fit.matched)
    if not fit.is_whole:
        raise EncoderError(
            f"weights {path} do not fit {architecture}: {fit.matched()} of {len(wanted)} tensors "
            f"matched{fit.first_missing}{fit.first_of_other_shape}; take a file of this "
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
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except safetensors.SafetensorError as error:
        raise _unreadable(path, error) from error
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    tensors = dict(_flat(loaded))
    if not tensors:
        raise EncoderError(f"weights {path} hold no tensors; give a file of weights")
    return tensors


def _unreadable(path: Path, error: Exception) -> EncoderError:
    if isinstance(error, pickle.UnpicklingError) and "Unsupported" in str(error):
        why = "it holds more than tensors, which reading it would run"
    else:
        why = "it is damaged or no file of weights"
    return EncoderError(
        f"weights {path} cannot be read: {why}; give a safetensors file, or a PyTorch file (.pt, "
        f".pth, .bin) that torch.load(…, weights_only=True) reads"
    )


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

    @classmethod
    def of(
        cls, wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], first: tuple[str, ...]
    ) -> _Fit:
        found = {
            name: tensor
            for name, tensor in _without_prefix(wanted, tensors).items()
            if name in wanted
        }
        for name in found.keys() & set(first):
            found[name] = _adapted(found[name], wanted[name])
        fitting = {name: one for name, one in found.items() if one.shape == wanted[name].shape}
        other = tuple(
            (name, tuple(found[name].shape), tuple(wanted[name].shape))
            for name in wanted
            if name in found and name not in fitting
        )
        # BatchNorm's counter came late to PyTorch; older files go without.
        missing = tuple(
            name
            for name in wanted
            if name not in found and not name.endswith(".num_batches_tracked")
        )
        return cls(fitting, missing, other)

    @property
    def is_whole(self) -> bool:
        return not self.missing and not self.of_other_shape

    def matched(self) -> int:
        return len(self.tensors)

    @property
    def first_missing(self) -> str:
        if not self.missing:
            return ""
        return f"; {len(self.missing)} are missing, the first {self.missing[0]}"

    @property
    def first_of_other_shape(self) -> str:
        if not self.of_other_shape:
            return ""
        name, found, wanted = self.of_other_shape[0]
        count = len(self.of_other_shape)
        return f"; {count} are of another shape, the first {name}: {found}, not {wanted}"


def _first_convolutions(model: Any) -> tuple[str, ...]:
    named = model.pretrained_cfg.get("first_conv") or ()
    names = (named,) if isinstance(named, str) else tuple(named)
    return tuple(f"{name}.weight" for name in names)


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

"""Which encoder embeds: the newest of a method, one by name, or one of a Python file."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from wsi_tower.errors import EncoderError
from wsi_tower.models import (
    TimmEncoder,
    encoders_of,
    load_encoder,
    newest_encoder,
    slug,
    weights_digest,
)
from wsi_tower.records import bytes_digest, digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsi_tower.embeddings.settings import DescriptorChoice, StainChoice
    from wsi_tower.models import Descriptor, LoadedEncoder, Network
    from wsi_tower.workspace import Workspace

__all__ = ["EncoderChoice", "TileEncoder", "load_tile_encoder"]

_OFFER = (
    "it must take no argument and return a torch module that maps float pictures (B, 3, H, W) in "
    "[0, 1] to vectors (B, D)"
)


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """Which encoder, as plain values that travel to workers. All empty: the newest of all."""

    name: str = ""
    """One of the workspace, a name of timm, ``imagenet``, ``hf-hub:owner/name``, …"""
    method: str = ""
    """The newest that was trained by it."""
    file: str = ""
    """``my.py:function``, see `load_tile_encoder`."""
    weights: Path | None = None
    """A file in place of the weights of ``name``."""

    def __post_init__(self) -> None:
        given = [text for text in (self.name, self.method, self.file) if text]
        if len(given) > 1:
            raise EncoderError(
                f"{' and '.join(given)} both name an encoder; give one of --encoder, --method and "
                f"--encoder-file"
            )
        if self.weights is not None and not self.name:
            raise EncoderError(
                f"weights {self.weights} need the name of their architecture; give --encoder"
            )

    def resolved(self, workspace: Workspace) -> EncoderChoice:
        """This choice with a name, where only a method or nothing was given; with whole paths.

        Raises:
            EncoderError: the workspace has no such encoder.
        """
        if self.name or self.file:
            # A worker of a cluster stands in another folder.
            file = str(Path(self.file).absolute()) if ":" in self.file else self.file
            return replace(self, file=file, weights=self.weights and self.weights.absolute())
        if self.method:
            return EncoderChoice(name=newest_encoder(workspace, self.method).name)
        # Those without training are floors of an evaluation, whatever their age.
        found = [one for one in encoders_of(workspace).records if one.origin.method != "untrained"]
        if not found:
            raise EncoderError(
                f"{workspace.encoders} has no encoder; train one with wsi-tower pretrain, or take "
                f"another's with --encoder imagenet, a name of timm, or hf-hub:owner/name"
            )
        return EncoderChoice(name=found[0].name)


@dataclass(frozen=True, eq=False)
class TileEncoder:
    """An encoder as embedding needs it."""

    module: nn.Module
    """Maps pictures (B, 3, H, W) in [0, 1] to descriptors (B, D); in eval mode, on the CPU."""
    encoder_id: str
    """Its full name."""
    method: str
    """What trained it; ``pretrained`` or ``file`` where somebody else did."""
    descriptor: Descriptor
    """What it describes a tile by."""
    usual_descriptor: Descriptor
    """What its method describes a tile by."""
    mpp: float | None
    """Resolution that it was trained on, in µm/px; None where any will do."""
    wanted_px: int | None
    """Side that tiles should have; None: their own."""
    parents: dict[str, str]
    """Digests of its weights, and of its source where it is from a file."""

    @property
    def digest(self) -> str:
        """Of its weights, and of its source where it is from a file."""
        return digest(self.parents)

    def folder(self, stain: StainChoice = "none") -> str:
        """Name of the folder of its caches: another one for what is not its usual way."""
        parts = [slug(self.encoder_id)]
        parts += [self.descriptor] if self.descriptor != self.usual_descriptor else []
        parts += [stain] if stain != "none" else []
        return "-".join(parts)


def load_tile_encoder(
    choice: EncoderChoice, workspace: Workspace, descriptor: DescriptorChoice = "auto"
) -> TileEncoder:
    """The encoder of a choice.

    A function of a Python file is called without argument. It returns a torch module that maps
    float pictures (B, 3, H, W) in [0, 1] to vectors (B, D), or an `Encoder`; normalisation is its
    own business. The module may say by attributes ``input_px`` (the side that tiles are resized to)
    and ``mpp`` (the resolution in µm/px that they must have).

    Args:
        choice: which.
        workspace: where encoders of one's own lie.
        descriptor: what describes a tile.

    Raises:
        EncoderError: it cannot be had, has no head, or takes grey pictures.
        CorruptStoreError: its folder is damaged.
    """
    if choice.file:
        return _from_file(choice.file, descriptor)
    choice = choice.resolved(workspace)
    loaded = load_encoder(choice.name, workspace=workspace, weights=choice.weights)
    network, record = loaded.network, loaded.record
    if network.encoder.in_channels != 3:
        raise EncoderError(
            f"encoder {choice.name} takes grey pictures and tiles have colour; take another"
        )
    usual = network.descriptor
    if descriptor != "auto":
        if descriptor == "head" and network.head is None:
            raise EncoderError(
                f"encoder {choice.name} has no head to describe tiles by; leave --descriptor out, "
                f"or say --descriptor pooled"
            )
        network.descriptor = descriptor
    parents = {"encoder": record.header.content_digest}
    origin = record.origin
    return TileEncoder(
        _Described(network),
        origin.encoder_id,
        origin.method,
        network.descriptor,
        usual,
        origin.mpp,
        _wanted_px(loaded),
        parents,
    )


class _Described(nn.Module):
    """A network's descriptors as a plain module, which `torch.compile` takes."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.describe(images)


def _wanted_px(loaded: LoadedEncoder) -> int | None:
    """The size that transformers of others were made for; convolutions take tiles as they are.

    One's own was trained at its µm/px on any part of a tile, so resizing would change the scale.
    """
    encoder = loaded.network.encoder
    if loaded.record.origin.mpp is None and isinstance(encoder, TimmEncoder) and encoder.is_sized:
        return encoder.plan.input_px
    return None


def _from_file(file: str, descriptor: DescriptorChoice) -> TileEncoder:
    """The encoder that a function of a Python file returns."""
    path_text, _, function = file.rpartition(":")
    if not path_text or not function:
        raise EncoderError(f"--encoder-file takes FILE.py:FUNCTION, not {file!r}")
    if descriptor == "head":
        raise EncoderError(
            f"an encoder of a file has no head, as far as wsi-tower knows; let {function} return "
            f"what is to be stored, and leave --descriptor out"
        )
    path = Path(path_text)
    source, made = _called(path, function)
    if not isinstance(made, nn.Module):
        raise EncoderError(f"{function} of {path} returned {type(made).__name__}; {_OFFER}")
    return TileEncoder(
        _Vectors(made.eval(), file),
        f"{path.stem}-{function}",
        "file",
        "pooled",
        "pooled",
        getattr(made, "mpp", None),
        getattr(made, "input_px", None),
        {"encoder": weights_digest(made), "encoder_source": bytes_digest([source])},
    )


def _called(path: Path, function: str) -> tuple[bytes, Any]:
    """Source of a Python file, and what one of its functions returns."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise EncoderError(
            f"encoder file {path} cannot be read ({error.strerror}); give --encoder-file the path "
            f"of a Python file"
        ) from error
    spec = importlib.util.spec_from_file_location(f"wsi_tower_encoder_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise EncoderError(f"encoder file {path} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise EncoderError(f"encoder file {path} cannot be loaded: {error}") from error
    make: Callable[[], Any] | None = getattr(module, function, None)
    if not callable(make):
        raise EncoderError(f"encoder file {path} has no function {function}; {_OFFER}")
    return source, make()


class _Vectors(nn.Module):
    """Somebody's module, whose output is checked; the ``pooled`` of an `Encoder`'s is taken."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.module, self.name = module, name

    def forward(self, images: Tensor) -> Tensor:
        made = self.module(images)
        vectors = getattr(made, "pooled", made)
        if not isinstance(vectors, Tensor) or vectors.ndim != 2 or len(vectors) != len(images):
            told = tuple(vectors.shape) if isinstance(vectors, Tensor) else type(vectors).__name__
            raise EncoderError(
                f"the module of {self.name} made {told} of pictures {tuple(images.shape)}; {_OFFER}"
            )
        return vectors

"""What a saved encoder says of itself: ``encoder.json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from wsi_tower.errors import CorruptStoreError, EncoderError
from wsi_tower.models.heads import HeadSettings, ProjectionHead
from wsi_tower.models.naming import slug
from wsi_tower.models.network import Descriptor, Network
from wsi_tower.models.parts import RecordKind, is_of
from wsi_tower.models.plan import EncoderPlan
from wsi_tower.models.timm_encoder import TimmEncoder
from wsi_tower.models.unet import UNetDecoder
from wsi_tower.records import Header, plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "FORMAT_VERSION",
    "KIND",
    "REMEDY",
    "DecoderSettings",
    "EncoderRecord",
    "NetworkShape",
    "Origin",
]

Part = TypeVar("Part")

KIND = "encoder"
FORMAT_VERSION = 1
REMEDY = "restore the folder from a copy, or train the encoder again"
_RECORD = RecordKind(KIND, FORMAT_VERSION, "an encoder", REMEDY)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an encoder comes from: what its network does not know itself."""

    encoder_id: str
    """Its full name: of one's own, or ``hf-hub:owner/name``."""
    method: str
    """What trained it: ``tower``, ``similarity``, …; ``pretrained`` where somebody else did."""
    input_px: int
    """Side of the pictures that it was trained on."""
    mpp: float | None = None
    """Their resolution in µm/px; None for flat images and photographs."""
    settings: dict[str, Any] = field(default_factory=dict)
    """All settings that made it."""
    parents: dict[str, str] = field(default_factory=dict)
    """Digests of what it was trained on, by role."""
    training: dict[str, Any] = field(default_factory=dict)
    """A free record of the run: steps, seconds, last losses. Enters no digest."""


@dataclass(frozen=True, slots=True)
class DecoderSettings:
    """A U-Net decoder, channels of its encoder apart."""

    out_channels: int
    """C: channels of the pictures that it makes."""
    widths: tuple[int, ...]
    """Channels after each doubling."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From plain values; whatever is wrong with them is a Python error."""
        return cls(int(values["out_channels"]), tuple(int(width) for width in values["widths"]))


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What a network is built from again, weights apart."""

    plan: EncoderPlan
    """Its encoder."""
    descriptor: Descriptor
    """What describes a tile."""
    descriptor_width: int
    """How long that is."""
    head: HeadSettings | None = None
    """Its head, where it has one."""
    decoder: DecoderSettings | None = None
    """Its decoder, where it has one."""

    @classmethod
    def of(cls, network: Network) -> Self:
        """The shape of a network.

        Raises:
            EncoderError: a part is of a class that cannot be built again by name.
        """
        encoder = _part(network.encoder, TimmEncoder)
        head = decoder = None
        if network.head is not None:
            head = _part(network.head, ProjectionHead)
        if network.decoder is not None:
            decoder = _part(network.decoder, UNetDecoder)
        by_head = head if network.descriptor == "head" else None
        return cls(
            encoder.plan,
            "head" if by_head else "pooled",
            by_head.width if by_head else encoder.width,
            head.settings if head else None,
            DecoderSettings(decoder.out_channels, decoder.widths) if decoder else None,
        )

    def build(self) -> Network:
        """The network with random weights.

        Raises:
            EncoderError: this timm cannot build the encoder.
        """
        encoder = TimmEncoder(self.plan)
        head = ProjectionHead(encoder.width, self.head) if self.head else None
        decoder = None
        if self.decoder:
            decoder = UNetDecoder.on(encoder, self.decoder.out_channels, self.decoder.widths)
        return Network(encoder, head=head, decoder=decoder, descriptor=self.descriptor)


def _part(part: object, kind: type[Part]) -> Part:
    if not isinstance(part, kind):
        raise EncoderError(
            f"a network with a {type(part).__name__} cannot be saved, since nothing could build it "
            f"again; use a {kind.__name__}"
        )
    return part


@dataclass(frozen=True, slots=True)
class EncoderRecord:
    """A saved encoder's ``encoder.json``."""

    origin: Origin
    """Where it comes from."""
    shape: NetworkShape
    """What it is built from."""
    header: Header
    """Kind, format version, settings, parents; its content digest covers every tensor."""
    digests: dict[str, str]
    """Digest of the tensors of each part: ``encoder``, ``head``, ``decoder``."""

    @property
    def name(self) -> str:
        """Its name as that of a folder."""
        return slug(self.origin.encoder_id)

    def to_json(self) -> dict[str, Any]:
        """This record as JSON."""
        origin, shape = plain(self.origin), plain(self.shape)
        plan, training = shape.pop("plan"), origin.pop("training")
        # These stand in the header, and the plan's size is that of the training.
        del origin["settings"], origin["parents"], plan["input_px"]
        return {
            "header": self.header.to_json(),
            **origin,
            **plan,
            **shape,
            "digests": self.digests,
            "training": training,
        }

    @classmethod
    def from_json(cls, values: object, source: Path) -> Self:
        """The record that `to_json` wrote; ``source`` is named in errors.

        Raises:
            CorruptStoreError: a later version's, no record of an encoder, or a damaged one.
        """
        header = _RECORD.header(values, source)
        told = cast("dict[str, Any]", values)
        _RECORD.check_fields(_unsound(told), source)
        try:
            return cls(_origin(told, header), _shape(told), header, dict(told["digests"]))
        except (ValueError, TypeError, LookupError) as error:
            raise CorruptStoreError(f"{source} is damaged: {error}; {REMEDY}") from error


_KINDS: dict[str, tuple[type, ...]] = {
    "encoder_id": (str,),
    "method": (str,),
    "input_px": (int,),
    "mpp": (int, float, type(None)),
    "architecture": (str,),
    "in_channels": (int,),
    "mean": (list,),
    "std": (list,),
    "model_args": (dict,),
    "descriptor": (str,),
    "descriptor_width": (int,),
    "head": (dict, type(None)),
    "decoder": (dict, type(None)),
    "digests": (dict,),
    "training": (dict,),
}
"""What JSON must hold beside the header."""


def _unsound(values: Mapping[str, Any]) -> list[str]:
    unsound = [name for name, kinds in _KINDS.items() if not is_of(values, name, kinds)]
    if "descriptor" not in unsound and values["descriptor"] not in ("pooled", "head"):
        unsound.append("descriptor")
    return unsound


def _origin(values: Mapping[str, Any], header: Header) -> Origin:
    return Origin(
        values["encoder_id"],
        values["method"],
        values["input_px"],
        values["mpp"],
        header.settings,
        header.parents,
        values["training"],
    )


def _shape(values: Mapping[str, Any]) -> NetworkShape:
    decoder = values["decoder"]
    return NetworkShape(
        EncoderPlan.from_json(values, values["input_px"]),
        values["descriptor"],
        values["descriptor_width"],
        HeadSettings(**values["head"]) if values["head"] is not None else None,
        DecoderSettings.from_json(decoder) if decoder is not None else None,
    )

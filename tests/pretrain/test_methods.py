"""Methods by name, their settings from text, and defaults that the sources state."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest

from tests.training.toys import ToyEncoder
from wsi_tower.errors import SettingsError
from wsi_tower.pretrain import (
    METHODS,
    Method,
    PresetName,
    SimilaritySettings,
    TowerSettings,
    method_named,
    settings_from,
)
from wsi_tower.pretrain.values import settings_of
from wsi_tower.training import TrainSettings

if TYPE_CHECKING:
    from wsi_tower.pretrain import Method


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_every_method_can_be_built_from_its_defaults(method: Method) -> None:
    assert method_named(method.name) is method
    objective = method.objective(settings_from(method, {}))
    network = objective.network(ToyEncoder())
    assert network.descriptor == method.descriptor
    assert set(method.recipes) == set(get_args(PresetName))
    for preset, recipe in method.recipes.items():
        settings_from(method, {}, preset)
        TrainSettings(steps=1, **recipe.optimiser_values())
        assert method.augmentation_for(preset).crop_px == recipe.crop_px


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_every_setting_can_be_given_as_text(method: Method) -> None:
    defaults = method.settings()
    texts = {name: str(value) for name, value in asdict(defaults).items()}
    assert settings_from(method, texts) == defaults


def test_presets_are_those_of_the_design() -> None:
    for method in METHODS.values():
        paper, small = method.recipes["paper"], method.recipes["small"]
        backbone = "vit_small_patch16_224" if method.name == "dino" else "resnet50"
        assert (paper.backbone, paper.crop_px) == (backbone, 224)
        assert (small.backbone, small.crop_px, small.batch_size) == ("resnet18", 96, 64)


def test_augmentation_is_that_of_the_sources() -> None:
    similarity = METHODS["similarity"].augmentation
    assert (similarity.flips, similarity.quarter_turns, similarity.rotate_deg) == (True, False, 20)
    assert (similarity.brightness, similarity.saturation, similarity.hue) == (0.075,) * 3
    assert similarity.contrast == 0
    simclr = METHODS["simclr"].augmentation
    assert (simclr.scale, simclr.jitter_chance) == ((0.2, 1.0), 0.8)
    # Half of Stacke's: .8 and .2 of d.
    assert (simclr.brightness, simclr.contrast, simclr.saturation, simclr.hue) == (
        *(0.8 * 0.5,) * 3,
        0.2 * 0.5,
    )
    # Methods that compare views of a tile differ by what they compare alone.
    assert METHODS["byol"].augmentation == METHODS["moco"].augmentation == simclr
    # Restoring is to be learnt from the corruption alone.
    tower = METHODS["tower"].augmentation
    assert (tower.brightness, tower.contrast, tower.saturation, tower.hue, tower.stain) == (0,) * 5


@pytest.mark.parametrize("preset", ["paper", "small"])
def test_dino_s_views_show_the_published_parts_of_a_tile(preset: PresetName) -> None:
    dino = METHODS["dino"]
    plan = dino.objective(settings_from(dino, {}, preset)).views()
    augmentation = dino.augmentation_for(preset)
    assert augmentation.scale == (0.4, 1.0)
    # Of small views, in large ones' pixels: 0.05 to 0.4 of the picture.
    parts = [part * plan.local_px**2 / augmentation.crop_px**2 for part in augmentation.local_scale]
    assert parts == pytest.approx([0.05, 0.4])


def test_a_preset_s_settings_give_way_to_what_is_asked() -> None:
    dino = method_named("dino")
    assert settings_from(dino, {}).prototypes == 65_536
    assert settings_from(dino, {}, "paper").prototypes == 65_536
    assert settings_from(dino, {}, "small").prototypes == 4096
    asked = settings_from(dino, {"prototypes": "512"}, "small")
    assert (asked.prototypes, asked.local_px) == (512, 48)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("towr", "did you mean tower?"),
        ("SimCLR", "did you mean simclr?"),
        ("similarty", "did you mean similarity?"),
        ("xyz", f"choose one of {', '.join(sorted(METHODS))}"),
    ],
)
def test_an_unknown_method_is_told_its_nearest(name: str, advice: str) -> None:
    with pytest.raises(SettingsError) as caught:
        method_named(name)
    assert str(caught.value) == f"there is no method {name!r}; {advice}"


def test_settings_come_from_text_and_from_values_alike() -> None:
    tower = method_named("tower")
    expected = TowerSettings(mask_fraction=0.25, mask="rays", mask_rays=20, contrast_weight=0.0)
    text = {"mask_fraction": "0.25", "mask": "rays", "mask_rays": "20", "contrast_weight": "0"}
    values = {"mask_fraction": 0.25, "mask": "rays", "mask_rays": 20, "contrast_weight": 0}
    assert settings_from(tower, text) == settings_from(tower, values) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ({"margin": "none", "normalised": "None"}, SimilaritySettings()),
        ({"margin": None}, SimilaritySettings()),
        ({"margin": "1.5", "normalised": "no"}, SimilaritySettings(margin=1.5, normalised=False)),
        ({"normalised": True, "margin": 2}, SimilaritySettings(margin=2.0, normalised=True)),
    ],
)
def test_a_setting_may_be_none(text: dict[str, object], expected: SimilaritySettings) -> None:
    assert settings_from(method_named("similarity"), text) == expected


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        (
            "tower",
            {"mask_ratio": "0.3"},
            "method tower has no setting 'mask_ratio'; did you mean mask_fraction?",
        ),
        (
            "simclr",
            {"zzz": 1},
            "no setting 'zzz'; choose one of descriptor_length, hidden_length, temperature",
        ),
        (
            "tower",
            {"mask_cells": "many"},
            "method tower's setting mask_cells is 'many'; give a whole number",
        ),
        ("tower", {"mask_cells": 3.5}, "mask_cells is 3.5; give a whole number"),
        ("tower", {"mask_cells": True}, "mask_cells is True; give a whole number"),
        ("tower", {"temperature": "warm"}, "temperature is 'warm'; give a number"),
        ("tower", {"temperature": [0.1]}, "temperature is [0.1]; give a number"),
        ("tower", {"temperature": None}, "temperature is None; give a number"),
        ("tower", {"mask": "ray"}, "mask is 'ray'; give blocks or stripes or rays or none"),
        ("tower", {"mask": ["rays"]}, "mask is ['rays']; give blocks or stripes or rays or none"),
        ("byol", {"predictor": 1}, "predictor is 1; give true or false"),
        ("byol", {"momentun": 1}, "no setting 'momentun'; did you mean momentum?"),
        ("moco", {"temperature": "cold"}, "temperature is 'cold'; give a number, or none"),
        ("moco", {"momentum": "1.2"}, "momentum is 1.2; choose a number from 0 to 1"),
        ("dino", {"local_views": "8.5"}, "local_views is '8.5'; give a whole number"),
        ("similarity", {"normalised": 1}, "normalised is 1; give true or false, or none"),
        ("similarity", {"margin": "wide"}, "margin is 'wide'; give a number, or none"),
        # What the type allows, the settings themselves refuse.
        ("tower", {"temperature": "nan"}, "temperature is nan; choose a number above 0"),
        ("tower", {"mask_fraction": "33"}, "mask_fraction is 33; choose more than 0"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_is_expected(
    method: str, values: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from(method_named(method), values)
    assert message in str(caught.value)


@dataclass(frozen=True)
class _Every:
    truth: bool = False
    text: str = ""
    choice: Literal["a", "b"] | None = None


def test_truths_and_texts_are_read() -> None:
    for word in ("true", "Yes", "ON"):
        assert settings_of(_Every, {"truth": word}, "x").truth is True
    assert settings_of(_Every, {"truth": "off", "text": "off", "choice": "b"}, "x") == _Every(
        truth=False, text="off", choice="b"
    )
    with pytest.raises(SettingsError, match="truth is 'perhaps'; give true or false"):
        settings_of(_Every, {"truth": "perhaps"}, "x")
    with pytest.raises(SettingsError, match="text is 3; give a text"):
        settings_of(_Every, {"text": 3}, "x")
    with pytest.raises(SettingsError, match="choice is 'c'; give a or b, or none"):
        settings_of(_Every, {"choice": "c"}, "x")


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_settings_of_a_method_are_plain(method: Method) -> None:
    defaults: Any = method.settings()
    for field in fields(defaults):
        assert isinstance(getattr(defaults, field.name), (str, int, float, bool, type(None)))

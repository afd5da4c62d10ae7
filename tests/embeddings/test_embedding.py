"""From tile stores to caches: the same vectors by every way, and nothing silent."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.embeddings.conftest import saved_encoder, tiled_as
from wsi_tower.embeddings import (
    EmbedJob,
    EmbedSettings,
    EncoderChoice,
    ForwardSettings,
    Recipe,
    embed_slide,
    embedder_for,
    load_tile_encoder,
    open_cache,
    recipe_of,
)
from wsi_tower.errors import (
    CorruptStoreError,
    EncoderError,
    OtherSettingsError,
    SettingsError,
    SlideError,
    StoreBusyError,
)
from wsi_tower.models import load_encoder
from wsi_tower.stain import StainReference
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from wsi_tower.embeddings import EmbeddingCache

SLIDE = "phantom-01"
WORKSPACE = Workspace(Path("nowhere"))
CPU = ForwardSettings(device="cpu", batch_size=16, threads=2)


def job_for(workspace: Workspace, name: str = "tower", **more: Any) -> EmbedJob:
    """A job for the first slide; ``more`` are settings of `EmbedSettings` and of the recipe."""
    of_job = {key: more.pop(key) for key in ("overwrite", "cohort") if key in more}
    of_recipe = {key: more.pop(key) for key in ("forward", "reference", "folder") if key in more}
    settings = EmbedSettings(**more)
    choice = EncoderChoice(name=name)
    encoder = load_tile_encoder(choice, workspace, settings.descriptor)
    folder = of_recipe.pop("folder", encoder.folder(settings.stain))
    values: dict[str, Any] = {"forward": CPU} | of_recipe
    recipe = Recipe(workspace, choice, encoder.digest, folder, settings, **values)
    return EmbedJob(workspace.tile_store(SLIDE), recipe, **of_job)


def embedded(job: EmbedJob) -> EmbeddingCache:
    assert embed_slide(job).status == "done"
    return open_cache(job.recipe.workspace.embedding_cache(job.recipe.folder, job.slide_id))


# ------------------------------------------------------------------ the vectors


def test_rows_are_what_the_network_says_of_each_tile(study: Workspace) -> None:
    """One tile at a time through the loaded network: no batches, threads or buffers."""
    cache = embedded(job_for(study))
    network = load_encoder("tower", workspace=study).network
    with TileStore.open(study.tile_store(SLIDE)) as store, torch.inference_mode():
        assert len(cache) == len(store) > 50
        np.testing.assert_array_equal(cache.coords_l0, store.xy_l0)
        np.testing.assert_array_equal(cache.centre_um, store.centre_um)
        for row in (0, 15, 16, len(store) - 1):
            picture = torch.from_numpy(store.pixels[row]).permute(2, 0, 1)[None] / 255
            expected = network.describe(picture)[0].numpy()
            np.testing.assert_allclose(cache.features[row], expected, atol=1e-5)
    np.testing.assert_allclose(cache.slide_descriptor, cache.features.mean(axis=0), atol=1e-5)
    assert cache.header.parents["tiles"] == store.header.content_digest


@pytest.mark.parametrize("pixels", ["lossless", "none"])
def test_stores_of_other_pixels_give_the_same_vectors(
    slides: Path, tmp_path: Path, pixels: Any
) -> None:
    """Native tiles are the slide's own, lossless ones a copy, and none are read from it."""
    caches = []
    for mode in ("native", pixels):
        workspace = replace(WORKSPACE, root=tiled_as(slides, tmp_path / mode, mode, tile_px=256))
        caches.append(embedded(job_for(workspace)))
    np.testing.assert_allclose(caches[0].features, caches[1].features, atol=1e-5)


@pytest.mark.parametrize(
    "forward",
    [
        ForwardSettings(device="cpu", batch_size=1000, threads=1),
        ForwardSettings(device="cpu", batch_size=7, threads=5),
    ],
)
def test_batch_and_threads_change_nothing_that_counts(
    study: Workspace, forward: ForwardSettings
) -> None:
    first = embedded(job_for(study))
    again = embedded(job_for(study, forward=forward, overwrite=True))
    np.testing.assert_allclose(first.features, again.features, atol=1e-5)
    assert again.header.settings_digest == first.header.settings_digest


def test_compiled_networks_see_batches_of_one_size(
    study: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = set()

    def compiled(module: torch.nn.Module, **options: object) -> Any:
        module.register_forward_pre_hook(lambda _, given: sizes.add(tuple(given[0].shape)))
        return module

    plain = embedded(job_for(study))
    monkeypatch.setattr(torch, "compile", compiled)
    forward = replace(CPU, compile=True)
    again = embedded(job_for(study, forward=forward, overwrite=True))
    assert sizes == {(16, 3, 64, 64)}
    assert len(again) % 16
    np.testing.assert_allclose(plain.features, again.features, atol=1e-5)


def test_head_and_pooled_are_two_descriptors(study: Workspace) -> None:
    saved_encoder(study, "near-far", method="similarity", descriptor="head")
    usual = embedded(job_for(study, "near-far"))
    other = embedded(job_for(study, "near-far", descriptor="pooled"))
    assert (usual.descriptor, usual.features.shape[1], usual.encoder) == ("head", 8, "near-far")
    assert (other.descriptor, other.encoder) == ("pooled", "near-far-pooled")
    assert other.features.shape[1] > 8


def test_half_precision_is_near(study: Workspace) -> None:
    full = embedded(job_for(study))
    half = embedded(job_for(study, precision="bf16", dtype="float16", overwrite=True))
    assert half.features.dtype == np.float16
    scale = np.abs(full.features).max()
    np.testing.assert_allclose(half.features, full.features, atol=0.05 * scale)


def test_the_same_run_gives_the_same_digest(study: Workspace) -> None:
    digests = {embedded(job_for(study, overwrite=True)).content_digest for _ in range(2)}
    assert len(digests) == 1


def test_pictures_of_tiles_are_described_as_the_tiles(study: Workspace) -> None:
    job = job_for(study)
    cache = embedded(job)
    with TileStore.open(job.store) as store:
        found = embedder_for(job.recipe).of_pictures(store.pixels[[4, 2]], mpp=1.0)
    np.testing.assert_allclose(found, cache.features[[4, 2]], atol=1e-5)


def test_a_cache_says_how_to_describe_other_pictures_alike(study: Workspace) -> None:
    saved_encoder(study, "coarse", mpp=2.0, descriptor="head")
    cache = embedded(job_for(study, "coarse", resample=True))
    with TileStore.open(study.tile_store(SLIDE)) as store:
        embedder = embedder_for(recipe_of(cache, study, CPU))
        found = embedder.of_pictures(store.pixels[[9]], mpp=cache.slide.tile_mpp)
    np.testing.assert_allclose(found[0], cache.features[9], atol=1e-5)
    saved_encoder(study, "coarse", mpp=2.0, descriptor="head", seed=5)
    with pytest.raises(EncoderError, match="coarse is not the one"):
        embedder_for(recipe_of(cache, study, replace(CPU, batch_size=3)))


def test_a_stained_cache_says_so_too(study: Workspace) -> None:
    reference = StainReference.built_in("reinhard")
    cache = embedded(job_for(study, stain="reinhard", reference=reference))
    recipe = recipe_of(cache, study, CPU)
    assert (recipe.reference, recipe.settings.stain, recipe.folder) == (
        reference, "reinhard", "tower-reinhard",
    )  # fmt: skip


# ------------------------------------------------------------------ stain


def test_stain_brings_slides_to_the_reference(study: Workspace) -> None:
    reference = StainReference.built_in("reinhard")
    plain = embedded(job_for(study))
    stained = embedded(job_for(study, stain="reinhard", reference=reference))
    assert stained.encoder == "tower-reinhard"
    assert np.abs(plain.features - stained.features).max() > 1e-3
    assert stained.header.settings["stain_reference"] == reference.to_json()


def test_another_reference_is_another_setting(study: Workspace) -> None:
    reference = StainReference.built_in("macenko")
    embedded(job_for(study, stain="macenko", reference=reference))
    other = replace(reference, source="another")
    with pytest.raises(
        OtherSettingsError, match=r"stain_reference\.source is built in there and an"
    ):
        embed_slide(job_for(study, stain="macenko", reference=other))


# ------------------------------------------------------------------ size and resolution


def test_an_encoder_of_another_resolution_is_refused_or_tiles_resized(study: Workspace) -> None:
    saved_encoder(study, "coarse", mpp=2.0)
    with pytest.raises(EncoderError, match=r"trained at 2 µm/px .* have 1 so .* --mpp 2.*resample"):
        embed_slide(job_for(study, "coarse"))
    cache = embedded(job_for(study, "coarse", resample=True))
    assert cache.header.settings["input_px"] == 32
    assert not study.embeddings("nothing").exists()


def test_one_s_own_resolution_is_met_within_a_tenth(study: Workspace) -> None:
    saved_encoder(study, "near", mpp=1.08)
    assert embedded(job_for(study, "near")).header.settings["input_px"] == 64
    with pytest.raises(EncoderError, match="2 when resized to 32 px"):
        embed_slide(job_for(study, "near", input_px=32))


def test_transformers_of_others_get_the_size_they_were_made_for(
    study: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = study.root / "vit.pt"
    import timm

    model = timm.create_model("test_vit", num_classes=0)
    torch.save(model.state_dict(), weights)
    choice = EncoderChoice(name="test_vit", weights=weights)
    encoder = load_tile_encoder(choice, study)
    assert (encoder.mpp, encoder.wanted_px, encoder.method) == (None, 160, "pretrained")
    recipe = Recipe(study, choice, encoder.digest, "vit", EmbedSettings(), CPU)
    cache = embedded(EmbedJob(study.tile_store(SLIDE), recipe))
    assert cache.header.settings["input_px"] == 160
    assert cache.encoder_id == "test_vit"


# ------------------------------------------------------------------ encoders of a file

MODULE = """
import torch
from torch import nn

class Colours(nn.Module):
    mpp = {mpp}
    def forward(self, images):
        assert images.dtype == torch.float32 and 0 <= images.min() and images.max() <= 1
        return images.mean(dim=(2, 3))

def make():
    return Colours()

def no_module():
    return 3

class Maps(nn.Module):
    def forward(self, images):
        return images

def maps():
    return Maps()
"""


def file_job(workspace: Workspace, function: str = "make", source: str = MODULE) -> EmbedJob:
    path = workspace.root / "mine.py"
    path.write_text(source.format(mpp="None"))
    choice = EncoderChoice(file=f"{path}:{function}")
    encoder = load_tile_encoder(choice, workspace)
    recipe = Recipe(workspace, choice, encoder.digest, encoder.folder(), EmbedSettings(), CPU)
    return EmbedJob(workspace.tile_store(SLIDE), recipe)


def test_a_module_of_a_python_file_embeds(study: Workspace) -> None:
    job = file_job(study)
    cache = embedded(job)
    assert (cache.encoder, cache.features.shape[1]) == ("mine-make", 3)
    with pytest.raises(EncoderError, match="name it with --encoder-file"):
        recipe_of(cache, study)
    with TileStore.open(job.store) as store:
        expected = store.pixels[7].mean(axis=(0, 1)) / 255
    np.testing.assert_allclose(cache.features[7], expected, atol=1e-5)


def test_a_changed_source_is_another_encoder(study: Workspace) -> None:
    embedded(file_job(study))
    with pytest.raises(OtherSettingsError, match="encoder_source is"):
        embed_slide(file_job(study, source=MODULE + "# changed\n"))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("mine.py", "takes FILE.py:FUNCTION, not 'mine.py'"),
        ("gone.py:make", r"gone\.py cannot be read \(No such file"),
        ("mine.py:other", "has no function other; it must take no argument"),
        ("mine.py:no_module", r"no_module of .*mine\.py returned int; it must"),
        ("broken.py:make", r"broken\.py cannot be loaded: .*syntax"),
        ("lacking.py:make", r"lacking\.py cannot be loaded: No module named 'nowhere'"),
    ],
)
def test_what_a_file_must_offer_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, said: str
) -> None:
    (tmp_path / "mine.py").write_text(MODULE.format(mpp="None"))
    (tmp_path / "broken.py").write_text("def make(:\n")
    (tmp_path / "lacking.py").write_text("import nowhere\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EncoderError, match=said):
        load_tile_encoder(EncoderChoice(file=file), WORKSPACE)


def test_a_module_that_makes_maps_is_refused(study: Workspace) -> None:
    with pytest.raises(EncoderError, match=r"made \(16, 3, 64, 64\) of pictures \(16, 3, 64, 64\)"):
        embed_slide(file_job(study, "maps"))


# ------------------------------------------------------------------ resuming


def test_a_rerun_skips_and_the_file_stays(study: Workspace) -> None:
    cache = embedded(job_for(study))
    before = cache.path.stat().st_mtime_ns
    assert embed_slide(job_for(study)).status == "skipped"
    assert cache.path.stat().st_mtime_ns == before


def test_a_cohort_table_that_changed_is_taken_over(study: Workspace) -> None:
    cache = embedded(job_for(study, cohort={"patient": "p1"}))
    assert embed_slide(job_for(study, cohort={"patient": "p2"})).status == "skipped"
    again = open_cache(cache.path)
    assert again.slide.cohort == {"patient": "p2"}
    assert again.content_digest == cache.content_digest


def test_other_settings_are_refused_by_name_and_overwritten(study: Workspace) -> None:
    embedded(job_for(study))
    with pytest.raises(OtherSettingsError, match="dtype is float32 there and float16 now"):
        embed_slide(job_for(study, dtype="float16"))
    assert embedded(job_for(study, dtype="float16", overwrite=True)).features.dtype == np.float16


def test_another_training_of_the_encoder_is_refused(study: Workspace) -> None:
    embedded(job_for(study))
    saved_encoder(study, seed=1)
    with pytest.raises(OtherSettingsError, match=r"encoder is [0-9a-f]{32} there and"):
        embed_slide(job_for(study))


def test_training_during_the_run_is_seen(study: Workspace) -> None:
    job = job_for(study)
    saved_encoder(study, seed=1)
    with pytest.raises(EncoderError, match=r"embeddings/tower is made by: it was trained again"):
        embed_slide(job)


def test_a_damaged_cache_is_named_and_made_again(study: Workspace) -> None:
    cache = embedded(job_for(study))
    content = cache.path.read_bytes()
    cache.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptStoreError, match="cannot be used"):
        embed_slide(job_for(study))
    assert embedded(job_for(study, overwrite=True)).content_digest == cache.content_digest


def test_a_cache_that_another_process_writes_is_busy(study: Workspace) -> None:
    job = job_for(study)
    path = study.embedding_cache("tower", SLIDE)
    with study.owned(path, wait=False), pytest.raises(StoreBusyError, match="another process"):
        embed_slide(job, wait=False)


# ------------------------------------------------------------------ what goes wrong


def test_a_store_replaced_meanwhile_is_refused(
    study: Workspace, slides: Path, tmp_path: Path
) -> None:
    other = tiled_as(slides, tmp_path / "other", "jpeg", min_tissue=0.6)
    job = job_for(study)

    def replace_store(slide_id: str, done: int, total: int) -> None:
        if done == total:
            shutil.rmtree(job.store)
            shutil.copytree(other / "tiles" / job.store.name, job.store)

    with pytest.raises(CorruptStoreError, match="was replaced while its tiles were embedded"):
        embed_slide(job, progress=replace_store)
    assert not study.embedding_cache("tower", SLIDE).exists()


def test_a_slide_that_is_gone_is_named(slides: Path, tmp_path: Path) -> None:
    shutil.copytree(slides, tmp_path / "slides")
    workspace = replace(WORKSPACE, root=tiled_as(tmp_path / "slides", tmp_path / "w", "none"))
    (tmp_path / "slides" / f"{SLIDE}.svs").unlink()
    with pytest.raises(SettingsError, match=r"phantom-01\.svs of store .* put it back"):
        embed_slide(job_for(workspace))


def test_another_slide_in_its_place_is_refused(slides: Path, tmp_path: Path) -> None:
    shutil.copytree(slides, tmp_path / "slides")
    workspace = replace(WORKSPACE, root=tiled_as(tmp_path / "slides", tmp_path / "w", "none"))
    shutil.copy(tmp_path / "slides" / "phantom-02.svs", tmp_path / "slides" / f"{SLIDE}.svs")
    with pytest.raises((CorruptStoreError, SlideError), match="not the file that its tiles"):
        embed_slide(job_for(workspace))


def test_a_damaged_tile_is_named_and_nothing_is_written(study: Workspace) -> None:
    shard = study.tile_store(SLIDE) / "tiles" / "pixels" / "c.0.0.0.0"
    content = bytearray(shard.read_bytes())
    content[1000:9000] = b"\xff" * 8000
    shard.unlink()
    shard.write_bytes(content)
    with pytest.raises(CorruptStoreError, match=r"tile row \d+ is damaged"):
        embed_slide(job_for(study))
    assert not study.embedding_cache("tower", SLIDE).exists()


def test_features_that_are_no_numbers_name_the_tile(study: Workspace) -> None:
    source = MODULE.replace(
        "return images.mean(dim=(2, 3))",
        "vectors = images.mean(dim=(2, 3)); vectors[3] = float('nan'); return vectors",
    )
    with pytest.raises(
        EncoderError, match=r"mine-make gives no finite numbers for tile row 3; try"
    ):
        embed_slide(file_job(study, source=source))


def test_features_too_large_for_half_a_float_say_so(study: Workspace) -> None:
    job = file_job(study, source=MODULE.replace("dim=(2, 3))", "dim=(2, 3)) * 1e6"))
    job = replace(job, recipe=replace(job.recipe, settings=EmbedSettings(dtype="float16")))
    with pytest.raises(EncoderError, match=r"more than float16 holds .*--dtype float32"):
        embed_slide(job)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dtype": "float64"}, "dtype must be one of float32, float16, not 'float64'"),
        ({"stain": "vahadane"}, "stain must be one of none, reinhard, macenko"),
        ({"mosaic_tiles": 0}, "mosaic_tiles must be 1 or more, not 0"),
        ({"input_px": 32, "resample": True}, "both say how large tiles become"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        EmbedSettings(**values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"device": "gpu"}, "device must be auto, cpu, cuda or cuda:NUMBER, not 'gpu'"),
        ({"device": "cpu:1"}, "not 'cpu:1'"),
        ({"batch_size": 0}, "batch_size must be 1 or more, not 0"),
        ({"threads": -1}, "threads must be 0"),
    ],
)
def test_forward_settings_that_cannot_be_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        ForwardSettings(**values)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert ForwardSettings().devices() == (torch.device("cpu"),)
    with pytest.raises(SettingsError, match=r"cuda:3 was asked for, but torch sees no GPU"):
        ForwardSettings(device="cuda:3").devices()

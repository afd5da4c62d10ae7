"""From what the user names to the slides to work on."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from wsi_tower.errors import (
    DuplicateSlideError,
    InputError,
    NoSlidesError,
    SettingsError,
    SlideListError,
    SlideNotFoundError,
)
from wsi_tower.slides import SlideEntry, find_slides, open_slide
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
ANNOTATIONS = "1.2.840.10008.5.1.4.1.1.91.1"


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names(entries: list[SlideEntry]) -> list[str]:
    return [entry.name for entry in entries]


def ids(entries: list[SlideEntry]) -> list[str]:
    return [entry.slide_id for entry in entries]


# Folders


def test_folders_are_searched_below_in_a_stable_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.svs", "a/z.ndpi", "a/b/c.tif", "d.TIFF", "e.SVS", "f.scn", "g.bif", "h.czi")
    found = find_slides([str(tmp_path)])
    assert names(found) == [
        "c.tif",
        "z.ndpi",
        "b.svs",
        "d.TIFF",
        "e.SVS",
        "f.scn",
        "g.bif",
        "h.czi",
    ]
    assert ids(found) == ["c", "z", "b", "d", "e", "f", "g", "h"]


def test_other_files_and_hidden_ones_are_left_alone(tmp_path: Path) -> None:
    touch(
        tmp_path, "a.svs", ".hidden.svs", "._a.svs", ".cache/b.svs", "notes.txt", "a.xml", "c.png"
    )
    assert names(find_slides([str(tmp_path)])) == ["a.svs"]


def test_flat_images_are_found_when_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.jpg")
    with pytest.raises(NoSlidesError, match=r"holds no slide .*\.svs.* read when named or listed"):
        find_slides([str(tmp_path)])
    assert names(find_slides([str(tmp_path / "a.png"), str(tmp_path / "b.jpg")])) == [
        *("a.png", "b.jpg")
    ]


def test_a_mirax_slide_and_its_folder_are_one(tmp_path: Path) -> None:
    touch(tmp_path, "a.mrxs", "a/Slidedat.ini", "a/Data0000.dat", "a/inner.tif", "b/c.tif")
    assert names(find_slides([str(tmp_path)])) == ["a.mrxs", "c.tif"]


def test_zarr_is_listed_and_not_entered(tmp_path: Path) -> None:
    touch(tmp_path, "a.ome.zarr/0/c.tif", "a.ome.tif")
    found = find_slides([str(tmp_path)])
    assert names(found) == ["a.ome.tif", "a.ome.zarr"]
    assert ids(found) == ["a.ome", "a.ome.zarr"]


def test_a_workspace_inside_is_not_entered(tmp_path: Path) -> None:
    touch(tmp_path, "a.svs", "out/tiles/b.tif")
    Workspace(tmp_path / "out").prepared()
    assert names(find_slides([str(tmp_path)])) == ["a.svs"]


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.svs")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "in")
    assert ids(find_slides([str(tmp_path)])) == ["a"]


def test_a_broken_link_is_a_slide_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "gone.svs").symlink_to(tmp_path / "nowhere.svs")
    for given in (tmp_path, tmp_path / "gone.svs"):
        (entry,) = find_slides([str(given)])
        with pytest.raises(SlideNotFoundError, match=r"gone\.svs does not exist"):
            open_slide(entry.source)


def test_a_pipe_named_like_a_slide_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.dcm")
    os.mkfifo(tmp_path / "b.svs")
    assert ids(find_slides([str(tmp_path)])) == ["a", "b"]


def test_a_folder_below_that_may_not_be_read_becomes_a_row(tmp_path: Path) -> None:
    touch(tmp_path, "a.svs", "closed/b.svs")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    (tmp_path / "closed").chmod(0)
    code = (
        "import os\nfrom wsi_tower.slides import find_slides, open_slide\n"
        f"os.getuid() or os.setuid(65534)\nfound = find_slides([{str(tmp_path)!r}])\n"
        "print([entry.slide_id for entry in found])\nopen_slide(found[1].source)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    (tmp_path / "closed").chmod(0o755)
    if "setuid" in result.stderr:
        pytest.skip("no way to be a user without permission here")
    assert "['a', 'closed']" in result.stdout
    assert "closed may not be read by this user" in result.stderr


def test_what_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoSlidesError, match=r"nowhere\.svs does not exist"):
        find_slides([str(tmp_path / "nowhere.svs")])


# Ids


def test_an_id_is_the_name_without_its_last_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "TCGA-01.2.ABC.svs")
    assert ids(find_slides([str(tmp_path)])) == ["TCGA-01.2.ABC"]


def test_two_slides_of_one_id_are_named_both(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.svs", "y/a.tif")
    with pytest.raises(DuplicateSlideError, match=r"x/a\.svs.*y/a\.tif.* share the id 'a'"):
        find_slides([str(tmp_path)])


def test_a_slide_named_twice_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.svs")
    (tmp_path / "link.svs").symlink_to(tmp_path / "a.svs")
    given = [str(tmp_path), str(tmp_path / "a.svs"), f"{tmp_path}/./a.svs"]
    assert len(find_slides(given)) == 1


def test_a_list_wins_over_a_bare_name_in_any_order(tmp_path: Path) -> None:
    touch(tmp_path, "a.svs")
    (tmp_path / "list.csv").write_text("wsi,mpp\na.svs,0.25\n")
    for given in ([tmp_path, tmp_path / "list.csv"], [tmp_path / "list.csv", tmp_path]):
        (entry,) = find_slides([str(path) for path in given])
        assert entry.mpp_um == 0.25


def test_lists_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("wsi,mpp\na.svs,0.25\na.svs,0.5\n")
    with pytest.raises(DuplicateSlideError, match=r"a\.svs is named twice, with different values"):
        find_slides([str(tmp_path / "list.csv")])


@pytest.mark.parametrize(
    ("url", "slide_id", "name"),
    [
        ("https://example.org/x/a.b.svs", "a.b", "a.b.svs"),
        ("https://example.org/a.svs?token=s/e.cret", "a", "a.svs"),
        ("s3://bucket/folder/a.tif", "a", "a.tif"),
        ("https://example.org/a.ome.zarr/", "a.ome.zarr", "a.ome.zarr"),
    ],
)
def test_urls_are_named_by_their_path_alone(url: str, slide_id: str, name: str) -> None:
    (entry,) = find_slides([url])
    assert (entry.slide_id, entry.name, entry.source) == (slide_id, name, url)


# DICOM


def write_dicom(
    path: Path, series: str, kind: str = WHOLE_SLIDE, image: tuple[str, ...] = ("VOLUME",)
) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(kind)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = kind
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID = series
    dataset.ImageType = ["ORIGINAL", "PRIMARY", *image, "NONE"]
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path)
    return path


def test_a_series_is_one_slide_called_like_its_folder(tmp_path: Path) -> None:
    series = generate_uid()
    write_dicom(tmp_path / "case7" / "1.dcm", series, image=("LABEL",))
    write_dicom(tmp_path / "case7" / "2.dcm", series)
    write_dicom(tmp_path / "case7" / "3.dcm", series)
    write_dicom(tmp_path / "case7" / "4.dcm", generate_uid(), ANNOTATIONS)
    (entry,) = find_slides([str(tmp_path)])
    # The label image is no level, so it is not the file to open.
    assert (entry.slide_id, entry.name) == ("case7", "2.dcm")


def test_series_that_share_a_folder_are_told_apart(tmp_path: Path) -> None:
    series = [generate_uid(), generate_uid()]
    for number in range(4):
        write_dicom(tmp_path / f"{number}.dcm", series[number % 2])
    assert sorted(ids(find_slides([str(tmp_path)]))) == sorted(series)


def test_a_single_file_is_called_by_its_name(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", generate_uid())
    write_dicom(tmp_path / "b.dcm", generate_uid())
    assert ids(find_slides([str(tmp_path)])) == ["a", "b"]


def test_files_of_one_series_that_are_named_one_by_one_count_once(tmp_path: Path) -> None:
    series = generate_uid()
    given = [str(write_dicom(tmp_path / f"{number}.dcm", series)) for number in range(3)]
    assert ids(find_slides(given)) == ["0"]


def test_damaged_dicom_is_kept_to_be_reported(tmp_path: Path) -> None:
    good = write_dicom(tmp_path / "good.dcm", generate_uid()).read_bytes()
    (tmp_path / "text.dcm").write_text("no DICOM\n" * 50)
    (tmp_path / "empty.dcm").touch()
    for length in range(130, len(good), 23):
        (tmp_path / f"cut{length}.dcm").write_bytes(good[:length])
    found = ids(find_slides([str(tmp_path)]))
    assert {"good", "text", "empty"} <= set(found)


@pytest.mark.real
def test_a_real_series_split_into_files_opens_as_one(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "slides" / "dicom" / "highdicom_sm_image_50x50.dcm"
    dataset = pydicom.dcmread(source)
    dataset.save_as(tmp_path / "b_level.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.ImageType = ["DERIVED", "PRIMARY", "LABEL", "NONE"]
    dataset.save_as(tmp_path / "a_label.dcm")
    (entry,) = find_slides([str(tmp_path)])
    assert entry.name == "b_level.dcm"
    with open_slide(entry.source) as slide:
        assert (slide.info.size.width, slide.info.size.height) == (50, 50)


@pytest.mark.real
def test_real_dicom_annotations_are_ignored(shared_data: Path) -> None:
    found = find_slides([str(shared_data / "slides" / "dicom")])
    assert ids(found) == [
        *("camelyon16_lowres_jpeg", "camelyon16_lowres_jpeg2000", "highdicom_sm_image_50x50")
    ]


# Slide lists


def listed(tmp_path: Path, text: str | bytes) -> list[SlideEntry]:
    path = tmp_path / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return find_slides([str(path)])


def test_a_list_of_wsi_and_mpp(tmp_path: Path) -> None:
    first, second = listed(tmp_path, "wsi,mpp\nsub/a.svs,0.25\n/abs/b.tif,\n")
    assert first == SlideEntry("a", str(tmp_path / "sub" / "a.svs"), 0.25)
    assert second == SlideEntry("b", "/abs/b.tif")


def test_a_list_of_samples_with_masks(tmp_path: Path) -> None:
    text = (
        "sample_id,image_path,mask_path,spacing_at_level_0,target_mpp,patient,site\n"
        "s1,a.svs,masks/a.png,0.25,0.5,P1, Bern \n"
    )
    (entry,) = listed(tmp_path, text)
    assert entry == SlideEntry(
        slide_id="s1",
        source=str(tmp_path / "a.svs"),
        mpp_um=0.25,
        target_mpp=0.5,
        tissue_mask=str(tmp_path / "masks" / "a.png"),
        columns={"patient": "P1", "site": "Bern"},
    )


def test_a_list_as_a_spreadsheet_saves_it(tmp_path: Path) -> None:
    text = "\ufeffwsi , mpp ,label,\r\n a.svs , 0.25 ,tumour,\r\n".encode()
    (entry,) = listed(tmp_path, text)
    assert entry == SlideEntry("a", str(tmp_path / "a.svs"), 0.25, columns={"label": "tumour"})


def test_slide_id_is_an_id_and_no_free_column(tmp_path: Path) -> None:
    (entry,) = listed(tmp_path, "slide_id,wsi\ns1,a.svs\n")
    assert (entry.slide_id, entry.columns) == ("s1", {})


def test_urls_and_home_in_a_list(tmp_path: Path) -> None:
    entries = listed(tmp_path, "wsi\nhttps://example.org/a.svs\n~/b.svs\n~nobody-here.svs\n")
    assert entries[0].source == "https://example.org/a.svs"
    assert entries[1].source == os.path.expanduser("~/b.svs")  # noqa: PTH111
    assert entries[2].source == str(tmp_path / "~nobody-here.svs")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,mpp\na.svs,1\n", "no column wsi or image_path (it has: file, mpp)"),
        ("wsi;mpp\na.svs;1\n", "separated by commas"),
        ("", "no column wsi"),
        ("wsi\n", "names no slide"),
        ("wsi,mpp\na.svs,0.25\nb.svs,fine\n", "line 3: mpp or spacing_at_level_0 is 'fine'"),
        ("wsi,mpp\n\n\nb.svs,fine\n", "line 4"),
        ('wsi,mpp\na.svs,"0,25"\n', "with a decimal point"),
        ("wsi,target_mpp\na.svs,-1\n", "line 2: target_mpp is '-1'"),
        ("wsi,target_mpp\na.svs,nan\n", "line 2: target_mpp is 'nan'"),
        ("wsi,mpp\na.svs,0.25,surplus\n", "line 2: more values than columns"),
        ("wsi,mpp\n,0.25\n", "line 2: no slide is named"),
        ("sample_id,wsi\n../a,a.svs\n", "line 2: the id '../a' cannot name a file"),
        (b"wsi\n\xff\xfe.svs\n", "no UTF-8 CSV file"),
        ('wsi\n"a.svs\n', "no UTF-8 CSV file"),
    ],
)
def test_lists_that_cannot_be_understood(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(SlideListError) as caught:
        listed(tmp_path, text)
    assert message in str(caught.value)
    assert "list.csv" in str(caught.value)


def test_a_folder_called_csv_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "slides.csv/a.svs")
    assert ids(find_slides([str(tmp_path / "slides.csv")])) == ["a"]


# --mpp-of and --tissue-mask


def test_mpp_of_takes_names_and_ids_and_wins_over_lists(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("wsi,mpp\na.svs,0.25\nb.svs,0.25\nc.svs,0.25\n")
    found = find_slides([str(tmp_path / "list.csv")], mpp_of={"a.svs": 0.5, "b": 1.0})
    assert [entry.mpp_um for entry in found] == [0.5, 1.0, 0.25]


def test_mpp_of_an_unknown_slide_suggests_the_nearest(tmp_path: Path) -> None:
    touch(tmp_path, "biopsy_12.svs", "other.svs")
    with pytest.raises(SettingsError, match=r"biopsy_21\.svs, .* did you mean biopsy_12\.svs\?"):
        find_slides([str(tmp_path)], mpp_of={"biopsy_21.svs": 0.5})
    with pytest.raises(SettingsError, match="there are 2 slides"):
        find_slides([str(tmp_path)], mpp_of={"###": 0.5})


def test_a_mask_for_the_one_slide(tmp_path: Path) -> None:
    touch(tmp_path, "a.svs", "outline.geojson")
    mask = str(tmp_path / "outline.geojson")
    (entry,) = find_slides([str(tmp_path / "a.svs")], tissue_mask=mask)
    assert entry.tissue_mask == mask


def test_one_mask_for_several_slides_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.svs", "b.svs", "outline.geojson")
    with pytest.raises(SettingsError, match="one file for 2 slides"):
        find_slides([str(tmp_path)], tissue_mask=str(tmp_path / "outline.geojson"))


def test_a_mask_that_is_not_there_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.svs", "b.svs")
    with pytest.raises(SettingsError, match=r"nowhere does not exist"):
        find_slides([str(tmp_path)], tissue_mask=str(tmp_path / "nowhere"))


def test_a_folder_of_masks_goes_by_slide_id_and_lists_win(tmp_path: Path) -> None:
    masks = touch(tmp_path / "masks", "a.png", "a.geojson", "b.png", "c.png")
    (tmp_path / "list.csv").write_text("wsi,mask_path\na.svs,\nb.svs,\nc.svs,own.png\nd.svs,\n")
    found = find_slides([str(tmp_path / "list.csv")], tissue_mask=str(masks))
    assert [entry.tissue_mask for entry in found] == [
        str(masks / "a.geojson"),
        str(masks / "b.png"),
        str(tmp_path / "own.png"),
        # A path that does not exist, so that this slide alone fails by name.
        str(masks / "d.geojson"),
    ]


def test_a_folder_that_may_not_be_read_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="may not be read by this user"):
        find_slides([str(tmp_path)])


def test_absolute_entries_keep_the_name_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "4f2a.bin").touch()
    (tmp_path / "a.svs").symlink_to(tmp_path / "store" / "4f2a.bin")
    entry = SlideEntry("a", f"{tmp_path}/store/../a.svs", tissue_mask=f"{tmp_path}/store/../m.png")
    assert entry.absolute().source == str(tmp_path.resolve() / "a.svs")
    assert entry.absolute().tissue_mask == str(tmp_path.resolve() / "m.png")
    assert SlideEntry("b", "https://host/b.svs").absolute().source == "https://host/b.svs"

"""Annotation files of every program, told apart by content and read into level-0 pixels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely

from wsi_tower.annotations import read_annotations, read_slide_polygons
from wsi_tower.errors import AnnotationError
from wsi_tower.geometry import Level0Box

if TYPE_CHECKING:
    from pathlib import Path

SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]
INNER = [(2, 2), (4, 2), (4, 4), (2, 4)]
BOUNDS = Level0Box(100, 200, 1000, 1000)


def written(folder: Path, text: str | bytes, name: str = "a.xml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def asap(*annotations: str) -> str:
    """As ASAP 1.9 writes it, groups at the end."""
    return (
        '<?xml version="1.0"?>\n<ASAP_Annotations>\n<Annotations>'
        + "".join(annotations)
        + '</Annotations><AnnotationGroups><Group Name="_0" PartOfGroup="None" Color="#ff0000">'
        "<Attributes /></Group></AnnotationGroups></ASAP_Annotations>"
    )


def asap_annotation(
    points: list[tuple[Any, Any]], group: str = "_0", kind: str = "Polygon", name: str = "A 0"
) -> str:
    corners = "".join(
        f'<Coordinate Order="{order}" X="{x}" Y="{y}" />' for order, (x, y) in enumerate(points)
    )
    return (
        f'<Annotation Name="{name}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58">'
        f"<Coordinates>{corners}</Coordinates></Annotation>"
    )


def imagescope(*layers: str, mpp: str = "0.252100") -> str:
    return f'<Annotations MicronsPerPixel="{mpp}">{"".join(layers)}</Annotations>'


def layer(*regions: str, name: str = "") -> str:
    return (
        f'<Annotation Id="1" Name="{name}" ReadOnly="0" Type="4" LineColor="65280" Visible="1">'
        f"<Attributes /><Regions><RegionAttributeHeaders />{''.join(regions)}</Regions>"
        "<Plots /></Annotation>"
    )


def region(
    points: list[tuple[Any, Any]], *, kind: int = 0, negative: int = 0, text: str = ""
) -> str:
    corners = "".join(f'<Vertex X="{x}" Y="{y}" Z="0" />' for x, y in points)
    return (
        f'<Region Id="1" Type="{kind}" Zoom="0.05" Text="{text}" NegativeROA="{negative}" '
        f'Analyze="1"><Attributes /><Vertices>{corners}</Vertices></Region>'
    )


class TestAsap:
    def test_groups_are_classes_and_none_is_none(self, tmp_path: Path) -> None:
        text = asap(asap_annotation(SQUARE), asap_annotation(INNER, "None"))
        found = read_annotations(written(tmp_path, text))
        assert (found.format, found.classes, found.mpp) == ("asap", ("_0", None), None)
        assert [area.area.area for area in found.areas] == [100, 4]

    def test_a_decimal_comma_is_a_decimal_point(self, tmp_path: Path) -> None:
        comma = [("0,5", "0,5"), ("2,5", "0,5"), ("2,5", "1.5"), ("0.5", "1.5")]
        ((_, area),) = read_annotations(written(tmp_path, asap(asap_annotation(comma)))).areas
        assert area.bounds == (0.5, 0.5, 2.5, 1.5)

    def test_corners_are_joined_in_their_order_not_the_files(self, tmp_path: Path) -> None:
        text = asap(asap_annotation(SQUARE))
        swapped = text.replace('Order="1"', 'Order="x"').replace('Order="2"', 'Order="1"')
        swapped = swapped.replace('Order="x"', 'Order="2"')
        ((_, area),) = read_annotations(written(tmp_path, swapped)).areas
        assert area.area == 50  # the bow tie (0,0) (10,10) (10,0) (0,10)

    def test_only_what_encloses_something_is_an_area(self, tmp_path: Path) -> None:
        text = asap(
            asap_annotation([(1, 1)], kind="Dot"),
            asap_annotation(SQUARE, kind="PointSet"),
            asap_annotation(SQUARE[:2], kind="Measurement"),
            asap_annotation(SQUARE[:2]),
            asap_annotation([]),
            asap_annotation(SQUARE, kind="Spline"),
            asap_annotation([(10, 0), (0, 5)], kind="Rectangle"),
        )
        assert [area.area.area for area in read_annotations(written(tmp_path, text)).areas] == [
            100,
            50,
        ]

    @pytest.mark.parametrize("text", ["", "x", "1,2,3", "nan", "inf"])
    def test_a_coordinate_that_is_none_is_named(self, tmp_path: Path, text: str) -> None:
        broken = asap_annotation([*SQUARE, (text, 0)], name="left node")
        path = written(tmp_path, asap(asap_annotation(SQUARE), broken))
        with pytest.raises(AnnotationError, match=r"a\.xml, annotation 1 \('left node'\)"):
            read_annotations(path)

    @pytest.mark.real
    def test_the_real_file_with_commas(self, shared_data: Path) -> None:
        found = read_annotations(shared_data / "slides" / "asap" / "example.xml")
        assert (found.format, found.classes) == ("asap", (None,))
        ((_, area),) = found.areas
        assert area.is_valid
        # Its first corner stands as X="543,020264" Y="335,044464" in the file.
        assert area.boundary.distance(shapely.Point(543.020264, 335.044464)) < 1e-6
        assert area.bounds[2] < 2000


class TestImageScope:
    def test_negative_regions_are_cut_out_of_their_own_layer(self, tmp_path: Path) -> None:
        text = imagescope(
            layer(region(SQUARE), region(INNER, negative=1), name="Tumor"),
            layer(region(SQUARE), name="Stroma"),
        )
        found = read_annotations(written(tmp_path, text))
        assert (found.format, found.mpp) == ("imagescope", 0.2521)
        assert [(name, area.area) for name, area in found.areas] == [("Tumor", 96), ("Stroma", 100)]

    def test_a_region_names_itself_where_its_layer_has_no_name(self, tmp_path: Path) -> None:
        text = imagescope(layer(region(SQUARE, text="tumour"), region(INNER)), mpp="")
        found = read_annotations(written(tmp_path, text))
        assert found.classes == ("tumour", None)
        assert found.mpp is None

    def test_rectangles_and_ellipses_may_be_given_by_two_corners(self, tmp_path: Path) -> None:
        two = [(10, 20), (0, 0)]
        text = imagescope(
            layer(region(two, kind=1), region(two, kind=2), region(SQUARE, kind=1)),
            layer(region(two, kind=3), region(two, kind=4), region(two)),
        )
        areas = [area.area for _, area in read_annotations(written(tmp_path, text)).areas]
        assert areas == [200, pytest.approx(np.pi * 5 * 10, rel=1e-3), 100]

    def test_a_broken_vertex_is_named(self, tmp_path: Path) -> None:
        text = imagescope(layer(region(SQUARE), region([(0, 0), ("?", 1)]), name="Tumor"))
        with pytest.raises(AnnotationError, match=r"layer 0 \('Tumor'\), region 1: X is '\?'"):
            read_annotations(written(tmp_path, text))
        with pytest.raises(AnnotationError, match=r"its root: MicronsPerPixel is 'fine'"):
            read_annotations(written(tmp_path, imagescope(mpp="fine")))


class TestJson:
    def test_camelyons_lists_are_classes(self, tmp_path: Path) -> None:
        content = {
            "positive": [{"name": "_0", "vertices": SQUARE}],
            "negative": [{"name": "_1", "vertices": INNER}],
        }
        found = read_annotations(written(tmp_path, json.dumps(content), "a.json"))
        assert found.format == "camelyon-json"
        assert [(name, area.area) for name, area in found.areas] == [
            ("positive", 100),
            ("negative", 4),
        ]
        only = read_annotations(written(tmp_path, '{"positive": []}'))
        assert only.areas == ()

    @pytest.mark.parametrize(
        "outline", [{}, 3, {"vertices": 3}, {"vertices": [[1]]}, {"vertices": [["a", 1]] * 3}]
    )
    def test_broken_vertices_are_named(self, tmp_path: Path, outline: Any) -> None:
        content = {"positive": [{"vertices": SQUARE}, outline]}
        with pytest.raises(AnnotationError, match=r"a\.json, positive outline 1"):
            read_annotations(written(tmp_path, json.dumps(content), "a.json"))

    def test_geojson_counts_from_the_bounds_and_nothing_else_does(self, tmp_path: Path) -> None:
        corners = [*SQUARE, SQUARE[0]]
        geo = {"type": "Polygon", "coordinates": [corners, [*INNER, INNER[0]]]}
        found = read_annotations(written(tmp_path, json.dumps(geo)), BOUNDS)
        ((_, area),) = found.areas
        assert (found.format, found.classes, area.area) == ("geojson", (None,), 96)
        assert area.envelope.equals(shapely.box(100, 200, 110, 210))
        ((_, area),) = read_annotations(
            written(tmp_path, asap(asap_annotation(SQUARE))), BOUNDS
        ).areas
        assert area.bounds == (0, 0, 10, 10)

    @pytest.mark.real
    def test_forty_real_slides_are_valid_and_mended_by_little(self, shared_data: Path) -> None:
        path = shared_data / "annotations" / "camelyon16_tumor_polygons_40_slides.geojson"
        found = read_annotations(path)
        assert (found.classes, len(found.areas)) == (("tumor", "exclusion"), 892)
        assert all(area.area.is_valid for area in found.areas)
        by_slide = read_slide_polygons(path)
        assert len(by_slide) == 37
        # Mended or not, an outline keeps the area that its corners go around.
        drawn = sum(
            abs(shapely.area(shapely.Polygon(one["geometry"]["coordinates"][0])))
            for one in json.loads(path.read_text())["features"]
        )
        assert sum(area.area.area for area in found.areas) == pytest.approx(drawn, rel=1e-3)


class TestAnyFile:
    def test_an_outline_gone_around_twice_has_no_hole(self, tmp_path: Path) -> None:
        angles = 2 * np.pi * 2 * np.arange(5) / 5
        star = [(10 * np.sin(angle), 10 * np.cos(angle)) for angle in angles]
        ((_, area),) = read_annotations(written(tmp_path, asap(asap_annotation(star)))).areas
        assert area.covers(shapely.Point(0, 0))
        assert len(shapely.get_parts(area)) == 1

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_encodings_that_editors_write(self, tmp_path: Path, encoding: str) -> None:
        text = asap(asap_annotation(SQUARE, "Tumör"))
        assert read_annotations(written(tmp_path, text.encode(encoding))).classes == ("Tumör",)

    def test_names_say_nothing(self, tmp_path: Path) -> None:
        path = written(tmp_path, asap(asap_annotation(SQUARE)), "a.json")
        assert read_annotations(path).format == "asap"

    def test_a_document_type_is_refused_before_it_expands(self, tmp_path: Path) -> None:
        laughs = "".join(
            f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "ha">'
            for n in range(10)
        )
        bomb = f"<!DOCTYPE x [{laughs}]><ASAP_Annotations>&l9;</ASAP_Annotations>"
        thief = (
            '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/hostname">]>'
            "<ASAP_Annotations>&f;</ASAP_Annotations>"
        )
        for text in (bomb, thief):
            with pytest.raises(AnnotationError, match=r"a\.xml declares a document type"):
                read_annotations(written(tmp_path, text))

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "neither XML nor JSON"),
            ("hello", "neither XML nor JSON"),
            (b"\x89PNG\r\n\x00\xff", "neither XML nor JSON"),
            ("<ASAP_Annotations><Annotations>", "no whole XML document"),
            ("<html></html>", "neither ASAP nor ImageScope .its root is <html>"),
            ('{"negatives": []}', "no GeoJSON type"),
        ],
    )
    def test_what_is_none_of_them_is_refused(
        self, tmp_path: Path, text: str | bytes, said: str
    ) -> None:
        with pytest.raises(AnnotationError, match=said) as caught:
            read_annotations(written(tmp_path, text, "odd.xml"))
        assert "odd.xml" in str(caught.value)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(AnnotationError, match=r"none\.xml cannot be read .No such file"):
            read_annotations(tmp_path / "none.xml")

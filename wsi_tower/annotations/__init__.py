"""Outlines drawn on slides: annotation files, polygons in level-0 pixels, tiles they cover."""

from wsi_tower.annotations.folder import AnnotationFiles, find_annotations
from wsi_tower.annotations.geojson import (
    annotation_feature,
    geojson_text,
    read_geojson_polygons,
    read_slide_polygons,
    write_geojson,
)
from wsi_tower.annotations.outlines import Area, NamedArea
from wsi_tower.annotations.overlap import covered_fractions
from wsi_tower.annotations.reading import AnnotationFormat, Annotations, read_annotations
from wsi_tower.annotations.tumour import TumourClasses, check_on_slide, tumour_area

__all__ = [
    "AnnotationFiles",
    "AnnotationFormat",
    "Annotations",
    "Area",
    "NamedArea",
    "TumourClasses",
    "annotation_feature",
    "check_on_slide",
    "covered_fractions",
    "find_annotations",
    "geojson_text",
    "read_annotations",
    "read_geojson_polygons",
    "read_slide_polygons",
    "tumour_area",
    "write_geojson",
]

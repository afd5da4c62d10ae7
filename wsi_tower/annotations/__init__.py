"""Outlines drawn on slides: annotation files and polygons in level-0 pixels."""

from wsi_tower.annotations.geojson import (
    Area,
    NamedArea,
    annotation_feature,
    geojson_text,
    read_geojson_polygons,
    read_slide_polygons,
    write_geojson,
)

__all__ = [
    "Area",
    "NamedArea",
    "annotation_feature",
    "geojson_text",
    "read_geojson_polygons",
    "read_slide_polygons",
    "write_geojson",
]

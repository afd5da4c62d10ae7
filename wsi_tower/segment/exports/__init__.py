"""What other programs read of a segmentation: outlines, tables, pictures."""

from wsi_tower.segment.exports.dsa import DsaWriter
from wsi_tower.segment.exports.found import FoundObject, class_colour
from wsi_tower.segment.exports.geojson import GeoJsonWriter
from wsi_tower.segment.exports.outlining import BandOutliner
from wsi_tower.segment.exports.table import OBJECT_COLUMNS, write_objects_csv
from wsi_tower.segment.exports.tiff import write_ome_tiff

__all__ = [
    "OBJECT_COLUMNS",
    "BandOutliner",
    "DsaWriter",
    "FoundObject",
    "GeoJsonWriter",
    "class_colour",
    "write_objects_csv",
    "write_ome_tiff",
]

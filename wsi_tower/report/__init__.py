"""What a run leaves for people: a picture per slide, one HTML page, a CSV and a JSON record."""

from wsi_tower.report.comparison_picture import ComparedRun, comparison_picture
from wsi_tower.report.embedding_picture import embedding_picture
from wsi_tower.report.folder import write_report
from wsi_tower.report.label_curve_picture import label_curve_picture
from wsi_tower.report.pairs_picture import PairsOfSlide, pairs_picture
from wsi_tower.report.picture import tiling_picture, write_picture
from wsi_tower.report.pipeline_page import StageShown, write_pipeline_page
from wsi_tower.report.query_picture import QueryPanel, query_picture
from wsi_tower.report.record import RunRecord
from wsi_tower.report.scatter_picture import EmbeddedTiles, scatter_picture
from wsi_tower.report.segmentation_picture import segmentation_picture
from wsi_tower.report.similarity_picture import similarity_colours, similarity_picture
from wsi_tower.report.tile_map import PaintedTiles, TileScale, tile_map, tile_shades
from wsi_tower.report.training_picture import restoration_picture, training_picture
from wsi_tower.report.wording import duration, flattened, number, plainly

__all__ = [
    "ComparedRun",
    "EmbeddedTiles",
    "PaintedTiles",
    "PairsOfSlide",
    "QueryPanel",
    "RunRecord",
    "StageShown",
    "TileScale",
    "comparison_picture",
    "duration",
    "embedding_picture",
    "flattened",
    "label_curve_picture",
    "number",
    "pairs_picture",
    "plainly",
    "query_picture",
    "restoration_picture",
    "scatter_picture",
    "segmentation_picture",
    "similarity_colours",
    "similarity_picture",
    "tile_map",
    "tile_shades",
    "tiling_picture",
    "training_picture",
    "write_picture",
    "write_pipeline_page",
    "write_report",
]

"""``python -m wsi_tower`` is ``wsi-tower``."""

from wsi_tower.cli.main import main

main()

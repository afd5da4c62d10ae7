from tests.training.contract import ObjectiveContract
from wsi_tower.pretrain import Byol, ByolSettings, Moco, MocoSettings, Dino, DinoSettings


class TestByol(ObjectiveContract):
    def objective(self):
        return Byol(ByolSettings())


class TestMoco(ObjectiveContract):
    def objective(self):
        return Moco(MocoSettings())


class TestDino(ObjectiveContract):
    def objective(self):
        return Dino(DinoSettings(prototypes=256, local_views=3, local_px=16))

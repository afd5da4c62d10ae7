"""lightly: SimCLR or BYOL on a folder of image files, as its guide has it, for some seconds."""

import argparse
import copy
import json
import time

import torch
import torchvision
from lightly.data import LightlyDataset
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead, SimCLRProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms import BYOLTransform, SimCLRTransform
from lightly.transforms.byol_transform import BYOLView1Transform, BYOLView2Transform
from torch import nn


class SimCLR(nn.Module):
    """Both views are told from all others."""

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = SimCLRProjectionHead(width, 512, 128)
        self.criterion = NTXentLoss(temperature=0.5)

    def loss(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Of a batch."""
        views = [self.head(self.backbone(view).flatten(start_dim=1)) for view in (first, second)]
        return self.criterion(*views)


class BYOL(nn.Module):
    """Each view predicts what a copy that follows says of the other."""

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = BYOLProjectionHead(width, 4096, 256)
        self.predictor = BYOLPredictionHead(256, 4096, 256)
        self.followers = [copy.deepcopy(self.backbone), copy.deepcopy(self.head)]
        for follower in self.followers:
            deactivate_requires_grad(follower)
        self.criterion = NegativeCosineSimilarity()

    def loss(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Of a batch, after the followers have moved."""
        for leader, follower in zip((self.backbone, self.head), self.followers, strict=True):
            update_momentum(leader, follower, m=0.99)
        views = (first, second)
        said = [
            self.predictor(self.head(self.backbone(view).flatten(start_dim=1))) for view in views
        ]
        with torch.no_grad():
            backbone, head = self.followers
            wanted = [head(backbone(view).flatten(start_dim=1)) for view in views]
        return (self.criterion(said[0], wanted[1]) + self.criterion(said[1], wanted[0])) / 2


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=["simclr", "byol"])
    parser.add_argument("folder")
    parser.add_argument("--began", type=float)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--backbone")
    parser.add_argument("--crop-px", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--device")
    options = parser.parse_args()
    side = options.crop_px
    if options.method == "simclr":
        transform = SimCLRTransform(input_size=side)
    else:
        transform = BYOLTransform(
            BYOLView1Transform(input_size=side), BYOLView2Transform(input_size=side)
        )
    loader = torch.utils.data.DataLoader(
        LightlyDataset(options.folder, transform=transform),
        batch_size=options.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        pin_memory=options.device == "cuda",
    )
    resnet = getattr(torchvision.models, options.backbone)()
    backbone = nn.Sequential(*list(resnet.children())[:-1])
    kind = SimCLR if options.method == "simclr" else BYOL
    model = kind(backbone, resnet.fc.in_features).to(options.device)
    if options.method == "byol":
        for follower in model.followers:
            follower.to(options.device)
    print(json.dumps(train(model, loader, options)))


def train(
    model: nn.Module, loader: torch.utils.data.DataLoader, options: argparse.Namespace
) -> dict:
    """Epochs without end; what they took."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.06)
    told, steps, since = {}, 0, None
    while True:
        for views, *_ in loader:
            first, second = (view.to(options.device, non_blocking=True) for view in views)
            with torch.autocast("cuda", torch.bfloat16, enabled=options.device == "cuda"):
                loss = model.loss(first, second)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            loss.item()  # as printing it would, this waits for a GPU
            now = time.monotonic()
            if since is None:
                since = now
                told["seconds_to_first_step"] = now - options.began
                continue
            steps += 1
            if now - since >= options.seconds:
                told["images_per_second"] = options.batch_size * steps / (now - since)
                if options.device == "cuda":
                    told["device_mb"] = torch.cuda.max_memory_allocated() / 1e6
                return told


if __name__ == "__main__":
    main()

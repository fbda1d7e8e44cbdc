"""PyTorch: an ordinary loop over tensors in memory; eager or compiled, channels last, bfloat16."""

import numpy as np
import torch
from torch import nn

from benchmarks.contestants.pace import Pace, batches, problem


class Net(nn.Module):
    """The network of Keras's MNIST example; its dense layer counts its inputs by row, column, channel.

    Args:
      pool_first: pool before ReLU, which is the same function.
    """

    def __init__(self, dropout: float, *, pool_first: bool) -> None:
        super().__init__()
        self.pool_first = pool_first
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.pool, self.drop, self.head = nn.MaxPool2d(2), nn.Dropout(dropout), nn.Linear(1600, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = images
        for convolution in (self.conv1, self.conv2):
            first, second = (self.pool, torch.relu) if self.pool_first else (torch.relu, self.pool)
            features = second(first(convolution(features)))
        return self.head(self.drop(features.permute(0, 2, 3, 1).flatten(1)))

    def start(self, arrays: dict[str, np.ndarray]) -> None:
        """Takes the first weights of the problem."""
        weights = [torch.from_numpy(arrays[f"weight_{i}"].copy()) for i in range(6)]
        with torch.no_grad():
            for layer, kernel, bias in zip(
                (self.conv1, self.conv2, self.head), weights[::2], weights[1::2], strict=True
            ):
                layer.weight.copy_(kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T)
                layer.bias.copy_(bias)


def main() -> None:
    """Trains until nobody asks for more."""
    settings, arrays = problem()
    device = "cuda" if settings["device"] == "gpu" else "cpu"
    layout = torch.channels_last if settings["channels_last"] else torch.contiguous_format
    net = Net(settings["dropout"], pool_first=settings.get("pool_first", False))
    net.start(arrays)
    net.to(device, memory_format=layout)
    optimizer = torch.optim.SGD(net.parameters(), settings["lr"], momentum=0.9, nesterov=True, fused=True)
    images, labels = batches(arrays, settings["batch_size"])
    images = [torch.from_numpy(one).permute(0, 3, 1, 2).to(device, memory_format=layout) for one in images]
    labels = [torch.from_numpy(one).long().to(device) for one in labels]
    half = settings["precision"] == "mixed_bfloat16"

    def loss_of(batch: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            logits = net(batch)
        return nn.functional.cross_entropy(logits.float(), truth)

    forward = torch.compile(loss_of) if settings["compile"] else loss_of
    pace = Pace(settings, torch.cuda.synchronize if device == "cuda" else lambda: None)
    losses: list[torch.Tensor] = []
    while True:
        for batch, truth in zip(images, labels, strict=True):
            optimizer.zero_grad()
            loss = forward(batch, truth)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            pace(1, lambda: torch.stack(losses).mean())


if __name__ == "__main__":
    main()

"""Compare the encoder with timm's own transforms and networks: ``python tests/encoders/timm_itself.py FOLDER``.

timm imports torchvision. Where there is none for this torch, modules take its place in which the five transforms of
evaluation do what torchvision's documentation says, and everything else is a class without content.
"""

from __future__ import annotations

import enum
import importlib
import importlib.machinery
import sys
from types import ModuleType

import numpy as np
import torch
from PIL import Image

from selfdistill.encoders import load_encoder

NETWORKS = [("resnet10t", {}), ("resnet10t", {"crop_mode": "squash", "input_size": (3, 160, 120)}), ("test_vit", {})]
SIZES = [(300, 200), (201, 517), (32, 32), (225, 224)]


class OnDemand(ModuleType):
    """A module of which any attribute is a class of its own."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(self, name, type(name, (torch.nn.Module,), {}))
        return getattr(self, name)


class InterpolationMode(enum.Enum):
    NEAREST, BILINEAR, BICUBIC, BOX, HAMMING, LANCZOS = 0, 2, 3, 4, 5, 1


class Resize:
    def __init__(self, size, interpolation):
        self.size, self.filter = size, interpolation.value

    def __call__(self, image):
        if not isinstance(self.size, int):
            return image.resize(self.size[::-1], self.filter)
        short, long = sorted(image.size)
        sides = (self.size, int(self.size * long / short))
        return image.resize(sides if image.width <= image.height else sides[::-1], self.filter)


class CenterCrop:
    def __init__(self, size):
        self.height, self.width = size

    def __call__(self, image):
        assert self.width <= image.width
        assert self.height <= image.height
        left, top = round((image.width - self.width) / 2), round((image.height - self.height) / 2)
        return image.crop((left, top, left + self.width, top + self.height))


class ToTensor:
    pass


class Normalize:
    def __init__(self, mean, std):
        self.mean, self.std = mean[:, None, None], std[:, None, None]

    def __call__(self, pixels):
        return (pixels - self.mean) / self.std


class Compose:
    def __init__(self, steps):
        self.steps = steps

    def __call__(self, image):
        for step in self.steps:
            image = step(image)
        return image


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def stand_in():
    """Put modules in torchvision's place."""
    for name in ("", ".transforms", ".transforms.functional", ".datasets", ".ops", ".ops.misc", ".utils"):
        module = OnDemand(f"torchvision{name}")
        module.__path__, module.__spec__ = [], importlib.machinery.ModuleSpec(module.__name__, None)
        sys.modules[module.__name__] = module
        if name:
            above, _, own = module.__name__.rpartition(".")
            setattr(sys.modules[above], own, module)
    transforms = sys.modules["torchvision.transforms"]
    for one in (Resize, CenterCrop, ToTensor, Normalize, Compose, InterpolationMode):
        setattr(transforms, one.__name__, one)
    transforms.functional.InterpolationMode, transforms.functional.to_tensor = InterpolationMode, to_tensor


def main(folder):
    """Save networks, and print the largest difference of features from those of timm's own transform and network."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):  # its operators are of another torch
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        stand_in()
    timm, rng = importlib.import_module("timm"), np.random.default_rng(0)
    for number, (name, change) in enumerate(NETWORKS):
        torch.manual_seed(number)
        made = timm.create_model(name, pretrained=False, pretrained_cfg_overlay=change, num_classes=7)
        timm.models.save_for_hf(made.eval(), f"{folder}/{number}", safe_serialization=True)
        source = f"local-dir:{folder}/{number}"
        network = timm.create_model(source, pretrained=True, num_classes=0).eval()
        look = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
        images = [Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)) for width, height in SIZES]
        with torch.no_grad():
            wanted = network(torch.stack([look(image) for image in images])).numpy()
        encoder = load_encoder(f"timm:{source}")
        found = encoder.encode([encoder.prepare(image) for image in images])
        assert np.ptp(wanted, axis=0).max() > 1e-2
        print(f"{name} {found.shape}, up to {np.abs(wanted).max():.2f}, at most", np.abs(found - wanted).max())


if __name__ == "__main__":
    main(sys.argv[1])

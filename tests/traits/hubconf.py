"""A torch.hub repository of tiny models, each with a trait that real repositories have."""

from collections import namedtuple

import torch
from torch import nn
from torch.hub import load_state_dict_from_url
from torch.nn.functional import normalize, relu

dependencies = ["torch"]
URL = "https://weights.invalid/"


def body(width=8):
    return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, width, 3, 1, 1), nn.ReLU())


class Net(nn.Module):
    """A body, averaged, and a head."""

    def __init__(self, width=8, classes=5):
        super().__init__()
        self.body, self.head = body(width), nn.Linear(width, classes)

    def features(self, images):
        return self.body(images).mean((2, 3))

    def forward(self, images):
        return self.head(self.features(images))


def loaded(model, name):
    model.load_state_dict(load_state_dict_from_url(f"{URL}{name}.pth", progress=False, map_location="cpu"))
    return model


# ---- backbones -------------------------------------------------------------------------------------


class Tokens(nn.Module):
    """A transformer without its blocks: class token, two registers, patches; as DINOv2 gives them."""

    def __init__(self, whole=False):
        super().__init__()
        self.whole = whole
        self.patch, self.special = nn.Conv2d(3, 8, 8, 8), nn.Parameter(torch.randn(1, 3, 8))
        self.block, self.norm, self.head = nn.Linear(8, 8), nn.LayerNorm(8), nn.Identity()

    def forward_features(self, images):
        patches = self.patch(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.special.expand(len(images), -1, -1), patches], 1)
        mixed = tokens + self.block(tokens).mean(1, keepdim=True)
        normed = self.norm(mixed)
        return {"cls": normed[:, 0], "registers": normed[:, 1:3], "patches": normed[:, 3:], "raw": mixed, "masks": None}

    def forward(self, images):
        found = self.forward_features(images)
        return torch.cat([found["cls"][:, None], found["registers"], found["patches"]], 1) if self.whole else (
            self.head(found["cls"])
        )  # fmt: skip


def backbone(pretrained=True):
    return Tokens()


def tokens(pretrained=True):
    return Tokens(whole=True)


class Vector(Net):
    def forward(self, images):
        return self.features(images)


def vector(pretrained=True):
    model = Vector()
    del model.head
    return model


def feature_map(pretrained=True):
    return body()


Summary = namedtuple("Summary", ["summary", "features"])


class Summarised(Tokens):
    def forward(self, images):
        found = self.forward_features(images)
        return Summary(torch.cat([found["cls"], found["cls"]], 1), found["patches"])


def summarised(pretrained=True):
    return Summarised()


# ---- what follows the last Linear ------------------------------------------------------------------


class Head(nn.Module):
    """Hiera's: logits while it trains, probabilities in eval mode."""

    def __init__(self):
        super().__init__()
        self.projection = nn.Linear(8, 5)

    def forward(self, features):
        logits = self.projection(features)
        return logits if self.training else logits.softmax(-1)


def soft_head(pretrained=True):
    model = Net()
    model.head = Head()
    return model


def soft_module(pretrained=True):
    return nn.Sequential(body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5), nn.LogSoftmax(1))


class SoftForward(Net):
    def forward(self, images):
        return self.head(self.features(images)).softmax(1)


def soft_forward(pretrained=True):
    return SoftForward()


class Normed(Net):
    """CosPlace's: a descriptor of length one; its Linear starts at zero, which would hide that."""

    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.head.weight)

    def forward(self, images):
        return normalize(super().forward(images), dim=1)


def normed(pretrained=True):
    return Normed()


class Distilled(Net):
    def __init__(self):
        super().__init__()
        self.head_dist = nn.Linear(8, 5)

    def forward(self, images):
        features = self.features(images)
        both = self.head(features), self.head_dist(features)
        return both if self.training else (both[0] + both[1]) / 2


def distilled(pretrained=True):
    return Distilled()


class Squeezed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = body(), nn.Conv2d(8, 5, 1)

    def forward(self, images):
        return relu(self.head(self.body(images))).mean((2, 3))


def squeezed(pretrained=True):
    return Squeezed()


# ---- training mode ---------------------------------------------------------------------------------

Outputs = namedtuple("Outputs", ["logits", "aux"])


class Auxiliary(Net):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.aux = nn.Sequential(nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.aux_head = nn.Linear(4, 5)

    def forward(self, images):
        maps = self.body(images)
        logits = self.head(maps.mean((2, 3)))
        return self.kind(logits, self.aux_head(self.aux(maps))) if self.training else logits


def auxiliary(pretrained=True):
    return Auxiliary(Outputs)


def auxiliary_dict(pretrained=True):
    model = Auxiliary(None)
    model.kind = in_dict
    return model


def in_dict(logits, aux):
    return {"out": logits, "aux": aux}


class Other(Net):
    """In training mode it gives other numbers, whatever its own mode is."""

    def forward(self, images):
        logits = super().forward(images)
        return logits.softmax(1) if self.head.training else logits


def other_in_training(pretrained=True):
    return Other()


# ---- weights ---------------------------------------------------------------------------------------


class Scaled(Net):
    scale = 1.0

    def forward(self, images):
        return self.head(self.scale * self.features(images))


def depends(weights=None):
    """GoogLeNet's: with weights the auxiliary head is dropped, and the input is treated otherwise."""
    model = Scaled()
    model.extra = nn.Linear(8, 5)
    if weights:
        model.scale = 3.0
        loaded(model, "depends")
        del model.extra
    return model


def always():
    return loaded(Net(), "always")


def named_weights(pretrained="imagenet"):
    """EfficientNet's: the flag is a name, and without it this entry fails."""
    if pretrained is None:
        raise TypeError("from_name() got an unexpected keyword argument")
    return loaded(Net(), "named_weights")


def from_checkpoint():
    """RADIO's: what is built stands in the file of the weights."""
    state = load_state_dict_from_url(f"{URL}from_checkpoint.pth", map_location="cpu")
    model = Net(width=state["body.3.weight"].shape[0])
    model.load_state_dict(state)
    return model


def by_other_means(pretrained=False):
    from urllib.request import urlopen

    urlopen(f"{URL}anything")


# ---- size, construction, packages, arguments -------------------------------------------------------


class Fixed(Net):
    side = 40

    def forward(self, images):
        assert images.shape[-1] == self.side
        return super().forward(images)


def fixed(pretrained=True):
    return Fixed()


def says(pretrained=True):
    model = Fixed()
    model.side = 72
    model.body.img_size = (72, 72)
    model.default_cfg = {"input_size": (3, 224, 224)}  # timm's usual, which repositories leave as it is
    return model


def computed(pretrained=True):
    """Reads its parameters while it is built, which the meta device cannot do."""
    model = Net()
    model.rates = torch.linspace(0, model.head.weight.abs().max().item(), 3)
    return model


def needs(pretrained=True):
    import package_that_nobody_has.part

    return package_that_nobody_has.part


def needs_older(pretrained=True):
    import torchvision.models.of_another_version

    return torchvision.models.of_another_version


def sized(width=8, classes=5, name="a", *, deep=False, rate=0.5):
    model = Net(width, classes)
    model.asked = (width, classes, name, deep, rate)
    return model


def open_ended(**options):
    return sized(**options)

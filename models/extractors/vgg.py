"""VGGish (Hershey et al. 2017): 128 features of 0.96 s of sound, learned from the tags of millions of videos."""

from torch import Tensor, nn

from models.extractors.extractor import fill, state_dict_of
from models.extractors.inputs import ImageExtractor, PatchExtractor

VGGISH_LAYERS = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M")
VGGISH_SOURCE = "the file vggish-10086976.pth of the package torchvggish has them"


class VGGish(PatchExtractor):
    """72,141,184 parameters, with the names of torchvggish's state dict (`features.*`, `embeddings.*`).

    step_s: from one patch to the next, the paper's 60 ms by default; centred: see PatchExtractor. final_relu: as torchvggish,
    which cuts negative features; without, the last layer as it is. No principal components, no 8 bits.
    weights: path of the state dict; random_init: go without. Raises ValueError otherwise, and for weights that do not fit.
    """

    dim = 128

    def __init__(
        self,
        weights: str | None = None,
        step_s: float = 0.06,
        centred: bool = False,
        final_relu: bool = False,
        random_init: bool = False,
        batch: int = 64,
    ) -> None:
        super().__init__(0.01, step_s, centred, batch, final_relu=final_relu)
        self.final_relu = final_relu
        self.features = convolutions(VGGISH_LAYERS, 1)
        self.embeddings = nn.Sequential(
            nn.Linear(12_288, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, self.dim)
        )
        fill(self, weights, random_init, VGGISH_SOURCE)

    def embed(self, piece: Tensor) -> Tensor:
        """Patches (n, 96, 64) -> (n, 128)."""
        maps = self.features(piece[:, None])
        # The weights are TensorFlow's, which keeps channels last.
        features = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return features.relu() if self.final_relu else features


def convolutions(layers: tuple[int | str, ...], channels: int) -> nn.Sequential:
    """3x3 convolutions, each with a ReLU, of so many filters; "M" halves both axes."""
    modules: list[nn.Module] = []
    for width in layers:
        if width == "M":
            modules.append(nn.MaxPool2d(2))
        else:
            modules += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
    return nn.Sequential(*modules)


# VGG16 (Simonyan and Zisserman 2015): 4096 features of an image, learned from ImageNet.

VGG16_LAYERS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
VGG16_SOURCE = "torchvision's file vgg16-397923af.pth has them"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG16(ImageExtractor):
    """The last hidden layer (fc7) behind its ReLU; 134,260,544 parameters, with the names of torchvision's state dict.

    The layer of classes behind it is dropped from the weights. fps: images/s the video is sampled at.
    weights: path of the state dict; random_init: go without. Raises ValueError otherwise, and for weights that do not fit.
    """

    dim = 4096

    def __init__(self, weights: str | None = None, fps: float = 15.0, random_init: bool = False, batch: int = 16) -> None:
        super().__init__(fps, (224, 224), MEAN, STD, batch)
        self.features = convolutions(VGG16_LAYERS, 3)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(25_088, self.dim), nn.ReLU(), nn.Dropout(), nn.Linear(self.dim, self.dim), nn.ReLU(), nn.Dropout()
        )
        fill(self, weights, random_init, VGG16_SOURCE, without_classes)

    def embed(self, piece: Tensor) -> Tensor:
        """Images (n, 3, 224, 224) -> (n, 4096)."""
        return self.classifier(self.avgpool(self.features(piece)).flatten(1))


def without_classes(path: str) -> dict[str, Tensor]:
    """State dict less the layer that names 1000 things."""
    return {name: value for name, value in state_dict_of(path).items() if not name.startswith("classifier.6.")}

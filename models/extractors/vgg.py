"""VGG networks: VGGish (audio patches -> 128 features) and VGG16 (images -> 4096 features)."""

from torch import Tensor, nn

from models.extractors.extractor import fill, state_dict_of
from models.extractors.inputs import ImageExtractor, PatchExtractor

VGGISH_LAYERS = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M")
VGGISH_SOURCE = "use the file vggish-10086976.pth of the package torchvggish"


class VGGish(PatchExtractor):
    """VGGish (Hershey et al. 2017), trained on the labels of YouTube-8M, with the parameter names of torchvggish.

    72,141,184 parameters. step_s: hop of patches, by default the paper's 60 ms; centred: see PatchExtractor. final_relu:
    rectify the features, as torchvggish does. Neither PCA nor quantisation is applied.
    weights: path of the state dict; random_init: allow no weights. Raises ValueError for missing weights or ones that do not
    fit.
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
        # The weights expect TensorFlow's order, channels last.
        features = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return features.relu() if self.final_relu else features


def convolutions(layers: tuple[int | str, ...], channels: int) -> nn.Sequential:
    """3x3 convolutions with ReLU by number of filters; "M" is a maximum over 2 x 2."""
    modules: list[nn.Module] = []
    for width in layers:
        if width == "M":
            modules.append(nn.MaxPool2d(2))
        else:
            modules += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
    return nn.Sequential(*modules)


VGG16_LAYERS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
VGG16_SOURCE = "use torchvision's file vgg16-397923af.pth"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG16(ImageExtractor):
    """VGG16 (Simonyan and Zisserman 2015) without its classifier: images -> last hidden layer (fc7) after its ReLU.

    134,260,544 parameters with the names of torchvision, trained on ImageNet. fps: frame rate of the video, images/s.
    weights: path of the state dict; random_init: allow no weights. Raises ValueError for missing weights or ones that do not
    fit.
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
    """State dict without the classification layer."""
    return {name: value for name, value in state_dict_of(path).items() if not name.startswith("classifier.6.")}

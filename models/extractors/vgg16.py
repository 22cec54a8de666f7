"""VGG16 (Simonyan and Zisserman 2015): 4096 features of an image, learned from ImageNet."""

from torch import Tensor, nn

from models.extractors.extractor import fill, state_dict_of
from models.extractors.images import ImageExtractor
from models.extractors.vggish import convolutions

LAYERS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
WHERE = "torchvision's file vgg16-397923af.pth has them"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG16(ImageExtractor):
    """The last hidden layer (fc7) behind its ReLU; 134,260,544 parameters, with the names of torchvision's state dict.

    The layer of classes behind it is dropped from the weights. fps: images/s the video is sampled at.
    weights: path of the state dict; random_init: go without. Raises ValueError otherwise, and for weights that do not fit.
    """

    dim = 4096

    def __init__(self, weights: str | None = None, fps: float = 15.0, random_init: bool = False, batch: int = 16) -> None:
        super().__init__(fps, (224, 224), MEAN, STD, batch)
        self.features = convolutions(LAYERS, 3)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(25_088, self.dim), nn.ReLU(), nn.Dropout(), nn.Linear(self.dim, self.dim), nn.ReLU(), nn.Dropout()
        )
        fill(self, weights, random_init, WHERE, without_classes)

    def embed(self, piece: Tensor) -> Tensor:
        """Images (n, 3, 224, 224) -> (n, 4096)."""
        return self.classifier(self.avgpool(self.features(piece)).flatten(1))


def without_classes(path: str) -> dict[str, Tensor]:
    """State dict less the layer that names 1000 things."""
    return {name: value for name, value in state_dict_of(path).items() if not name.startswith("classifier.6.")}

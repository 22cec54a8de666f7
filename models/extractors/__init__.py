"""Pretrained networks of others as streams of embeddings."""

from models.extractors.efficientnet import EfficientNetLite0 as EfficientNetLite0
from models.extractors.extractor import Extractor as Extractor
from models.extractors.onnx import ONNXAudio as ONNXAudio
from models.extractors.onnx import ONNXImages as ONNXImages
from models.extractors.onnx import ONNXPatches as ONNXPatches
from models.extractors.vgg16 import VGG16 as VGG16
from models.extractors.vggish import VGGish as VGGish
from models.extractors.yamnet import YAMNet as YAMNet

"""Pretrained networks as extractors of embeddings from audio and video."""

from models.extractors.extractor import Extractor as Extractor
from models.extractors.mobile_nets import EfficientNetLite0 as EfficientNetLite0
from models.extractors.mobile_nets import YAMNet as YAMNet
from models.extractors.onnx import ONNXAudio as ONNXAudio
from models.extractors.onnx import ONNXImages as ONNXImages
from models.extractors.onnx import ONNXPatches as ONNXPatches
from models.extractors.vgg import VGG16 as VGG16
from models.extractors.vgg import VGGish as VGGish

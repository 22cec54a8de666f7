"""Raw: the front-end of sample-level convolutions on the waveform."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from models.features import as_float
from models.tagging.front_end import FrontEnd, conv_norm_relu


class Raw(FrontEnd):
    """Audio (batch, samples) -> (batch, width, samples / 3**layers) by filters of three samples (Lee et al. 2017).

    Section 3.1 of Won, Chun and Serra 2019. One layer per entry of `growth`, the multiple of `channels` it puts out;
    each divides the time by 3. Five layers give frames of 15.2 ms, 270 in a chunk of 65,610 samples, for the Att
    back-end; the ten layers (1,1,2,2,2,2,2,2,4,4) leave one frame for CNN_L. A last convolution of `kernel` frames
    leads to `width` channels: 7 before Att, as far as the Spec front-end's vertical filters see; 1 before CNN_L.
    The paper does not state `channels`: Lee et al. used 128, the authors' code defaults to 64.
    """

    def __init__(
        self,
        channels: int = 128,
        growth: Sequence[int] = (1, 1, 2, 2, 2),
        kernel: int = 7,
        width: int = 512,
        samples: int = 65_610,
        sample_rate: int = 16_000,
    ):
        super().__init__()
        self.sample_rate, self.samples, self.width = sample_rate, samples, width
        self.frame_hop = 3 ** len(growth)
        self.frame_centre = (self.frame_hop - 3) // 2  # the first layer centres on sample 0, each pooling adds a third
        sizes = [multiple * channels for multiple in growth]
        self.layers = nn.Sequential(conv_norm_relu(1, sizes[0], 3, stride=3))
        for narrow, wide in pairwise(sizes):
            self.layers.append(nn.Sequential(conv_norm_relu(narrow, wide, 3), nn.MaxPool1d(3)))
        self.projection = conv_norm_relu(sizes[-1], width, kernel)

    def inputs(self, audio: Tensor, level: Tensor | None = None) -> Tensor:
        return as_float(audio)

    def maps(self, inputs: Tensor) -> Tensor:
        first = self.layers[0][0].weight
        return self.projection(self.layers(inputs[:, None].to(first.dtype)))

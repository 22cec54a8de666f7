"""Published likelihoods on the Boulanger-Lewandowski sets (Boulanger-Lewandowski et al. 2012; Bai et al. 2018)."""

from typing import NamedTuple


class Published(NamedTuple):
    """A number of a paper."""

    system: str
    config: str | None  # ours
    nats: float  # of the test split: a frame, or a note where `unit` says so
    source: str
    unit: str = "nats/frame"


JSB = (
    Published("Random", None, 61.00, "B-L 2012"),
    Published("Note 1-gram", None, 11.06, "B-L 2012"),
    Published("n-gram (Gaussian)", "jsb_markov", 9.74, "B-L 2012"),
    Published("MLP", None, 8.70, "B-L 2012"),
    Published("RNN", None, 8.71, "B-L 2012"),
    Published("LSTM", "jsb_lstm", 8.45, "Bai 2018"),
    Published("TCN", "jsb_tcn", 8.10, "Bai 2018"),
    Published("RBM", None, 7.43, "B-L 2012"),
    Published("NADE", None, 7.19, "B-L 2012"),
    Published("RNN-RBM", "jsb_rnn_rbm", 6.27, "B-L 2012"),
    Published("RNN-NADE", "jsb_rnn_nade", 5.83, "B-L 2012"),
    Published("RNN-NADE (HF)", None, 5.56, "B-L 2012"),
)
"""Log-likelihoods with their sign turned: lower is better. TCN and LSTM of Bai et al. leave out each piece's first frame."""

JSB16 = (
    Published("Coconet, chronological", None, 0.436, "Huang 2017", "nats/cell"),
    Published("Music Transformer", None, 0.335, "Huang 2019", "nats/cell"),
)
"""On the 16th grid; nats per note."""

"""What training minimises, of pairs of frames or of pitches."""

from torch import Tensor, nn

from datamodules.alignment.crops import PairBatch
from losses import ContrastiveLoss, SoftCrossEntropy
from models.alignment.similarity import Similarity


class PairObjective(nn.Module):
    """A loss of the distances of labelled pairs: the paper's is contrastive (equation 1), a perceptron's cross entropy.

    Args:
        loss: called with distances and labels, 0 for a match (`losses`)
    """

    def __init__(self, loss: nn.Module | None = None) -> None:
        super().__init__()
        self.loss = loss or ContrastiveLoss()

    def distances(self, net: Similarity, batch: PairBatch) -> Tensor:
        """Distance of each pair of a batch: (batch, pairs)."""
        performance, score = net.embed(batch.performance, "performance"), net.embed(batch.score, "score")
        left, right = (
            side.gather(1, places[..., None].expand(-1, -1, side.shape[-1]))
            for side, places in ((performance, batch.places[..., 0]), (score, batch.places[..., 1]))
        )
        return net.between(left, right)

    def forward(self, net: Similarity, batch: PairBatch) -> Tensor:
        """The loss of a batch."""
        return self.loss(self.distances(net, batch), batch.label)


class SalienceObjective(nn.Module):
    """Cross entropy (equation 4) of a salience network's map and the pitches that sound, softened in frequency."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = SoftCrossEntropy()

    def forward(self, net: nn.Module, batch: PairBatch) -> Tensor:
        """The loss of a batch, of the performances alone."""
        return self.loss(net.salience(batch.performance), net.targets(batch.pitches))

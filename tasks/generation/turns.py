"""One training step of a system of several players: each in its turn, by its own optimizer."""

from typing import TYPE_CHECKING

from torch import Tensor

from datamodules.symbolic.batch import SymbolicBatch

if TYPE_CHECKING:
    from tasks.generation.module import Composer


def take_turns(composer: "Composer", batch: SymbolicBatch) -> dict[str, Tensor]:
    """Every player's turn of the schedule; returns what each last minimised, `loss` being their sum."""
    net = composer.net
    optimizers = dict(zip(net.players(), composer.optimizers(), strict=True))
    losses: dict[str, Tensor] = {}
    parts: dict[str, Tensor] = {}
    for player in net.schedule:
        optimizer = optimizers[player]
        found = net.turn(player, batch)
        optimizer.zero_grad()
        # All players take part in each turn, or several ranks would wait for the gradients of the others.
        composer.manual_backward(found["loss"] + 0.0 * sum(parameter.sum() for parameter in net.parameters()))
        optimizer.step()
        losses[player] = found["loss"].detach()
        parts |= {f"{player}_{name}": part.detach() for name, part in found.items()}
    return parts | {"loss": sum(losses.values())}

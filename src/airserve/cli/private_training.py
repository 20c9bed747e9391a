"""What makes a training private: how much noise it needs for its ε, and what the manifest says of it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from airserve import nn
from airserve.core.errors import InvalidInputError
from airserve.models.manifest import Privacy
from airserve.nn import Trainer
from airserve.nn.accountant import epsilon, noise_for


@dataclass(frozen=True, slots=True)
class PrivateRecipe:
    """How private a run is to be. Ranges are what anybody knows of the columns: they are not read from the data."""

    epsilon: float
    delta: float
    clip: float
    feature_range: tuple[float, float]
    target_range: tuple[float, float] | None = None


def make_private(trainer: Trainer, recipe: PrivateRecipe, epochs: int, rows: int) -> Privacy:
    """Give `trainer` the noise that `epochs` over `rows` rows need to cost at most ε; what the manifest says of it."""
    if not 0 < recipe.delta < 1 / rows:
        raise InvalidInputError(
            f"δ is a chance below one in the {rows} rows, not {recipe.delta:g}: a run that publishes one row in "
            f"{1 / recipe.delta:.0f} would pass it. Give a smaller --delta"
        )
    steps = epochs * trainer.steps_per_epoch
    noise = noise_for(recipe.epsilon, trainer.sampling_rate, steps, recipe.delta)
    trainer.privacy = nn.Privacy(recipe.clip, noise)
    return Privacy(
        epsilon=round(epsilon(noise, trainer.sampling_rate, steps, recipe.delta), 4),
        delta=recipe.delta,
        clip=recipe.clip,
        noise=round(noise, 4),
        sampling_rate=round(trainer.sampling_rate, 6),
        steps=steps,
        rows=rows,
        accountant=f"PLD, dp-accounting {version('dp-accounting')}",
    )

# Ref: IANUS (ASPLOS 2024), Tables 3 and 4
"""Shapes of the transformers that the paper runs: numbers alone, no weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["MODELS", "Transformer", "transformer"]


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """A stack of equal blocks: attention, and a feed-forward network four times as wide inside.

    Parameters
    ----------
    name : str
        As in the command line.
    width : int
        Elements of an embedding.
    head_dim, heads, blocks : int
        Elements of a head, heads a block, blocks.
    vocabulary, context : int
        Tokens there are, and tokens that a sequence may have. The paper gives neither: those of the published models.
    decoder : bool
        Attends to earlier tokens alone and generates (GPT); otherwise an encoder (BERT), which does not.
    """

    name: str
    width: int
    head_dim: int
    heads: int
    blocks: int
    vocabulary: int = 50257
    context: int = 1024
    decoder: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "head_dim", "heads", "blocks", "vocabulary", "context"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if self.heads * self.head_dim != self.width:
            raise ValueError(
                f"heads of {self.head_dim} elements must make up the width {self.width}, not {self.heads} of them"
            )

    @property
    def inner(self) -> int:
        """Width inside the feed-forward network."""
        return 4 * self.width

    @property
    def fully_connected(self) -> dict[str, tuple[int, int]]:
        """The fully connected layers of a block: name to (outputs, inputs)."""
        width, inner = self.width, self.inner
        return {
            "query": (width, width),
            "key": (width, width),
            "value": (width, width),
            "projection": (width, width),
            "expand": (inner, width),
            "contract": (width, inner),
        }

    @property
    def block_weights(self) -> int:
        """Weights in the fully connected layers of all blocks."""
        return self.blocks * sum(rows * columns for rows, columns in self.fully_connected.values())

    def with_head_dim(self, head_dim: int) -> Transformer:
        """The same width cut into other heads; ``ValueError`` if they do not divide it."""
        if head_dim < 1 or self.width % head_dim:
            raise ValueError(f"head dimension must divide the width {self.width}, not be {head_dim!r}")
        return replace(self, head_dim=head_dim, heads=self.width // head_dim)


def _bert(name: str, width: int, heads: int, blocks: int) -> Transformer:
    return Transformer(
        name=name,
        width=width,
        head_dim=64,
        heads=heads,
        blocks=blocks,
        vocabulary=30522,
        context=512,
        decoder=False,
    )


def _gpt(name: str, width: int, head_dim: int, heads: int, blocks: int, context: int = 1024) -> Transformer:
    return Transformer(name=name, width=width, head_dim=head_dim, heads=heads, blocks=blocks, context=context)


MODELS: dict[str, Transformer] = {
    model.name: model
    for model in (
        _gpt("gpt2-base", 768, 64, 12, 12),
        _gpt("gpt2-m", 1024, 64, 16, 24),
        _gpt("gpt2-l", 1280, 64, 20, 36),
        _gpt("gpt2-xl", 1536, 64, 24, 48),  # the paper's: 24 heads instead of the published 25
        _gpt("gpt2-2.5b", 1920, 96, 20, 54),
        _gpt("gpt-6.7b", 4096, 128, 32, 32, 2048),
        _gpt("gpt-13b", 5120, 128, 40, 40, 2048),
        _gpt("gpt-30b", 7168, 128, 56, 48, 2048),
        _bert("bert-b", 768, 12, 12),
        _bert("bert-l", 1024, 16, 24),
        _bert("bert-1.3b", 2048, 32, 24),
        _bert("bert-3.9b", 2560, 40, 48),
    )
}


def transformer(name: str) -> Transformer:
    """Model ``name``; ``ValueError`` lists the names there are."""
    try:
        return MODELS[name]
    except KeyError:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, not {name!r}") from None

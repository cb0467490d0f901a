"""A decoder with its cache of keys and values as plain inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from protocol import RecipeError
from torch import Tensor, nn

#: Added to masked scores. Half precision has nothing below -65504, and several libraries turn an
#: infinity into NaN.
_MASKED = -1e4


class Rotations(nn.Module):
    """Rotary position embeddings of fixed positions.

    Args:
        embedding: the model's embedding of positions.
        size: the number of values of a token.
        positions: [1, tokens].
    """

    def __init__(self, embedding: nn.Module, size: int, positions: Tensor) -> None:
        super().__init__()
        with torch.no_grad():
            cosines, sines = embedding(torch.zeros(1, positions.shape[1], size), positions)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)

    def forward(self, hidden: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each [1, tokens, head size]."""
        return self.cosines, self.sines


class CachedDecoder(nn.Module):
    """A causal language model of transformers without state.

    Without a cache among its inputs it reads a prompt (prefill); with a cache of `past` positions it
    decodes the tokens that follow them. Logits are those of the last token, from which the next token
    is drawn. Lengths are fixed, so positions, their rotations and the mask are constants.

    Args:
        model: a ``...ForCausalLM``.
        inputs: the recipe's: ``input_ids``, and for decoding ``past_key_0``, ``past_value_0``,
            ``past_key_1``..., each [1, heads, past, head size].

    Raises:
        RecipeError: there are other inputs, or not a pair for each layer.
    """

    def __init__(self, model: nn.Module, inputs: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.model = model
        config = model.config
        layers = config.num_hidden_layers
        self._caches = [(f"past_key_{layer}", f"past_value_{layer}") for layer in range(layers)]
        shapes = {spec["name"]: spec["shape"] for spec in inputs}
        expected = {"input_ids", *(name for pair in self._caches for name in pair)}
        if set(shapes) not in ({"input_ids"}, expected):
            raise RecipeError(
                f"a decoder takes input_ids alone, or with past_key_0, past_value_0 to"
                f" past_key_{layers - 1}, past_value_{layers - 1}"
            )
        seen = shapes["past_key_0"][2] if len(shapes) > 1 else 0
        new = shapes["input_ids"][1]
        positions = torch.arange(seen, seen + new).unsqueeze(0)
        self.register_buffer("positions", positions, persistent=False)
        # transformers uses a finished mask as it is; else it makes a mask by operators on booleans.
        mask = torch.full((new, seen + new), _MASKED).triu(seen + 1)
        self.register_buffer("mask", mask[None, None], persistent=False)
        if hasattr(model.base_model, "rotary_emb"):
            embedding = model.base_model.rotary_emb
            model.base_model.rotary_emb = Rotations(embedding, config.hidden_size, positions)

    @property
    def trained(self) -> nn.Module:
        """The part that gets trained weights (see network.Network.trained)."""
        return self.model

    def forward(self, input_ids: Tensor, **past: Tensor) -> dict[str, Tensor]:
        """`logits` [1, 1, vocabulary], and `present_key_0`, `present_value_0`...: the cache with the
        new positions at its end."""
        from transformers import DynamicCache

        cache = DynamicCache()
        if past:
            for layer, (key, value) in enumerate(self._caches):
                cache.update(past[key], past[value], layer)
        result = self.model(
            input_ids,
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        outputs = {"logits": result.logits}
        for layer, entry in enumerate(cache.layers):
            outputs[f"present_key_{layer}"] = entry.keys
            outputs[f"present_value_{layer}"] = entry.values
        return outputs

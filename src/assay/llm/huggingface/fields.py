"""Typed access to the fields of a Hugging Face configuration, with a memory of what was read.

A field that nobody read and whose name says that it changes counts is refused by name; all other unread
fields (rope, token ids, losses ...) cannot change what assay counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from assay.errors import BadInput, UnknownArchitecture
from assay.llm.records import number

#: Names that change counts if set.
COUNTS = re.compile(
    r"expert|head|rank|layer|dim|size|window|conv|state|latent|kv|lora|index|hyper|engram|ngram|sparse|mtp|nextn"
)
#: Names that match `COUNTS` by accident.
HARMLESS = re.compile(
    "|".join(
        (
            # parallelism, kernels, training
            r"^(num_)?(ep|tp|block|chunk|batch|micro)_?size$",
            r"dropout|drop_rate|drop$|initializer|_init$|loss|coef|pretrain|_?parallel|gradient|checkpoint|kernels",
            r"finetun|recompute|fused?_|flash|deterministic|freeze|_impl$|grouped_?gemm|_overlap|dispatch|rescale",
            # positions, norms, scales, number formats
            r"rope|rotary|epsilon|_eps$|scal(e|ing)|dtype|softcap|temperature|jitter|original_max|llama_4|alibi",
            r"layer_?norm|norm_head|norm_topk|norm_expert|residual_in_fp32|magnitude|mup|multiplier|query_pre|fp32",
            r"time_step|swiglu|hidden_act|activation|act_fn|logits|position_embedding_type",
            # vision, audio, tokens, generation
            r"_token|token_|vision|image|audio|video|pad_|unpadded|use_cache|output_|cache_implementation|beam",
            r"penalty|is_|add_cross|cross_att|problem|num_labels|truncat|return_dict|prun|classification",
            # routing that changes no count, lengths
            r"scoring|aux|balanc|capacity|moe_router_|group_limited|renormaliz|chunk_size|max_window|max_seq",
            r"seq_length|sequence_length|always_select|share_for_mtp|split_ngram|make_.*divisible|interleaved?$",
        )
    )
)
#: Fields of any configuration that never change counts although their names match.
NEVER = frozenset(
    {
        *("intermediate_size", "mlp_intermediate_size", "max_window_layers", "max_position_embeddings"),
        *("num_key_value_groups", "qk_head_dim", "layer_idx", "sliding_window_size", "num_expert_group"),
        *("num_experts_per_group", "vocab_size_per_layer_input", "use_bidirectional_attention", "expand"),
        *("mamba_ssm_cache_dtype", "kv_cache_dtype", "kv_cache_quant_algo", "mtp_hidden_states_first"),
        *("chain_hidden_post_norm", "mtp_local_layer_ids", "attention_method", "num_media_embeds"),
    }
)


class Fields:
    """The fields of one configuration object."""

    def __init__(self, data: Mapping[str, Any], where: str = "config.json") -> None:
        self._data = data
        self._read: set[str] = set()
        self.where = where

    def get(self, *names: str) -> Any:
        """Return the first of `names` that is present and not null, else None."""
        self._read.update(names)
        return next((self._data[name] for name in names if self._data.get(name) is not None), None)

    def has(self, *names: str) -> bool:
        """Return whether any of `names` is present, even if null."""
        self._read.update(names)
        return any(name in self._data for name in names)

    def default(self, values: Mapping[str, Any]) -> None:
        """Fill in class defaults for fields that are absent."""
        self._data = dict(values) | {key: value for key, value in self._data.items() if value is not None}

    def known(self, *names: str) -> None:
        """Mark fields as understood: they do not change counts in this class of model."""
        self._read.update(names)

    def whole(self, *names: str, default: int | None = None, zero: bool = False) -> int:
        """Return a whole number.

        A list of equal numbers (one a layer) counts as that number.

        Raises:
            BadInput: absent without a default, not a number, NaN, negative or absurd.
        """
        value = self.get(*names)
        if value is None:
            if default is None:
                raise BadInput(
                    f"{self.where} lacks {names[0]!r}.", "It is needed to count this architecture."
                )
            return default
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            value = value[0]
        return int(number(value, f"{self.where}: {names[0]}", zero=zero))

    def maybe(self, *names: str) -> int | None:
        """Return a positive whole number, or None where the field is absent, null, false or zero."""
        value = self.get(*names)
        if value is None or value is False or value == 0:
            return None
        return self.whole(*names)

    def flag(self, *names: str, default: bool = False) -> bool:
        """Return a flag.

        Raises:
            BadInput: neither true nor false.
        """
        value = self.get(*names)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise BadInput(f"{self.where}: {names[0]} is {value!r}.", "It must be true or false.")
        return value

    def items(self, *names: str) -> list[Any] | None:
        """Return a list, or None if absent.

        Raises:
            BadInput: not a list.
        """
        value = self.get(*names)
        if value is not None and not isinstance(value, list):
            raise BadInput(f"{self.where}: {names[0]} is {value!r}.", "It must be a list.")
        return value

    def inner(self, *names: str) -> Fields:
        """Return the fields of a nested object; empty if absent.

        Raises:
            BadInput: not an object.
        """
        value = self.get(*names)
        if value is None:
            return Fields({}, f"{self.where}: {names[0]}")
        if not isinstance(value, Mapping):
            raise BadInput(f"{self.where}: {names[0]} must be an object, not {type(value).__name__}.")
        return Fields(value, f"{self.where}: {names[0]}")

    def refuse_unknown(self, kind: str) -> None:
        """Refuse fields that nobody read and that change counts.

        Args:
            kind: class or model type, for the message.

        Raises:
            UnknownArchitecture: names the first such field.
        """
        for name, value in self._data.items():
            if name in self._read or name in NEVER or not _matters(value):
                continue
            if COUNTS.search(name) and not HARMLESS.search(name):
                raise UnknownArchitecture(
                    f"{self.where} has the field {name!r} ({_short(value)}), unknown for {kind}.",
                    "Remove it if it changes neither weights, caches nor work.",
                )


def _matters(value: Any) -> bool:
    """Return whether a value can switch something on: null, false, zero, text and empty lists cannot."""
    if value is None or isinstance(value, str) or value is False:
        return False
    return not (isinstance(value, int | float) and value in (0, -1)) and value not in ([], {})


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def runs(mixers: Sequence[str], ffns: Sequence[str]) -> list[list[Any]]:
    """Return the run-length schedule of per-layer mixer and feed-forward names.

    Raises:
        BadInput: the two lists are of different length.
    """
    if len(mixers) != len(ffns):
        raise BadInput(f"The layer lists of the configuration have {len(mixers)} and {len(ffns)} entries.")
    schedule: list[list[Any]] = []
    for pair in zip(mixers, ffns, strict=True):
        if schedule and tuple(schedule[-1][1:]) == pair:
            schedule[-1][0] += 1
        else:
            schedule.append([1, *pair])
    return schedule

"""Number formats of weights: bytes per element with scales, and which weight group is kept in which.

Reference: docs/concepts/operators.md, "Weight formats".
"""

from __future__ import annotations

from collections.abc import Mapping

from assay.errors import BadInput
from assay.llm.architecture import Architecture

#: Weight groups of operators.
GROUPS = (
    "attention",
    "dense",
    "experts",
    "shared",
    "router",
    "index",
    "head",
    "embedding",
    "norm",
    "memory",
)

#: Bytes per weight element, scales included: block formats add their share of the scale.
BYTES: Mapping[str, float] = {
    "fp32": 4.0,
    "bf16": 2.0,
    "fp16": 2.0,
    "fp8": 1 + 4 / 128**2,  # e4m3, one fp32 scale a block of 128 x 128
    "fp8_block32": 1 + 4 / 32**2,  # e4m3, one fp32 scale a block of 32 x 32
    "mxfp8": 1 + 1 / 32,  # one e8m0 scale a group of 32
    "int8": 1 + 2 / 128,  # one bf16 scale a group of 128
    "fp6": 6 / 8 + 1 / 32,
    "mxfp4": 1 / 2 + 1 / 32,  # one e8m0 scale a group of 32
    "nvfp4": 1 / 2 + 1 / 16,  # one e4m3 scale a group of 16, one fp32 a tensor
    "fp4": 1 / 2 + 1 / 32,
    "int4": 1 / 2 + 2 / 32,  # one bf16 scale a group of 32
}

FOUR_BIT = frozenset({"mxfp4", "nvfp4", "fp4", "int4"})
EIGHT_BIT = frozenset({"fp8", "fp8_block32", "mxfp8", "int8"})
CHOICES = ("native", "bf16", "fp8", "fp4", "nvfp4", "mxfp4", "int4", "int8")

#: Groups that no choice quantises; the head only where the checkpoint itself says so.
_FULL = ("router", "embedding", "norm", "head")
_LINEAR = ("attention", "dense", "experts", "shared", "index")


def weight_formats(arch: Architecture, choice: str = "native") -> dict[str, str]:
    """Return weight group -> format for one choice of weight format.

    native: as the checkpoint stores it. bf16, fp8, int8, int4: all linears. fp4: routed experts and dense
    FFN in the model's own 4-bit format or nvfp4, attention and shared experts in fp8; nvfp4 and mxfp4
    likewise in that format. Embedding, head, norms and router stay in bf16.

    Raises:
        BadInput: an unknown choice.
    """
    if choice not in CHOICES:
        raise BadInput(f"Unknown weight format {choice!r}.", f"Choose one of {', '.join(CHOICES)}.")
    native = native_formats(arch)
    if choice == "native":
        return native
    found = native | dict.fromkeys(_FULL, "bf16")
    if choice in ("fp4", "nvfp4", "mxfp4"):
        own = native["experts"] if native["experts"] in FOUR_BIT else "nvfp4"
        four = own if choice == "fp4" else choice
        eight = {g: native[g] if native[g] in EIGHT_BIT else "fp8" for g in ("attention", "shared", "index")}
        return found | eight | {"experts": four, "dense": four}
    return found | dict.fromkeys(_LINEAR, choice)


def native_formats(arch: Architecture) -> dict[str, str]:
    """Return weight group -> format of the published checkpoint.

    Raises:
        BadInput: the architecture names a format that has no byte count.
    """
    stated = arch.formats
    found = {group: stated.get(group, stated["other"]) for group in _LINEAR}
    found |= {group: stated.get(group, "bf16") for group in _FULL}
    engram = arch.extra_memory is not None and arch.extra_memory.kind == "engram"
    found["memory"] = stated.get("memory", "mxfp8" if engram else "bf16")
    for group, name in found.items():
        if name not in BYTES:
            raise BadInput(
                f"Weights of {group} are in unknown format {name!r}.", f"Known: {', '.join(BYTES)}."
            )
    return found


def native_label(arch: Architecture) -> str:
    """Return the native formats in words: `fp8`, `mxfp4 experts, fp8 rest`."""
    native = native_formats(arch)
    experts, other = native["experts"], native["attention"]
    routed = any(hasattr(block, "n_routed") for block in arch.ffn.values())
    return f"{experts} experts, {other} rest" if routed and experts != other else other

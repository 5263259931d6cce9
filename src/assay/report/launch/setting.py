"""What a row asks of an engine: its pools of chips, its checkpoint, and the numbers behind the flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, sqrt
from pathlib import Path

from assay.catalogue.load import catalogue
from assay.catalogue.query import Catalogue
from assay.catalogue.schema import System
from assay.engine.models import model as read_model
from assay.engine.overheads import engine as engine_parameters
from assay.errors import BadInput
from assay.llm.architecture import Architecture
from assay.llm.blocks import Moe
from assay.llm.formats import CHOICES, FOUR_BIT, native_formats, native_label
from assay.llm.layout import Layout
from assay.report.launch import support
from assay.report.launch.arguments import Argument, argument, rule
from assay.report.launch.lengths import Longest, longest, room
from assay.report.launch.support import ENGINES, Subject, Verdict
from assay.study.answer import Row
from assay.study.question import Question

#: Formats that a choice of 4 bits stands for, by vendor, in the order in which checkpoints are looked for.
_FOUR = {"nvidia": ("nvfp4", "mxfp4"), "amd": ("mxfp4", "nvfp4")}
#: Names of formats that differ from the support table's.
_ALIAS = {"fp8_block32": "fp8", "mxfp8": "fp8", "fp16": "bf16", "fp4": "nvfp4"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The weights to load.

    Attributes:
        path: Hugging Face id or path.
        formats: formats of the weights, the experts' first.
        quantise: format the engine quantises to while loading, "" if the checkpoint has it.
        warning: what to do first, "" if nothing.
    """

    path: str
    formats: tuple[str, ...]
    quantise: str = ""
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Drafting:
    """Speculative decoding.

    Attributes:
        tokens: tokens drafted a step.
        model: draft model, "" for the model's own heads (MTP).
        source: where the draft model was found, "" if nowhere.
    """

    tokens: int
    model: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Pool:
    """Replicas of one layout that do the same work.

    Attributes:
        role: `serve`, or `prefill` and `decode` where they are apart.
        layout: how one replica is sharded.
        replicas: copies.
        system: where they run.
        kv: cache format.
        concurrency: requests in flight in one replica; None = nobody said.
        memory: bytes of a chip by term, as in `Row.memory`; empty = nobody said.
        drafting: speculative decoding, None = none.
        redundant: copies of experts a layer, 0 = none counted.
        open_loop: whether requests come at a rate, so that there are more of them at times.
    """

    role: str
    layout: Layout
    replicas: int
    system: System
    kv: str
    concurrency: float | None
    memory: Mapping[str, float]
    drafting: Drafting | None = None
    redundant: int = 0
    open_loop: bool = False

    @property
    def node_chips(self) -> int:
        """Chips of one replica on one node."""
        return min(self.layout.chips, self.system.node)

    @property
    def nodes(self) -> int:
        """Nodes of one replica."""
        return ceil(self.layout.chips / self.system.node)

    @property
    def rank_chips(self) -> int:
        """Chips of one attention group through all pipeline stages."""
        return self.layout.tp * self.layout.cp * self.layout.pp

    @property
    def groups_on_node(self) -> int:
        """Attention groups that fit one node whole; 0 if a group spans nodes."""
        return self.node_chips // self.rank_chips

    @property
    def sequences(self) -> int | None:
        """Sequences of one attention group, rounded up to a captured batch; None if nobody said.

        Requests that arrive at a rate are as many at once as a Poisson number of that mean mostly is.
        """
        if not self.concurrency:
            return None
        each = self.concurrency / self.layout.dp
        peak = each + (rule("poisson_deviations") * sqrt(each) if self.open_loop else 0.0)
        step = int(rule("sequence_step"))
        return max(ceil(peak / step), 1) * step

    @property
    def sequences_reason(self) -> str:
        """Why as many sequences are admitted."""
        peak = (
            f", and {rule('poisson_deviations'):g} deviations of a Poisson number" if self.open_loop else ""
        )
        return (
            f"{self.concurrency or 0:.0f} requests in flight over {self.layout.dp} attention group(s){peak}"
        )

    @property
    def ranks(self) -> int:
        """Devices that one chip is to software; engines count these."""
        return support.ranks(self.system.chip)[0]

    @property
    def far(self) -> bool:
        """Whether experts are spread over NICs, where the row lets two batches take turns."""
        return self.layout.ep > self.system.domain


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that the writers of files need.

    Attributes:
        row, question: what is launched.
        engine: engine that is started.
        model: catalogue name, "" for a model from a file.
        served: name that the API answers to.
        architecture: of the model.
        checkpoint: its weights.
        pools: one, or prefill and decode.
        verdict: what the support table says.
        longest: longest request that is served.
    """

    row: Row
    question: Question
    engine: str
    model: str
    served: str
    architecture: Architecture
    checkpoint: Checkpoint
    pools: tuple[Pool, ...]
    verdict: Verdict
    longest: Longest

    @property
    def disaggregated(self) -> bool:
        """Whether prefill and decode run apart."""
        return len(self.pools) > 1

    @property
    def context(self) -> int:
        """Longest request that is served, tokens."""
        return self.longest.tokens

    @property
    def experts(self) -> int:
        """Routed experts of a layer; 0 for a dense model."""
        return routed(self.architecture)

    def tokens(self, pool: Pool) -> int:
        """Return the most tokens of one step and attention group of a pool."""
        budget = int(engine_parameters(self.question.engine).budget)
        each = 1 + (pool.drafting.tokens if pool.drafting else 0)
        sequences = (pool.sequences or 0) * each
        return sequences or budget if pool.role == "decode" else max(budget, sequences)

    def share(self, pool: Pool) -> float:
        """Return the share of a chip's memory that the engine may use."""
        capacity = pool.memory.get("capacity", 0.0)
        if not capacity:
            return engine_parameters(self.question.engine).memory
        return floored(1.0 - pool.memory.get("reserved", 0.0) / capacity)

    def static_share(self, pool: Pool) -> float:
        """Return the share of a chip's memory for weights and cache together."""
        capacity = pool.memory.get("capacity", 0.0)
        if not capacity:
            return self.share(pool)
        return floored(self.share(pool) - pool.memory.get("activations", 0.0) / capacity)

    def free_share(self, pool: Pool) -> float:
        """Return the share of the memory left by the weights that the cache may take."""
        capacity, weights = pool.memory.get("capacity", 0.0), pool.memory.get("weights", 0.0)
        if capacity <= weights:
            return self.share(pool)
        return floored((self.static_share(pool) * capacity - weights) / (capacity - weights))


def floored(share: float) -> float:
    """Return a share with two digits, never more than it is."""
    return floor(share * 100 + 1e-6) / 100


def setting(
    row: Row, question: Question, engine: str, facts: Sequence[Path] = (), stated: int | None = None
) -> Setting:
    """Gather what the files of a row need.

    Args:
        row: the deployment.
        question: what was asked.
        engine: engine to start.
        facts: folders of the user's own facts.
        stated: longest request to serve, tokens; None = as the trace or workload has it.

    Raises:
        BadInput: an unknown engine.
        Unsupported: the engine is known not to run this.
    """
    if engine not in ENGINES:
        raise BadInput(f"No engine {engine!r}.", f"Known: {', '.join(ENGINES)}.")
    if row.deployment.experts is not None:
        raise support.shape(f"{engine}-afd")
    extra = tuple(facts)
    known = catalogue(extra)
    prepared, entry = read_model(question.model, extra)
    model = entry.name if entry else ""
    served = entry.hf_id if entry and entry.hf_id else prepared.name
    pools = pools_of(row, known, model, served, open_loop=question.rate is not None)
    if len(pools) > 1 and pools[-1].system.chip.kind == "dataflow":
        raise support.shape("dataflow-decode")
    architecture = prepared.architecture
    weights = checkpoint(architecture, row.deployment.weights, model, served, pools[-1].system, engine)
    found = [
        support.require(engine, Subject(model, weights.formats, pool.system.chip, pool.layout))
        for pool in pools
    ]
    if row.cache:
        question = replace(question, cached=float(row.cache["hit"]))
    _even(architecture, pools)
    own = pools[-1]
    left = room(row.memory, (own.concurrency or 0.0) / own.layout.dp, question.isl + question.osl / 2)
    end = longest(question, architecture.max_context or 0, stated=stated, room=left, facts=facts)
    return Setting(row, question, engine, model, served, architecture, weights, pools, found[-1], end)


def routed(architecture: Architecture) -> int:
    """Return the routed experts of a layer; 0 for a dense model."""
    return max((block.n_routed for block in architecture.ffn.values() if isinstance(block, Moe)), default=0)


def _even(architecture: Architecture, pools: Sequence[Pool]) -> None:
    """Refuse redundant experts that the devices of an expert group do not share evenly."""
    for pool in pools:
        if pool.redundant and (routed(architecture) + pool.redundant) % (pool.layout.ep * pool.ranks):
            raise support.shape("slots")


def pools_of(
    row: Row, known: Catalogue, model: str, served: str, *, open_loop: bool = False
) -> tuple[Pool, ...]:
    """Return the pools of a row: one, or prefill and decode where the deployment says so.

    Args:
        row: the deployment and its figures.
        known: where systems are looked up.
        model: catalogue name, "" for a model from a file.
        served: its Hugging Face id, or a name.
        open_loop: whether requests come at a rate.
    """
    deployment = row.deployment
    system = known.system(deployment.system)
    apart = deployment.prefill
    own = Pool(
        role="serve" if apart is None else "decode",
        layout=deployment.layout,
        replicas=deployment.replicas,
        system=system,
        kv=deployment.kv,
        concurrency=row.concurrency or None if apart is None else in_flight(row),
        memory=row.memory,
        drafting=drafting(deployment.speculation, model, served),
        redundant=deployment.redundant,
        open_loop=open_loop,
    )
    if apart is None:
        return (own,)
    place = known.system(deployment.prefill_system or deployment.system)
    first = Pool(  # with the drafter too: its cache is among those that are handed over
        "prefill", apart.layout, apart.replicas, place, deployment.kv, None, {},
        drafting=own.drafting, redundant=deployment.prefill_redundant,
    )  # fmt: skip
    return (first, own)


def in_flight(row: Row) -> float | None:
    """Return the requests in flight in one decode replica: tokens/s of all over tokens/s of one user."""
    names = ("output_tokens_per_s_per_chip", "output_tokens_per_s_per_user")
    if not all(name in row.figures for name in names):
        return None
    each, user = (float(row.figures[name].value) for name in names)
    return each * row.chips / user / row.deployment.replicas


def drafting(words: str, model: str, served: str) -> Drafting | None:
    """Read `MTP3` or `EAGLE2`; an EAGLE head is looked up in the support table."""
    digits = words.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    if not digits.isdigit() or not int(digits):
        return None
    if words.startswith("MTP"):
        return Drafting(int(digits))
    found = next((row for row in support.table()["drafts"] if row["model"] == model), None)
    if found:
        return Drafting(int(digits), str(found["id"]), str(found["source"]))
    return Drafting(int(digits), f"./{served.rsplit('/', maxsplit=1)[-1]}-EAGLE3")


def checkpoint(
    architecture: Architecture, weights: str, model: str, served: str, system: System, engine: str
) -> Checkpoint:
    """Return the weights to load for a choice of format.

    Args:
        architecture: of the model, whose own formats `native` means.
        weights: a choice (`fp8`, `fp4`), or the words of the native one.
        model: catalogue name, "" for a model from a file.
        served: its Hugging Face id, or a name.
        system: where it runs: 4-bit formats differ by vendor.
        engine: who loads it.
    """
    native = native_formats(architecture)
    own = tuple(dict.fromkeys(_ALIAS.get(native[key], native[key]) for key in ("experts", "attention")))
    wanted = _FOUR.get(system.chip.vendor, ("mxfp4", "nvfp4")) if weights == "fp4" else (weights,)
    same = weights in ("native", native_label(architecture)) or own[0] in wanted
    found = None if same else support.checkpoint(model, wanted)
    if weights not in CHOICES or same or (weights == "fp4" and own[0] in FOUR_BIT and not found):
        warning = "" if model else f"assay does not know where the weights of {served} are."
        return Checkpoint(served, own, warning=warning)
    if found:
        return Checkpoint(str(found["id"]), (str(found["format"]),))
    if weights == "fp8" and own == ("bf16",) and engine != "trtllm":
        return Checkpoint(served, ("fp8",), quantise="fp8")
    path = f"./{served.rsplit('/', maxsplit=1)[-1]}-{wanted[0].upper()}"
    text = f"assay knows no published {wanted[0]} checkpoint of {served}: quantise it first, into {path}."
    return Checkpoint(path, (wanted[0],), warning=text)


def model_arguments(engine: str, setting: Setting) -> list[Argument]:
    """Return what the model itself needs in an engine, from its published recipe."""
    rows, source = support.serve_arguments(engine, setting.model)
    return [argument(engine, flag, value, f"{why} ({source})") for flag, value, why in rows]

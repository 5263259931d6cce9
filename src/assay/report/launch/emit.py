"""`emit`: the files of a row for one target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from assay import __version__
from assay.catalogue.quality import quality_note
from assay.errors import BadInput, NotMet
from assay.report.launch import (
    dynamo,
    kserve,
    kubernetes,
    llmd,
    loadtest,
    sglang,
    support,
    tiers,
    trtllm,
    vllm,
)
from assay.report.launch.arguments import version
from assay.report.launch.files import Files, LaunchFile
from assay.report.launch.manifests import multi_node_nvlink
from assay.report.launch.setting import Pool, Setting, setting
from assay.report.launch.support import ENGINES
from assay.study.answer import Answer, Row
from assay.study.question import Question

TARGETS = ("vllm", "sglang", "trtllm", "dynamo", "lws", "kserve", "llm-d")
#: Targets that start an engine of their own choice -> those they can start, the usual one first.
STARTS: Mapping[str, tuple[str, ...]] = {
    "dynamo": ("vllm", "sglang", "trtllm"),
    "lws": ("vllm", "sglang", "trtllm"),
    "kserve": ("vllm",),
    "llm-d": ("vllm", "sglang"),
}
_REFUSED = {"kserve": "kserve-engine", "llm-d": "llm-d-engine"}
#: Where the load test finds the server.
_SERVERS = {"sglang": "http://localhost:30000"}


def emit(
    row: Row,
    question: Question,
    target: str,
    *,
    engine: str = "",
    facts: Sequence[Path] = (),
    stated: int | None = None,
) -> Files:
    """Return the files that would run a row.

    Args:
        row: the deployment and its predicted figures.
        question: what was asked: model, lengths, limits, rate.
        target: one of `TARGETS`.
        engine: engine that a cluster target starts; "" = the row's, else the target's usual one.
        facts: folders of the user's own facts.
        stated: longest request to serve, tokens; None = as the trace or workload has it.

    Raises:
        BadInput: an unknown target or engine, or an engine given twice.
        Unsupported: the engine is known not to run this, or cannot be told the layout; says what is nearest.
    """
    if target not in TARGETS:
        raise BadInput(f"No target {target!r}.", f"Choose one of {', '.join(TARGETS)}.")
    chosen = started(row, question, target, engine)
    made = setting(row, question, chosen, facts, stated)
    checks: Mapping[str, Callable[[Pool], None]] = {
        "vllm": vllm.check,
        "sglang": sglang.check,
        "trtllm": trtllm.check,
    }
    for pool in made.pools:
        checks[chosen](pool)
    head = heading(made, target)
    writers: Mapping[str, Callable[[Setting, Sequence[str]], list[LaunchFile]]] = {
        "dynamo": dynamo.files,
        "lws": kubernetes.files,
        "kserve": kserve.files,
        "llm-d": llmd.files,
    }
    found = writers[target](made, head) if target in writers else scripts(made, head)
    own = "" if made.disaggregated else _SERVERS.get(target)  # else a router answers, on port 8000
    server = own or "http://localhost:8000"
    test = loadtest.bash(made, heading(made, target, what="load test"), server)
    return Files(
        target=target,
        engine=chosen,
        files=(*found, LaunchFile("loadtest.sh", test)),
        status=made.verdict.status,
        warnings=tuple(warnings(made, target)),
    )


def best(
    answer: Answer, target: str, *, engine: str = "", facts: Sequence[Path] = (), stated: int | None = None
) -> Files:
    """Return the files of an answer's best row; arguments as of `emit`.

    Raises:
        NotMet: no row meets the limits.
        Unsupported: the best row cannot be launched; names the best one that can.
    """
    row = answer.best()
    if row is None:
        raise NotMet("No row meets the limits, so there is nothing to launch.", "Lift a limit.")
    try:
        return emit(row, answer.question, target, engine=engine, facts=facts, stated=stated)
    except support.Unsupported as error:
        for other in answer.rows[1:]:
            if other.fits and other.meets and _possible(other, answer.question, target, engine, facts):
                label = f"{other.deployment.system} {other.deployment.label()} {other.deployment.weights}"
                raise support.Unsupported(
                    error.message, f"{error.hint} The best row that {target} can launch: {label}."
                ) from None
        raise


def _possible(row: Row, question: Question, target: str, engine: str, facts: Sequence[Path]) -> bool:
    try:
        emit(row, question, target, engine=engine, facts=facts)
    except support.Unsupported:
        return False
    return True


def started(row: Row, question: Question, target: str, engine: str) -> str:
    """Return the engine that a target starts.

    Raises:
        BadInput: an unknown engine, or an engine's own target with another engine.
        Unsupported: the target cannot start that engine.
    """
    if engine and engine not in ENGINES:
        raise BadInput(f"No engine {engine!r}.", f"Known: {', '.join(ENGINES)}.")
    if target in ENGINES:
        if engine and engine != target:
            raise BadInput(f"Target {target} starts {target}, not {engine}.", "Leave --engine out.")
        return target
    usual = engine or row.deployment.engine or question.engine
    possible = STARTS[target]
    if usual in possible:
        return usual
    if usual in ENGINES:
        raise support.shape(_REFUSED[target])
    return possible[0]


def heading(made: Setting, target: str, *, what: str = "") -> list[str]:
    """Return the comment lines on top of every file."""
    row, question = made.row, made.question
    date = datetime.now(tz=UTC).date().isoformat()
    pools = " + ".join(
        f"{pool.replicas}x{pool.layout.label()}{'' if pool.role == 'serve' else ' ' + pool.role}"
        for pool in made.pools
    )
    weights = f"w {row.deployment.weights}, kv {row.deployment.kv}"
    lines = [
        f"{made.served} on {row.deployment.system_name}: {pools}, {weights}; {_chips(row.chips)}.",
        f"{question.isl} input and {question.osl} output tokens a request, "
        f"{row.concurrency:.0f} requests in flight in a {'deployment' if made.disaggregated else 'replica'}.",
        f"Written by assay {__version__} on {date} for {support.name(made.engine)} {version(made.engine)}"
        f"{'' if target == made.engine else f', target {target}'}{f' ({what})' if what else ''}.",
    ]
    return lines + [f"WARNING: {text}" for text in ([] if what else warnings(made, target))]


def warnings(made: Setting, target: str) -> list[str]:
    """Return what a reader must know before starting anything."""
    found = _cluster(made) if target in STARTS else []
    if made.checkpoint.warning:
        found.append(made.checkpoint.warning)
    note = quality_note(made.model, made.row.deployment.weights) if made.model else None
    if note:
        found.append(f"{note[0].upper()}{note[1:]}.")
    drafts = made.pools[-1].drafting
    if drafts and drafts.model and not drafts.source:
        found.append(f"assay knows no draft model for {made.served}: put one into {drafts.model}.")
    if drafts and drafts.source and made.engine != "vllm":
        found.append(
            f"{drafts.model} is named by a recipe of vLLM ({drafts.source}); whether "
            f"{support.name(made.engine)} loads it is not among assay's sources."
        )
    if drafts:
        found.append("The load test's prompts are random tokens; text is drafted better.")
    found += _gaps(made)
    verdict = made.verdict
    if verdict.status == "published":
        found += [f"{text}." for text in verdict.reasons[1:]]
    else:
        word = "Unknown" if verdict.status == "unknown" else "Untested"
        found.append(f"{word}: {'; '.join(verdict.reasons)}.")
    asked = made.row.deployment.engine or made.question.engine
    if asked and asked != made.engine:
        found.append(
            f"The figures were predicted for {support.name(asked)}, not for {support.name(made.engine)}."
        )
    if made.disaggregated and made.pools[0].system.id != made.pools[-1].system.id:
        found.append("Prefill and decode run on different chips: check that caches are laid out alike.")
    return found


def _cluster(made: Setting) -> list[str]:
    """Return what pods need that depends on the cluster."""
    found = []
    if made.disaggregated or any(networked(pool) for pool in made.pools):
        found.append(
            "Pods talk over the network: add your cluster's RDMA device and rights to their limits, which "
            "every cluster names in its own way; without them tokens and caches go over TCP."
        )
    wanted = dict.fromkeys(support.wants(pool.system.chip) for pool in made.pools)
    return found + [f"Pods also want {words}." for words in wanted if words]


def _gaps(made: Setting) -> list[str]:
    """Return where the files fall short of what the row counts."""
    found = []
    if made.longest.wanted:
        found.append(
            f"Requests of up to {made.longest.wanted:,} tokens were expected; {made.longest.tokens:,} fit."
        )
    caches = made.question.caches
    if caches is not None and caches.ssd and made.engine in ("vllm", "sglang"):
        found.append(
            f"{support.name(made.engine)} does not limit what it writes to {tiers.STORE}: give it a file "
            f"system of {caches.ssd / 1e12:.3g} TB a host."
        )
    turns = "The figures count two batches that take turns where experts are spread over NICs"
    if made.engine == "vllm" and any(pool.far and not vllm.overlapped(pool) for pool in made.pools):
        found.append(f"{turns}; vLLM does not do that with drafts, stages or context parallelism.")
    if made.engine == "trtllm" and any(pool.far for pool in made.pools):
        found.append(f"{turns}; TensorRT-LLM has no setting for that.")
    return found


def networked(pool: Pool) -> bool:
    """Return whether the nodes of a replica talk over NICs."""
    return pool.nodes > 1 and not multi_node_nvlink(pool)


def scripts(made: Setting, head: Sequence[str]) -> list[LaunchFile]:
    """Return the scripts of an engine's own target."""
    found = []
    for pool in made.pools:
        role = "" if pool.role == "serve" else f"-{pool.role}"
        lines = [*head, *_copies(made, pool)]
        shift = {"serve": 0, "prefill": 1, "decode": 2}[pool.role]
        if made.engine == "trtllm":
            config = f"trtllm{role}.yaml"
            found.append(LaunchFile(config, trtllm.yaml_text(trtllm.settings(made, pool), head)))
            text = trtllm.bash(made, pool, lines, config, port=trtllm.PORT + shift)
        elif made.engine == "sglang":
            text = sglang.bash(made, pool, lines)
        else:
            text = vllm.bash(made, pool, lines, port=vllm.PORT + shift)
        found.append(LaunchFile(f"serve{role}.sh", text))
    return found + (_routers(made, head) if made.disaggregated else [])


def _chips(count: int) -> str:
    return f"{count} chip{'s' if count > 1 else ''}"


def _copies(made: Setting, pool: Pool) -> list[str]:
    """Return how often a script is run, and where."""
    chips = _chips(pool.layout.chips)
    if pool.nodes > 1:
        each = f"One replica: {chips} on {pool.nodes} nodes"
        each += "; submit it once" if made.engine == "trtllm" else "; run this on each of them"
    else:
        each = f"One replica: {chips} of a node"
        if pool.layout.chips < pool.system.node:
            chosen = support.visible(pool.system.chip)
            each += f" with {pool.system.node}" + (f" (choose them with {chosen})" if chosen else "")
    if pool.replicas == 1:
        return [f"{each}."]
    own = "each on chips and, beside another on a node, with a PORT of its own"
    return [f"{each}. Run {pool.replicas} replicas, {own}, behind a router."]


def _routers(made: Setting, head: Sequence[str]) -> list[LaunchFile]:
    if made.engine == "vllm":
        return [LaunchFile("router.sh", vllm.router(made, head))]
    if made.engine == "sglang":
        return [LaunchFile("router.sh", sglang.router(made, head))]
    return [
        LaunchFile("servers.yaml", trtllm.servers(made, head)),
        LaunchFile("router.sh", trtllm.router("servers.yaml", head)),
    ]

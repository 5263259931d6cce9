"""Whether an engine runs a model on a chip in a format: what is published, what is reported impossible.

The table is `catalogue/data/engines/support.yaml`, every row with its source. What it does not hold is
unknown, and said to be unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from assay.catalogue.load import catalogue
from assay.catalogue.schema import Chip
from assay.errors import AssayError
from assay.llm.layout import Layout

ENGINES = ("vllm", "sglang", "trtllm")
_NAMES = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"}
#: Formats tried for a nearest choice, widest first.
_FORMATS = ("bf16", "fp8", "mxfp4", "nvfp4", "int4", "int8")
Entry = Mapping[str, Any]


class Unsupported(AssayError):
    """No engine, or not this one, runs what was asked; says why and what is nearest."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked up.

    Attributes:
        model: catalogue name, "" for a model from a file.
        formats: formats of the weights, the experts' first.
        chip: the chip.
        layout: how one replica is sharded.
    """

    model: str
    formats: tuple[str, ...]
    chip: Chip
    layout: Layout


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the table says about one engine.

    Attributes:
        engine: the engine.
        status: `no`, `unknown`, `possible` (all parts are there, no run is published) or `published`.
        reasons: sentences, each with its source.
        instead: what the source recommends in its place, "" if nothing.
        image: container image of the engine for this chip, "" if unpublished.
    """

    engine: str
    status: str
    reasons: tuple[str, ...]
    instead: str = ""
    image: str = ""


@lru_cache(maxsize=1)
def table() -> Entry:
    """Return the support table."""
    content: Entry = catalogue().table("engines/support")
    return content


def name(engine: str) -> str:
    """Return an engine's name as its makers write it."""
    return _NAMES.get(engine, engine)


def shape(ident: str) -> Unsupported:
    """Return the refusal of a layout or target that cannot be expressed, by its id in the table."""
    entry = table()["shapes"][ident]
    return Unsupported(f"{entry['reason']} ({entry['source']}).", f"Use {entry['instead']}.")


def verdict(engine: str, subject: Subject) -> Verdict:
    """Look one engine up for a model, its formats, a chip and a layout."""
    chip = _chip(engine, subject.chip)
    image = str(chip["image"]) if chip and chip.get("image") else ""
    refused = list(_refusals(engine, subject, chip))
    if refused:
        reasons, instead = tuple(text for text, _ in refused), next((i for _, i in refused if i), "")
        return Verdict(engine, "no", reasons, instead, image)
    run = _published(engine, subject)
    known = [
        _known(chip is not None, f"{name(engine)} on {subject.chip.name}"),
        *(
            _known(_format(engine, item, subject.chip) is not None, f"{item} weights on this chip")
            for item in subject.formats
        ),
        _known(_registered(engine, subject.model) is not None, f"the model's class in {name(engine)}"),
    ]
    missing = tuple(text for text in known if text)
    notes = tuple(_notes(engine, subject, chip))
    if run:
        since = f" since {run['since']}" if run.get("since") else ""
        detail = f": {run['note']}" if run.get("note") else ""
        return Verdict(engine, "published", (f"{_said(run)}{since}{detail}", *notes), "", image)
    if missing:
        return Verdict(engine, "unknown", (*missing, *notes), "", image)
    where = f"{subject.model or 'the model'} on {subject.chip.name} with {name(engine)}"
    return Verdict(engine, "possible", (f"no run of {where} is among assay's sources", *notes), "", image)


def require(engine: str, subject: Subject) -> Verdict:
    """Return the verdict, or refuse with the nearest supported choice.

    Raises:
        Unsupported: the combination is known not to work.
    """
    found = verdict(engine, subject)
    if found.status != "no":
        return found
    where = f"{subject.model or 'this model'} in {subject.formats[0]} on {subject.chip.name}"
    others = [verdict(other, subject) for other in ENGINES if other != engine]
    possible = [item.engine for item in others if item.status != "no"]
    if not possible and not found.instead and _chip_refused(subject):
        raise Unsupported(f"No engine supports {where}: {'; '.join(found.reasons)}.", _elsewhere(subject))
    hint = nearest(found, possible, subject)
    raise Unsupported(f"{name(engine)} does not run {where}: {'; '.join(found.reasons)}.", hint)


def nearest(found: Verdict, possible: Sequence[str], subject: Subject) -> str:
    """Return the nearest choice: the source's own, another engine, another format, another chip."""
    if found.instead:
        return f"Use {found.instead}."
    if possible:
        return f"Nearest: {' or '.join(name(item) for item in possible)} (--engine {possible[0]})."
    for item in _FORMATS:
        other = Subject(subject.model, (item,), subject.chip, subject.layout)
        if item not in subject.formats and verdict(found.engine, other).status in ("published", "possible"):
            return f"Nearest: --weights {'fp4' if item in ('nvfp4', 'mxfp4') else item}."
    return _elsewhere(subject)


def _elsewhere(subject: Subject) -> str:
    """Return a sentence that names the chips on which somebody runs the model."""
    runs = [row for row in table()["models"] if row["model"] == subject.model]
    chips = sorted({chip for row in runs for chip in row.get("on", ())})
    if not chips:
        return "No published run of this model is among assay's sources; `assay list systems` shows chips."
    engines = sorted({name(str(row["engine"])) for row in runs})
    return f"Published runs: {', '.join(chips)} with {', '.join(engines)}."


def serve_arguments(engine: str, model: str) -> tuple[Sequence[Sequence[str]], str]:
    """Return what a model needs to be served, `[flag, value, why]`, and the source; empty if unknown."""
    for row in table()["serve"]:
        if row["engine"] == engine and model in row["models"]:
            return row["arguments"], str(row["source"])
    return (), ""


def checkpoint(model: str, formats: Sequence[str]) -> Entry | None:
    """Return the published checkpoint of a model in the first of these formats that has one."""
    for item in formats:
        for row in table()["checkpoints"]:
            if row["model"] == model and row["format"] == item:
                found: Entry = row
                return found
    return None


def limits(chip: Chip, chips: int) -> dict[str, str]:
    """Return the resources of a Kubernetes pod with so many chips.

    Raises:
        Unsupported: no device plugin of its maker is in the table.
    """
    for row in table()["devices"]:
        if chip.vendor in row["vendors"] and chip.generation in row.get("chips", (chip.generation,)):
            each = ranks(chip)[0] if row.get("counts") == "ranks" else 1
            return {str(row["resource"]): str(chips * each)}
    raise Unsupported(f"No Kubernetes device plugin for {chip.name} is in the table.", "Use --target vllm.")


def ranks(chip: Chip) -> tuple[int, str]:
    """Return the devices that one chip is to software, and their words: 1 and "" where nothing is said."""
    for row in table()["ranks"]:
        if chip.generation in row["chips"]:
            return int(row["ranks"]), f"{row['ranks']} {row['words']} a chip ({row['source']})"
    return 1, ""


def prompt_split(model: str) -> tuple[str, str]:
    """Return how SGLang cuts a model's prompts for context parallelism, and the source."""
    rows = table()["prompt_splits"]
    found = next((row for row in rows if model in row.get("models", ())), rows[0])
    return str(found["strategy"]), str(found["source"])


def environment(engine: str, chip: Chip) -> list[dict[str, str]]:
    """Return variables that an engine needs on a chip, each `{name, value, why}`."""
    rows = [
        row for row in table()["environment"] if row["engine"] == engine and chip.generation in row["chips"]
    ]
    return [{key: str(row[key]) for key in ("name", "value", "why")} for row in rows]


def visible(chip: Chip) -> str:
    """Return the variable that chooses chips of a node, "" if its maker's is not in the table."""
    return _device(chip, "visible")


def wants(chip: Chip) -> str:
    """Return what else a pod with a chip needs that depends on the cluster, "" if nothing is known."""
    return _device(chip, "wants")


def _device(chip: Chip, key: str) -> str:
    return next((str(row.get(key, "")) for row in table()["devices"] if chip.vendor in row["vendors"]), "")


def product(chip: Chip) -> str:
    """Return the value of the node label nvidia.com/gpu.product that recipes use for a chip, "" if none."""
    return next((str(row["label"]) for row in table()["products"] if row["chip"] == chip.id), "")


def _refusals(engine: str, subject: Subject, chip: Entry | None) -> Iterator[tuple[str, str]]:
    """Yield (why it does not work, what to do instead) of every row that says no."""
    if chip and chip["status"] == "no":
        yield f"{_said(chip)}, {chip['note']}", ""
    if chip and chip.get("own_flags"):
        yield f"{_said(chip)}, {chip['note']}: assay does not know its flags", ""
    for item in subject.formats:
        row = _format(engine, item, subject.chip)
        if row and row["status"] == "no":
            note = f" ({row['note']})" if row.get("note") else ""
            yield f"{_said(row)}: no {item} on {subject.chip.generation}{note}", ""
    for row in table()["limits"]:
        if row["engine"] == engine and _limited(row, subject):
            yield f"{_said(row)}: {row['reason']}", str(row.get("instead", ""))


def _limited(row: Entry, subject: Subject) -> bool:
    """Return whether every condition that a limit states is met."""
    layout = subject.layout
    return (
        row["model"] == subject.model
        and (not row.get("on") or subject.chip.id in row["on"])
        and (not row.get("format") or row["format"] in subject.formats)
        and layout.tp > row.get("tp_over", 0)
        and layout.ep > row.get("ep_over", 0)
        and layout.ep < row.get("ep_under", layout.ep + 1)
    )


def _notes(engine: str, subject: Subject, chip: Entry | None) -> Iterator[str]:
    """Yield what works in another way than a reader would think."""
    if chip and chip["status"] == "plugin":
        yield (
            f"{name(engine)} runs on {subject.chip.name} through {chip['note']} ({chip['source']}), "
            "with which the flags were not compared"
        )
    for item in subject.formats:
        row = _format(engine, item, subject.chip)
        if row and row["status"] in ("weight-only", "emulated"):
            how = {"weight-only": "stored only: computed in 16 bits", "emulated": "emulated, and slow"}
            yield f"{item} is {how[row['status']]} on {subject.chip.generation} ({row['source']})"
    if _registered(engine, subject.model) is False:
        version = table()["registries"][engine]["version"]
        yield f"{name(engine)} {version} does not register the model's class; it may not load"


def _published(engine: str, subject: Subject) -> Entry | None:
    for row in table()["models"]:
        if row["model"] != subject.model or row["engine"] != engine or row["format"] not in subject.formats:
            continue
        if subject.chip.id in row.get("on", ()) or subject.chip.generation in row.get("chips", ()):
            found: Entry = row
            return found
    return None


def _chip(engine: str, chip: Chip) -> Entry | None:
    return _first("chips", engine, chip, {})


def _format(engine: str, item: str, chip: Chip) -> Entry | None:
    return _first("formats", engine, chip, {"format": item})


def _first(part: str, engine: str, chip: Chip, also: Mapping[str, str]) -> Entry | None:
    for row in table()[part]:
        others = row.get("makers_other_than")
        here = chip.generation in row["chips"] or (others is not None and chip.vendor not in others)
        if row["engine"] == engine and here and all(row[key] == value for key, value in also.items()):
            found: Entry = row
            return found
    return None


def _registered(engine: str, model: str) -> bool | None:
    """Return whether the engine registers the model's class; None if nobody looked."""
    for entry in table()["classes"].values():
        if model in entry["models"]:
            listed = entry.get(engine)
            return None if listed is None else bool(listed)
    return None


def _chip_refused(subject: Subject) -> bool:
    """Return whether every engine leaves this chip out."""
    found = [_chip(engine, subject.chip) for engine in ENGINES]
    return all(row is not None and row["status"] == "no" for row in found)


def _known(there: bool, what: str) -> str:
    return "" if there else f"nothing is published about {what}"


def _said(row: Entry) -> str:
    return f"{row['source']} ({row['date']})"

"""`assay claims`: what holds of published claims, and when."""

from __future__ import annotations

import sys
from pathlib import Path

from assay.catalogue.load import catalogue
from assay.claims.check import Assessment, assess_all
from assay.claims.claim import Claim
from assay.claims.factor import Bench
from assay.claims.reading import claims as known_claims
from assay.claims.reading import find, load
from assay.cli.flags import Facts, Name
from assay.cli.progress import progress
from assay.errors import BadInput

#: Version of the JSON that `assay claims --json` writes.
SCHEMA = "assay-claims-1"


def claims(
    which: Name | None = None,
    /,
    *,
    facts: Facts = (),
    json: bool = False,
    html: Name | None = None,
    card: Name | None = None,
) -> int:
    """Check published claims: all of them, one by its id, or those of a YAML file of yours.

    Args:
        which: id of a claim, or a YAML file; all without it.
        facts: folder of your own facts and claims; may be repeated.
        json: write verdicts, regions, ledgers and evidence as JSON.
        html: write one self-contained page into this file.
        card: write the picture of one claim (SVG) into this file.
    """
    bench = Bench(catalogue(facts))
    chosen = _chosen(which, bench)
    if card is not None and len(chosen) != 1:
        raise BadInput("--card draws one claim.", "Name it: assay claims rubin-10x-cost --card card.svg.")
    split = json or html is not None or len(chosen) == 1
    with progress() as report:
        found = assess_all(chosen, bench, split=split, progress=report)
    _files(found, bench, html, card)
    if json:
        from assay.report.export import write_json

        body = {"schema": SCHEMA, "catalogue": bench.facts.hash, "claims": [item.json() for item in found]}
        write_json(body, sys.stdout)
        return 0
    from assay.report.claims import page, table
    from assay.report.terminal import put, terminal

    if len(found) == 1:
        put(page(found[0], bench.facts, terminal().width))
    else:
        put(table(found, terminal().width))
    return 0


def _chosen(which: str | None, bench: Bench) -> tuple[Claim, ...]:
    if which is None:
        return tuple(known_claims(bench.facts).values())
    if which.endswith((".yaml", ".yml")) or Path(which).is_file():
        return load(Path(which))
    return (find(bench.facts, which),)


def _files(found: tuple[Assessment, ...], bench: Bench, html: str | None, card: str | None) -> None:
    if html is not None:
        from assay.report.claim_html import html as written

        Path(html).write_text(written(found, bench.facts), encoding="utf-8")
    if card is not None:
        from assay.report.claim_card import card as drawn

        Path(card).write_text(drawn(found[0]), encoding="utf-8")

"""Keep the generated parts of README.md true.

    python scripts/readme.py --check      exit 1 if the file tree is not the real one
    python scripts/readme.py --write      write the file tree
    python scripts/readme.py --picture    draw docs/assets/plan.svg from `assay plan kimi-k2`

A part stands between `<!-- name -->` and `<!-- /name -->`. `assay validate` writes the part `accuracy`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from source_tree import ROOT, SOURCE, modules

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "assets" / "plan.svg"
COLUMNS = 100

#: What stands in the folders of src/assay/catalogue/data.
DATA = {
    "calibrations": "efficiency curves and engine parameters, each fit with its evidence",
    "chips": "one file a chip: peaks, memory, links, power",
    "claims": "published claims: what was said of whom, under which conditions",
    "defaults": "what is assumed of a chip that comes without a system",
    "engines": "serving engines: what they support, when",
    "grids": "greenhouse gases of a grid's electricity, by country",
    "latency": "published latencies of links, collectives and launches",
    "market": "deals, power and money that claims refer to",
    "measurements": "published serving points",
    "models": "one file a model family: architectures and published figures",
    "prices": "dated prices: own, contract, list, spot",
    "quality": "published scores of models in narrower formats",
    "sources": "every publication, once",
    "systems": "one file a system: chips, scale-up domain, topology",
    "workloads": "named request lengths and objectives",
}


def tree() -> str:
    """Return the file tree of src/assay, one line a file, as a fenced block.

    Raises:
        KeyError: a data folder that `DATA` does not describe.
    """
    lines = ["src/assay/"]
    for module in modules():
        parts = module.path.relative_to(SOURCE).parts
        if parts[-1] == "__init__.py" and len(parts) > 1:
            lines.append(_line(len(parts) - 1, f"{parts[-2]}/", module.sentence))
        else:
            lines.append(_line(len(parts), parts[-1], module.sentence))
        if module.name == "assay.catalogue":
            lines += _data()
    return "\n".join(["```text", *lines, "```"])


def _data() -> list[str]:
    folder = SOURCE / "catalogue" / "data"
    names = [
        (path.stem, f"{path.name}/" if path.is_dir() else path.name) for path in sorted(folder.iterdir())
    ]
    return [_line(2, "data/", "the facts themselves"), *(_line(3, name, DATA[stem]) for stem, name in names)]


def _line(depth: int, name: str, sentence: str) -> str:
    return f"{'  ' * depth + name:<28}{sentence}"


def with_section(text: str, name: str, body: str) -> str:
    """Return the page with the part between its markers replaced.

    Raises:
        ValueError: the page has no such markers.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no <!-- {name} --> ... <!-- /{name} --> in the page")
    return pattern.sub(lambda found: f"{found[1]}{body}\n{found[2]}", text)


def draw() -> None:
    """Run `assay plan kimi-k2` as in a terminal and save what it shows as an SVG without web fonts."""
    from rich.console import Console
    from rich.text import Text

    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "assay", "plan", "kimi-k2"]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(
            record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor"
        )
        console.print(Text.from_ansi(output.rstrip()))
        svg = console.export_svg(title="assay plan kimi-k2", unique_id="assay")
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(svg, encoding="utf-8")


def main() -> int:
    """Check, write or draw; return the exit code."""
    parser = argparse.ArgumentParser(description="Keep the generated parts of README.md true.")
    action = parser.add_mutually_exclusive_group(required=True)
    for name in ("check", "write", "picture"):
        action.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    if options.picture:
        draw()
        return 0
    old = README.read_text(encoding="utf-8")
    new = with_section(old, "tree", tree())
    if options.write:
        README.write_text(new, encoding="utf-8")
    elif new != old:
        print(
            "README.md: the file tree is not the real one; run `python scripts/readme.py --write`",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

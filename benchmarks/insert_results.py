"""Put the recorded tables of `benchmarks/results/` into `docs/performance.md` and `docs/claims.md`.

    python benchmarks/insert_results.py

A page has `<!-- result NAME -->` and `<!-- end -->`; what stands between them is replaced by the table of
`benchmarks/results/NAME.json` with its command, commit and machine. A test checks that the pages are up to date.
"""

from __future__ import annotations

import json
import re

from record import RESULTS, ROOT, table

PAGES = (ROOT / "docs" / "performance.md", ROOT / "docs" / "claims.md")
MARKED = re.compile(r"(<!-- result (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rendered(name: str) -> str:
    """Return the table of a result with the line that says where it is from."""
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return f"*Not recorded: `benchmarks/results/{name}.json` does not exist.*\n"
    result = json.loads(path.read_text(encoding="utf-8"))
    rows = result["table"]
    header = list(rows[0])
    where = result["environment"]
    versions = where["versions"]
    origin = (
        f"`{result['command']}`, commit {result['commit']}, {result['created'][:10]}, {where['cpu']}, "
        f"{where['cores']} cores, torch {versions['torch']}, ONNX Runtime {versions['onnxruntime']}."
    )
    return f"\n{table(header, [list(row.values()) for row in rows])}\n\n{origin}\n"


def inserted(page: str) -> str:
    """Return the page with every marked place filled in."""
    return MARKED.sub(lambda found: f"{found[1]}{rendered(found['name'])}{found[3]}", page)


def main() -> None:
    """Rewrite the pages."""
    for page in PAGES:
        page.write_text(inserted(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Tables of the documentation that benchmarks write, between marks in the Markdown."""

from pathlib import Path

from hmic_keras._files import write_text


def between(document: Path, mark: str, text: str) -> str:
    """Returns a document's text with `text` between `<!-- mark: start -->` and `end`."""
    start, end = f"<!-- {mark}: start -->", f"<!-- {mark}: end -->"
    before, rest = document.read_text("utf-8").split(start)
    _, after = rest.split(end)
    return f"{before}{start}\n{text}\n{end}{after}"


def put(document: Path, mark: str, text: str) -> None:
    """Writes it there."""
    write_text(document, between(document, mark, text))


def table(rows: list[list[str]]) -> str:
    """Returns rows, the first of them the header, as a Markdown table; numbers to the right."""
    head, *body = rows
    first, *others = range(len(head))
    lines = [head, ["---" if column == first else "---:" for column in (first, *others)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

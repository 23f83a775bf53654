"""The README and the documentation: their Python runs as it stands, their links lead somewhere, the site builds."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
PYTHON = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)


def blocks_of(page: Path) -> list[str]:
    return PYTHON.findall(page.read_text(encoding="utf-8"))


def run_python_of(page: Path) -> dict[str, object]:
    """The names that the page's blocks leave behind, run one after the other."""
    names: dict[str, object] = {}
    for block in blocks_of(page):
        exec(compile(block, page.name, "exec"), names)
    return names


@pytest.mark.slow
def test_python_of_the_readme_finds_a_circuit_and_writes_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_python_of(README)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    assert all("@" in line for line in printed)
    assert (tmp_path / "circuit.html").stat().st_size > 100_000


def test_the_readme_is_two_screens_with_at_most_ten_lines_of_python() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 80
    (block,) = blocks_of(README)
    assert len(block.strip().splitlines()) <= 10


@pytest.mark.parametrize("page", [p for p in PAGES if blocks_of(p) and p.stem != "get_started"], ids=lambda p: p.stem)
def test_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_python_of(page)


def test_get_started_has_the_python_of_the_readme() -> None:
    def code(page: Path) -> list[str]:
        lines = (line.partition("#")[0].strip() for line in "\n".join(blocks_of(page)).splitlines())
        return [line for line in lines if line]

    assert code(ROOT / "docs" / "get_started.md") == code(README)


def test_local_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_site_builds_without_a_warning_documents_every_public_name_and_refers_to_nothing_outside(
    tmp_path: Path,
) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={"PATH": "", "NO_MKDOCS_2_WARNING": "1", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "site" / "api" / "circuits.html").read_text(encoding="utf-8")
    assert 'id="circuits.discover"' in page
    assert (tmp_path / "site" / "notebooks" / "01_first_circuit.html").stat().st_size > 10_000

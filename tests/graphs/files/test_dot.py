"""DOT: every node and edge once, in its site's cluster, and hostile text stays inside its quotes."""

import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings

from graphs import CircuitGraph, FeatureLabel, Labels, Position
from graphs.files.dot import write_dot
from tests.graphs.test_circuit_graph import CIRCUIT, FEATURE, MLP, weighted
from tests.worlds.generated_circuits import HOSTILE, circuits

STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def lines(circuit: CircuitGraph, folder: Path, labels: Labels | None = None) -> list[str]:
    write_dot(circuit, folder / "c.dot", labels=labels)
    return (folder / "c.dot").read_text(encoding="utf-8").splitlines()


def test_every_node_and_edge_is_there_with_its_sign(tmp_path: Path) -> None:
    text = lines(CIRCUIT, tmp_path)
    nodes = [line for line in text if re.match(r"\s+n\d+ \[label", line)]
    edges = [line for line in text if re.match(r"\s+n\d+ -> n\d+ \[value", line)]
    assert (len(nodes), len(edges)) == (len(CIRCUIT.nodes), len(CIRCUIT.edges))
    assert sum('color="#762a83"' in line and "fontcolor" not in line for line in edges) == 1
    assert f'value="{-1 / 3!r}", color="#762a83"' in next(line for line in edges if "n1 -> n2" in line)
    start = text.index("  subgraph cluster_0 {")
    assert text[start + 1].startswith('    label="L0 mlp_out"')
    assert 'effect="-0.25"' in text[start + 2]


def test_flagged_nodes_have_a_red_rim_and_features_their_label(tmp_path: Path) -> None:
    label = FeatureLabel(MLP, 7, "plural subject", "yours", (), None, None, 0.5, None)
    flagged = replace(weighted(FEATURE, -0.25), flags={"sign_flip": 1})
    circuit = replace(CIRCUIT, nodes=(CIRCUIT.nodes[0], flagged, *CIRCUIT.nodes[2:]))
    text = lines(circuit, tmp_path, Labels((label,), "none", 0))
    assert sum('color="#d62728"' in line for line in text) == 1
    assert sum("plural subject" in line for line in text) == 1


def test_hostile_text_stays_inside_its_quotes(tmp_path: Path) -> None:
    label = FeatureLabel(MLP, 7, HOSTILE * 50, "yours", (), None, None, 0.5, None)
    circuit = replace(CIRCUIT, positions=(Position("noun", HOSTILE, HOSTILE), CIRCUIT.positions[1]))
    for line in lines(circuit, tmp_path, Labels((label,), "none", 0)):
        outside = STRING.sub("", line)
        assert '"' not in outside
        assert "<" not in outside
        assert line.isprintable() or "\u202e" in line


@given(circuit=circuits())
@settings(max_examples=20, deadline=None)
def test_any_circuit_can_be_written(circuit: CircuitGraph) -> None:
    with TemporaryDirectory() as folder:
        text = lines(circuit, Path(folder))
    assert sum(" -> " in STRING.sub("", line) for line in text) == len(circuit.edges)

"""Generated circuits have exactly the size asked for; a size that cannot be is an error that says what can."""

import pytest

from benchmarks.generated_circuit import generated_circuit


@pytest.mark.parametrize(("nodes", "edges"), [(21, 10), (60, 200)])
def test_a_generated_circuit_has_exactly_the_nodes_and_edges_asked_for(nodes: int, edges: int) -> None:
    circuit, _ = generated_circuit(nodes, edges)
    assert (len(circuit.nodes), len(circuit.edges)) == (nodes, edges)


def test_as_many_edges_as_can_exist_are_made_and_one_more_is_refused() -> None:
    with pytest.raises(ValueError, match=r"can have 20 edges, not 21\. Ask for at most 20 edges, or for more nodes"):
        generated_circuit(21, 21)
    assert len(generated_circuit(21, 20)[0].edges) == 20


def test_fewer_nodes_than_tokens_and_the_metric_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 21 nodes; got 20"):
        generated_circuit(20, 40)

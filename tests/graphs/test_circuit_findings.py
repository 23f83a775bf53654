"""Flagged nodes of examples are joined with a circuit's by the names of positions, or there is a reason why not."""

from dataclasses import replace

from graphs import CrossedGate, ErrorNode, FeatureNode, NodeVerdict, TokenNode, findings, no_findings_because
from graphs.circuit_findings import flagged_in
from graphs.page.payload import findings_shown
from tests.graphs.test_circuit_graph import CIRCUIT, ERROR, FEATURE, LATER, MLP, POST
from tests.worlds.synthetic_verdicts import trace, verdict

NAMES = (("bos", "noun", "verb"), ("noun", "bos", "far", "verb"))


def flagged(node: FeatureNode | ErrorNode | TokenNode, example: int, error: float) -> NodeVerdict:
    return NodeVerdict(node, example, 1 + error, 1.0, "wrong_size")


SMALL, LARGE = flagged(FeatureNode(MLP, 1, 7), 0, 2.0), flagged(FeatureNode(MLP, 0, 7), 1, -3.0)
AT_VERB = flagged(ErrorNode(POST, 3), 1, 5.0)
ELSEWHERE = (
    flagged(FeatureNode(MLP, 0, 7), 0, 9.0),  # its position there is called bos
    flagged(FeatureNode(MLP, 3, 7), 1, 9.0),  # the feature, but at the verb
    flagged(FeatureNode(MLP, 1, 8), 0, 9.0),  # another feature
    flagged(FeatureNode(POST, 2, 3), 1, 9.0),  # a name that the circuit does not have
)
VERDICT = replace(
    verdict(nodes=1, wrong=1), flagged=(SMALL, *ELSEWHERE, LARGE, AT_VERB), traces=(trace(LARGE),), names=NAMES
)


def test_findings_are_of_the_node_at_the_position_of_that_name_largest_error_first() -> None:
    found = findings(CIRCUIT, VERDICT)
    assert set(found) == {CIRCUIT.name(FEATURE), CIRCUIT.name(ERROR)}
    assert [f.verdict for f in found[CIRCUIT.name(FEATURE)]] == [LARGE, SMALL]
    assert [(f.example, f.trace) for f in found[CIRCUIT.name(FEATURE)]] == [(1, trace(LARGE)), (0, None)]
    assert [f.verdict for f in found[CIRCUIT.name(ERROR)]] == [AT_VERB]
    assert no_findings_because(CIRCUIT, VERDICT) is None


def test_a_flagged_node_outside_the_circuit_is_still_named_as_in_all_examples() -> None:
    """The feature of which the circuit has another position stands there under its own name."""
    found = [node for node, _ in flagged_in(CIRCUIT.positions, VERDICT)]
    assert FeatureNode(MLP, 1, 7) in found
    assert found.count(FEATURE) == 2
    assert LATER not in found


def test_no_findings_have_a_reason() -> None:
    reasons = {
        "no node was flagged": replace(VERDICT, flagged=()),
        "does not name the positions": replace(VERDICT, names=()),
        "made on other prompts": replace(VERDICT, names=(("-3", "-2", "-1"), ("-4", "-3", "-2", "-1"))),
        "none of the 4 flagged nodes is in the circuit": replace(VERDICT, flagged=ELSEWHERE),
    }
    for reason, none in reasons.items():
        assert findings(CIRCUIT, none) == {}
        assert reason in str(no_findings_because(CIRCUIT, none))


def test_the_page_shows_a_traced_example_first_and_gates_under_their_names_in_circuits() -> None:
    gates = (CrossedGate(POST, 1, 3, True, 0.4, -0.5),)
    many = tuple(flagged(FeatureNode(MLP, 1, 7), 0, error) for error in (9.0, 8.0, 7.0, 6.0))
    traced = replace(LARGE, gates=gates, parts={"jump": -2.0, "interaction": -1.0})
    shown = findings_shown(CIRCUIT, replace(VERDICT, flagged=(*many, traced)))[CIRCUIT.name(FEATURE)]
    assert [(f["example"], f["estimate"]) for f in shown] == [(1, -2.0), (0, 10.0), (0, 9.0)]
    assert shown[0]["gates"] == [{"name": f"{POST}/3@bos", "opened": True, "alpha": 0.4, "size": -0.5}]
    assert (shown[0]["cause"], shown[0]["flag"], shown[0]["estimate_name"]) == ("jump", "wrong_size", "IG (10 points)")
    assert set(shown[0]["trace"]) == {"alpha", "metric", "slope", "margins"}
    assert shown[1]["trace"] is None
    assert findings_shown(CIRCUIT, None) == {}

"""The page's data: the circuit's numbers, NaN where there is none."""

import numpy as np
import pytest

from benchmarks.generated_circuit import generated_circuit
from graphs.page.circuit_columns import KINDS
from graphs.page.payload import payload
from tests.graphs.page.page_circuits import EFFECTS, MIDDLE, MLP, NOUN, labels_saying, small_circuit


def test_the_payload_holds_the_circuits_numbers() -> None:
    circuit = small_circuit()
    header, columns = payload(circuit, title="t", labels=None)
    assert columns["effect"].tolist() == [np.float32(w.effect) for w in circuit.nodes]
    assert [KINDS[k] for k in columns["kind"]] == [w.node.kind for w in circuit.nodes]
    names = [w.node for w in circuit.nodes]
    sources = np.repeat(np.arange(len(names)), columns["edges leaving"])
    ends = np.cumsum(columns["edge step"].astype(int))
    before = np.concatenate([[0], ends])[np.searchsorted(sources, sources)]
    found = {
        (names[s], names[t]): w for s, t, w in zip(sources, ends - before, columns["edge weight"].tolist(), strict=True)
    }
    assert found == pytest.approx({(e.source, e.target): e.weight for e in circuit.edges}, rel=2**-12)
    assert header["measurement"]["total_effect"] == -2.0
    assert header["sites"][1] == {"name": "blocks.1.hook_attn_out", "layer": 1, "part": "attn"}


def test_what_was_not_measured_is_nan_in_the_payload() -> None:
    circuit = small_circuit()
    _, columns = payload(circuit, title="t", labels=None)
    assert np.isnan(columns["standard_error"]).all()
    assert np.isnan(columns["patch"]).all()
    missing = [not w.estimates.get("atp") for w in circuit.nodes]
    assert np.isnan(columns["estimate atp"]).tolist() == missing
    assert np.isnan(columns["edge error"]).sum() == sum(e.standard_error is None for e in circuit.edges) == 1


def test_the_payload_flags_the_node_whose_estimate_has_the_wrong_sign() -> None:
    header, _ = payload(small_circuit(), title="t", labels=None)
    place = list(EFFECTS).index(MIDDLE)
    flags = {method["key"]: method["flags"] for method in header["methods"]}
    assert flags == {"effect": {}, "atp": {}, "ig": {place: "sign_flip"}}


def test_labels_of_the_circuits_features_are_in_the_payload_with_the_marked_token() -> None:
    tokens = tuple(f"t{n} " for n in range(60))
    label = labels_saying("a noun", tokens)
    header, columns = payload(small_circuit(), title="t", labels=label)
    assert list(header["labels"]) == [f"{MLP}/{NOUN.index}"]
    length, place, activation = header["labels"][f"{MLP}/7"]["contexts"][0]
    shown = [header["tokens"][number] for number in columns["context token"]]
    assert (length, place, activation) == (14, 1, 2.5)
    assert shown == list(tokens[:14])


def test_many_features_show_less_of_each() -> None:
    circuit, labels = generated_circuit(800, 900)
    header, columns = payload(circuit, title="t", labels=labels)
    contexts = [context for label in header["labels"].values() for context in label["contexts"]]
    assert len(header["labels"]) == len(labels)
    assert len(contexts) == 3 * len(labels)
    assert {length for length, _, _ in contexts} == {11}
    assert len(columns["context token"]) == 11 * len(contexts)

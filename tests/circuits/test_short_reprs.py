"""No value of a public type prints its contents: its text is short, and says what it holds, where, and how much."""

import inspect
import types
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter

import attribution
import circuits
import graphs
from attribution import SAE, LanguageModel, SplicedModel, chord_edges, counterfactual, pair_stream, prepare
from circuits.discovery.discover import Found
from graphs import CircuitGraph, Verdict
from tests.graphs.page.page_circuits import labels_saying
from tests.worlds.synthetic_verdicts import verdict

LONGEST = 500
DOORS = (circuits, attribution, graphs)
SMALL = (str, int, float, bool, type(None))


def is_ours(one: type) -> bool:
    """Whether a class is this project's, and not one that a test made of it."""
    return one.__module__.partition(".")[0] in {door.__name__ for door in DOORS}


def classes_in(hint: Any) -> Iterator[type]:
    """Every class of this project that a type hint names."""
    if isinstance(hint, type) and get_origin(hint) is None:
        if is_ours(hint):
            yield hint
    else:
        for part in get_args(hint):
            yield from classes_in(part)


def given_by(value: Any) -> Iterator[type]:
    """The classes of the values that a public name gives: itself, or what its function returns."""
    if isinstance(value, type):
        yield from classes_in(value)
    elif inspect.isfunction(value):
        yield from classes_in(get_type_hints(value).get("return"))
    else:
        yield from classes_in(type(value))


def public_classes() -> list[type]:
    """The classes that public names give, those of their fields, of the fields of these, and so on."""
    waiting = [found for door in DOORS for name in door.__all__ for found in given_by(getattr(door, name))]
    seen = dict[type, None]()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen[one] = None
        waiting += filter(is_ours, one.__subclasses__())
        if is_dataclass(one):
            waiting += [part for hint in get_type_hints(one).values() for part in classes_in(hint)]
    return sorted(seen, key=lambda c: (c.__module__, c.__name__))


def is_small(hint: Any) -> bool:
    """Whether values of this type are short: text, numbers, choices of these, and nodes of circuits."""
    if hint in SMALL:
        return True
    if isinstance(hint, types.UnionType) or str(get_origin(hint)) in ("typing.Union", "typing.Literal"):
        return all(is_small(part) if not isinstance(part, SMALL) else True for part in get_args(hint))
    if get_origin(hint) is tuple and Ellipsis not in get_args(hint):
        return all(map(is_small, get_args(hint)))
    return is_dataclass(hint) and all(is_small(h) for n, h in get_type_hints(hint).items() if n != "kind")


def has_own_text(one: type) -> bool:
    """Whether `repr` is written by hand: the code of the one that `dataclass` makes is in no file."""
    return one.__repr__ is not object.__repr__ and inspect.unwrap(one.__repr__).__code__.co_filename != "<string>"


def test_every_public_type_that_may_hold_much_has_a_text_of_its_own() -> None:
    found = public_classes()
    assert {Found, CircuitGraph, Verdict, SAE, LanguageModel, SplicedModel} <= set(found)
    large = [c for c in found if is_dataclass(c) and not all(is_small(h) for h in hints_of(c))]
    lacking = [f"{c.__module__}.{c.__name__}" for c in large if not has_own_text(c)]
    assert lacking == [], lacking


def hints_of(one: type) -> Iterable[Any]:
    hints = get_type_hints(one)
    return [hints[field.name] for field in fields(one) if field.repr]


@pytest.fixture(scope="module")
def values() -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Values of a small session, each with words that its text must have."""
    torch.manual_seed(0)
    model = circuits.load_model()
    spliced = circuits.splice(model, circuits.load_saes())
    pairs = circuits.prompt_pairs("agreement", model, examples=4)
    given = spliced, pairs, circuits.logit_difference
    found = circuits.discover(*given, select=circuits.Selection(nodes=20), resamples=0)
    batch = pairs.batch()
    situation = prepare(spliced, batch, circuits.logit_difference, "frozen", counterfactual)
    sae = next(iter(spliced.saes.values()))
    nodes = found.effects.subset(np.arange(20))
    return {
        "found": (found, ("CircuitGraph", "logit_difference", "4 examples")),
        "circuit": (found.circuit, (f"{len(found.circuit.strongest())} nodes", "logits", "certified")),
        "certificate": (found.circuit.certificate, ("faithfulness",)),
        "effects": (found.effects, (f"{len(found.effects):,} effects", "exact_patching", "4 examples")),
        "ranking": (found.ranking, (f"{len(found.ranking.nodes):,} nodes",)),
        "verdict": (verdict(), ("disagrees with patching on 31",)),
        "model": (model, (f"{model.n_layers} layers", str(model.d_vocab), model.name)),
        "spliced": (spliced.from_layer(2), ("SAEs at blocks.2.", "from layer 2", model.name)),
        "sae": (sae, (f"{sae.d_sae:,} features of {sae.d_in} dimensions", sae.site, type(sae).__name__)),
        "pairs": (pairs, ("4 pairs of",)),
        "pair": (pairs[0], ("clean_ids", f"answer_id={pairs[0].answer_id}")),
        "batch": (batch, (f"clean_ids=int64{list(batch.clean_ids.shape)}",)),
        "metric": (circuits.logit_difference, ("'logit_difference'", "'logits'")),
        "recording": (situation.clean, (f"logits=float32{list(situation.clean.logits.shape)}", "sites=<")),
        "situation": (situation, ("clean=Recording(ids=int64[",)),
        "run": (spliced.run(batch.clean_ids), ("logits=float32",)),
        "encoding": (sae.encode(torch.zeros(3, sae.d_in)), (f"value=float32[3, {sae.d_sae}]",)),
        "edges": (chord_edges(*given, nodes, sources=nodes), ("edges", "targets in")),
        "labels": (labels_saying("a long label " * 400), ("1 features", "3 tokens")),
        "label": (labels_saying("a long label " * 400).labels[0], ("index=7", "a long label")),
        "corpus": (circuits.embedded_corpus(model), ("embedded",)),
        "ablation": (circuits.causal_test(*given, found.circuit), ("predicted=float64[",)),
        "trial": (circuits.trial_of_sites(*given), ("TrialOfSites",)),
        "report": (circuits.model_report(model), ("transformer-lens",)),
        "stream": (pair_stream, ("pair_stream",)),
    }


def test_texts_are_short_and_say_what_is_there(values: dict[str, tuple[Any, tuple[str, ...]]]) -> None:
    for name, (value, words) in values.items():
        text = repr(value)
        assert len(text) < LONGEST, (name, len(text), text[:200])
        assert "\n" not in text, name
        assert [word for word in words if word not in text] == [], (name, text)


def test_a_text_grows_with_no_value(values: dict[str, tuple[Any, tuple[str, ...]]]) -> None:
    pair = values["pair"][0]
    long = replace(pair, clean_ids=tuple(range(5000)), patch_ids=tuple(range(5000)), roles=None, template="t" * 5000)
    assert len(repr(long)) < LONGEST


def test_found_shows_itself_in_a_notebook(values: dict[str, tuple[Any, tuple[str, ...]]]) -> None:
    found = values["found"][0]
    data, _ = DisplayFormatter().format(found)
    strongest = found.circuit.strongest(1)[0]
    for kind in ("text/plain", "text/html"):
        assert "strongest of 20 nodes" in data[kind] or f"strongest of {len(found.circuit.strongest())}" in data[kind]
        assert found.checked.sentence.split(";")[0] in data[kind]
        assert ".effects" in data[kind]
        assert f"{len(found.effects):,} effects" in data[kind]
    assert found.circuit.name(strongest.node).rsplit("/", 1)[-1] in data["text/plain"]
    assert "<script" not in data["text/html"]
    assert len(data["text/html"]) < 20_000

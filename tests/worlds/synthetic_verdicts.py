"""Verdicts made up for tests: plausible ones, and those at the edges."""

from dataclasses import replace
from typing import Any

import numpy as np

from graphs.nodes import ErrorNode, FeatureNode, TokenNode, node_name
from graphs.verdict import (
    CHOSEN_BY,
    Agreement,
    CrossedGate,
    MissedBound,
    NodeVerdict,
    PathTrace,
    ResidualCurve,
    Verdict,
    flag_of,
)

SITES = ("hook_embed", *(f"blocks.{b}.hook_{s}" for b in range(3) for s in ("attn_out", "mlp_out")))
KINDS = ("feature", "error", "token")
THRESHOLD = 0.05
HOSTILE = "<script>alert(\"x\" + 'y')</script>"
TOKENS = tuple((" The", " cat", " near", " dogs → dog", f" is{HOSTILE}", " sat") for _ in range(4))


def verdict(nodes: int = 400, wrong: int = 31, seed: int = 0) -> Verdict:
    """Some nodes verified out of ten times as many, over 4 examples and 7 sites, of which `wrong` are flagged."""
    draw = np.random.default_rng(seed)
    site = draw.integers(0, len(SITES), nodes)
    kind = np.where(site == 0, 2, np.where(draw.random(nodes) < 0.1, 1, 0))
    exact = 0.03 * draw.standard_normal(nodes) * np.exp(1.2 * draw.standard_normal(nodes))
    estimate = exact * (1 + 0.03 * draw.standard_normal(nodes)) + 0.002 * draw.standard_normal(nodes)
    for n in range(wrong):
        size = THRESHOLD * (1.3 + 4 * draw.random() ** 2)
        exact[n], estimate[n] = ((size, -0.8 * size), (size, 0.1 * size), (0.2 * size, 2.2 * size), (size, 3 * size))[
            n % 4
        ]
    signs = np.sign(draw.standard_normal(nodes))
    exact, estimate = signs * exact, signs * estimate
    columns: dict[str, Any] = {
        "example": draw.integers(0, 4, nodes),
        "site": site,
        "position": draw.integers(1, 6, nodes),
        "kind": kind,
        "index": np.where(kind == 0, draw.integers(0, 512, nodes), -1),
        "estimate": estimate,
        "exact": exact,
        "chosen_by": draw.integers(1, len(CHOSEN_BY), nodes),
    }
    flagged = _flagged(columns, draw)
    return Verdict(
        estimate_name="IG (10 points)",
        method="integrated_gradients",
        settings={"points": 10, "rule": "midpoint", "rtol": 0.5},
        error_mode="path",
        exact_error_mode="frozen",
        metric="logit_difference",
        unit="logits",
        patch_value="counterfactual",
        examples=4,
        threshold=THRESHOLD,
        seed=0,
        sites=SITES,
        encoders={s: "jumprelu" if "mlp" in s else "topk" for s in SITES[1:]},
        nodes=10 * nodes,
        **columns,
        flagged=flagged,
        overall=agreement("all", nodes, len(flagged)),
        by_site=tuple(
            agreement(s, int((site == n).sum()), sum(site_of(v) == s for v in flagged)) for n, s in enumerate(SITES)
        ),
        by_encoder=(agreement("jumprelu", 190, 18), agreement("topk", 150, 11)),
        bound=MissedBound(0.95, 100, 1, 9 * nodes, max(1, int(0.4 * nodes))),
        total_effect=(3.1, -2.4, 4.0, 1.9),
        flips=2322,
        residuals=(
            ResidualCurve(
                "IG", (1, 2, 5, 10, 20, 50), (0.9, 0.8, 0.78, 0.77, 0.77, 0.76), (2.4, 2.2, 2.1, 2.2, 2.1, 2.1)
            ),
            ResidualCurve("chord IG", (1, 2, 5, 10, 20), (0.6, 0.2, 2e-2, 3e-4, 4e-5), (1.4, 0.9, 0.2, 1.9e-2, 1.1e-4)),
        ),
        traces=tuple(trace(v) for v in flagged[:2]),
        tokens=TOKENS,
    )


def live(made: Verdict) -> Verdict:
    """The same without gates: nothing flips, nothing jumps."""
    flagged = tuple(replace(v, gates=(), parts=v.parts and {"curvature": v.error}) for v in made.flagged)
    smooth = {"overall": replace(made.overall, jump_share=None), "traces": (), "residuals": made.residuals[:1]}
    scopes = {k: tuple(replace(a, jump_share=None) for a in getattr(made, k)) for k in ("by_site", "by_encoder")}
    return replace(made, **smooth, **scopes, flagged=flagged, flips=None, error_mode="live", exact_error_mode="live")


def agreement(scope: str, nodes: int, flagged: int) -> Agreement:
    if nodes < 2:
        return Agreement(scope, nodes, None, None, min(20, nodes), 1.0 if nodes else None, 0, 0, flagged, None)
    large = nodes // 4
    return Agreement(scope, nodes, 0.93 - flagged / 100, 0.88, 20, 0.85, large, min(large, flagged // 3), flagged, 0.41)


def site_of(found: NodeVerdict) -> str:
    return SITES[0] if isinstance(found.node, TokenNode) else found.node.site


def trace(found: NodeVerdict) -> PathTrace:
    """A smooth path with a jump at the first gate of a node, by its size."""
    alpha = np.linspace(0, 1, 129)
    jumps = [(g.alpha, g.size) for g in {g.alpha: g for g in found.gates}.values()]
    slope = found.exact - sum(size for _, size in jumps) + 0.04 * np.sin(2 * np.pi * alpha)
    smooth = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(alpha))])
    metric = 1.2 + smooth + sum(size * (alpha > a) for a, size in jumps)
    margins = {
        node_name(FeatureNode(g.site, g.position, g.index)): tuple(
            ((1 if g.opened else -1) * (0.3 + 0.2 * n) * (alpha - g.alpha) * (1 + 0.3 * alpha)).tolist()
        )
        for n, g in enumerate(found.gates)
    }
    return PathTrace(
        found.node, found.example, tuple(alpha.tolist()), tuple(metric.tolist()), tuple(slope.tolist()), margins
    )


def _flagged(columns: dict[str, Any], draw: np.random.Generator) -> tuple[NodeVerdict, ...]:
    found: list[NodeVerdict] = []
    for n in range(len(columns["exact"])):
        estimate, exact = float(columns["estimate"][n]), float(columns["exact"][n])
        flag = flag_of(estimate, exact, THRESHOLD)
        if flag is not None:
            node = _node(*(int(columns[name][n]) for name in ("site", "position", "kind", "index")))
            found.append(NodeVerdict(node, int(columns["example"][n]), estimate, exact, flag))
    found.sort(key=lambda v: -abs(v.error))
    return tuple(_explained(v, draw) if n < 20 else v for n, v in enumerate(found))


def _explained(found: NodeVerdict, draw: np.random.Generator) -> NodeVerdict:
    share = 0.2 + 0.9 * draw.random()
    parts = {"jump": share * found.error, "interaction": (1 - share) * found.error}
    later = SITES[1 + int(draw.integers(3, 6))]
    gates = tuple(
        CrossedGate(later, int(draw.integers(2, 6)), int(draw.integers(0, 512)), bool(draw.random() < 0.5), alpha, size)
        for alpha, size in ((0.63, -0.8 * parts["jump"]), (0.63, -0.8 * parts["jump"]), (0.31, -0.15 * parts["jump"]))
    )
    return replace(found, parts=parts, gates=gates)


def _node(site: int, position: int, kind: int, index: int) -> FeatureNode | ErrorNode | TokenNode:
    if KINDS[kind] == "token":
        return TokenNode(position)
    return FeatureNode(SITES[site], position, index) if KINDS[kind] == "feature" else ErrorNode(SITES[site], position)


def edges() -> dict[str, Verdict]:
    """The verdicts at the edges, by name."""
    made, fine = verdict(), verdict(wrong=0)
    fine = replace(fine, flagged=(), traces=(), overall=agreement("all", 400, 0))
    hostile = replace(
        made,
        estimate_name=HOSTILE,
        metric=HOSTILE,
        sites=(SITES[0], HOSTILE, *SITES[2:]),
        flagged=tuple(
            replace(v, node=replace(v.node, site=HOSTILE)) if isinstance(v.node, FeatureNode) else v
            for v in made.flagged
        ),
        by_site=(replace(made.by_site[0], scope=HOSTILE), *made.by_site[1:]),
        by_encoder=(replace(made.by_encoder[0], scope=HOSTILE),),
        residuals=(replace(made.residuals[0], method=HOSTILE),),
        traces=(replace(made.traces[0], margins={HOSTILE: made.traces[0].metric}),),
    )
    one = verdict(nodes=1, wrong=1)
    return {
        "usual": made,
        "no flag": fine,
        "all verified": replace(made, nodes=made.verified, bound=None),
        "live": live(made),
        "one node": replace(
            one,
            examples=1,
            example=0 * one.example,
            flagged=tuple(replace(v, example=0) for v in one.flagged),
            total_effect=(0.1,),
            nodes=1,
            bound=None,
            residuals=(),
            traces=(),
            tokens=(),
            settings={},
        ),
        "hostile": hostile,
    }

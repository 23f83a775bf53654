"""A graph file as circuit-tracer writes them."""

from typing import Any

AUSTIN, TEXAS = 'Output " Austin" (p=0.600)', 'Output " Texas" (p=0.200)'


def node(node_id: str, feature: int, layer: int | str, position: int, kind: str, **more: Any) -> dict[str, Any]:
    """A node with the fields, types and defaults of circuit-tracer."""
    row = {
        "node_id": node_id,
        "feature": feature,
        "layer": str(layer),
        "ctx_idx": position,
        "feature_type": kind,
        "token_prob": 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": node_id,
        "clerp": "",
        "influence": 0.5,
        "activation": None,
    }
    return row | more


def feature(layer: int, index: int, position: int, activation: float, **more: Any) -> dict[str, Any]:
    paired = (layer + index) * (layer + index + 1) // 2 + index
    name = f"{layer}_{index}_{position}"
    return node(name, paired, layer, position, "cross layer transcoder", activation=activation, **more)


def logit(index: int, label: str, p: float) -> dict[str, Any]:
    return node(f"4_{index}_2", index, 4, 2, "logit", token_prob=p, clerp=label, influence=None)


def traced(**state: Any) -> dict[str, Any]:
    """Three layers, three tokens, two logits."""
    links = [
        ("E_5_1", "0_253_1", 2.0),
        ("E_2_0", "0_253_1", -6.0),
        ("0_253_1", "2_7_2", 3.0),
        ("1_-1_2", "2_7_2", 1.0),
        ("2_7_2", "4_90_2", 4.0),
        ("0_253_1", "4_90_2", -1.0),
        ("2_7_2", "4_91_2", -2.0),
    ]
    return {
        "metadata": {
            "slug": "capital",
            "scan": "gemma-2-2b",
            "transcoder_list": [],
            "prompt_tokens": ["<bos>", "Dallas", "⏎"],
            "prompt": "<bos>Dallas\n",
            "node_threshold": 0.8,
            "schema_version": 1,
        },
        "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""} | state,
        "nodes": [
            feature(0, 253, 1, 5.0, clerp="Texas cities"),
            feature(2, 7, 2, 1.5),
            node("1_-1_2", -1, 1, 2, "mlp reconstruction error"),
            node("E_2_0", 0, "E", 0, "embedding"),
            node("E_5_1", 1, "E", 1, "embedding"),
            node("E_9_2", 2, "E", 2, "embedding"),
            logit(90, AUSTIN, 0.6),
            logit(91, TEXAS, 0.2),
        ],
        "links": [{"source": s, "target": t, "weight": w} for s, t, w in links],
    }

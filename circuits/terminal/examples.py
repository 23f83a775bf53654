"""Worked examples of every command, as its help shows them: what each does, and the line to type."""

from collections.abc import Mapping
from typing import Final

from rich.markup import escape

EXAMPLES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "": (
        ("find a circuit in the embedded model, then open out/agreement/circuit.html", "jumpwire find"),
        ("is integrated gradients right about its nodes?", "jumpwire check out/agreement --method ig"),
        ("knock out each of them: does the graph say what happens?", "jumpwire ablate --circuit out/agreement --test"),
        ("what do its features stand for?", "jumpwire labels --circuit out/agreement"),
    ),
    "find": (
        ("agreement in the embedded model, on 100 pairs", "jumpwire find"),
        (
            "another task, the 40 largest effects",
            "jumpwire find --task pronoun --examples 20 --nodes 40",
        ),
        (
            "your own model, SAEs and pairs; everything within two minutes",
            "jumpwire find --model MODEL --saes SAES --pairs pairs.json --budget 2m",
        ),
        ("one prompt, without a second one", 'jumpwire find --prompt "the doctors near the cake" --patch zero'),
        ("a circuit for each pair, and an index of them", "jumpwire find --per-pair --examples 4 --out out/each"),
    ),
    "check": (
        ("integrated gradients against the exact effects of a run", "jumpwire check out/agreement --method ig"),
        ("an estimate alone; 500 nodes of it are patched", "jumpwire check --method atp --verify 500 --out out/atp"),
        ("fail in a script where an effect has the wrong sign", "jumpwire check --method ig --fail-on sign_flip"),
    ),
    "judge": (
        ("on every split of its task, with pairs drawn anew", "jumpwire judge out/agreement"),
        (
            "and where its words occur in text that no template made",
            "jumpwire judge RUN --text text.txt",
        ),
    ),
    "compare": (
        ("what two runs share, and how well each does the other's task", "jumpwire compare out/agreement out/pronoun"),
        ("a circuit of the nodes of either", "jumpwire compare out/agreement out/pronoun --union out/both"),
    ),
    "rank": (
        ("all nodes over 64 pairs of a task", "jumpwire rank --examples 64"),
        ("a dataset of any length", "jumpwire rank --pairs dataset.jsonl --out out/ranking.parquet"),
        ("a node's effect over all positions of a prompt", "jumpwire rank --task closing --together"),
    ),
    "ablate": (
        ("knock out each node of a circuit: is the graph right?", "jumpwire ablate --circuit out/agreement --test"),
        ("the circuit alone", "jumpwire ablate --circuit out/agreement --op keep-only"),
        (
            "a feature twice as strong at the end",
            "jumpwire ablate blocks.3.hook_attn_out/490@end --op scale=2",
        ),
        (
            "what may follow a text without it",
            'jumpwire ablate blocks.3.hook_attn_out/490 --text "the doctors near the cake"',
        ),
    ),
    "steer": (
        ("add half of a feature's maximum, and more or less", "jumpwire steer blocks.3.hook_attn_out/490:add=0.5max"),
        (
            "several features at once, by number where SAEs are at one site",
            "jumpwire steer 490:add=5 372:set=0 --sites blocks.3.hook_attn_out",
        ),
        (
            "a text of your own",
            'jumpwire steer blocks.3.hook_attn_out/490:add=5 --text "the doctors"',
        ),
        (
            "a direction of your own",
            "jumpwire steer blocks.2.hook_resid_post/direction:add=1 --direction mine.npy",
        ),
    ),
    "labels": (
        ("the features of a circuit", "jumpwire labels --circuit out/agreement"),
        ("one feature, with more contexts", "jumpwire labels blocks.2.hook_resid_post/117 --shown 8"),
        (
            "on your own text, beside your own labels",
            "jumpwire labels --circuit RUN --corpus text.txt --mine mine.json",
        ),
    ),
    "feature": (
        ("one feature, tested, with its page", "jumpwire feature blocks.3.hook_attn_out/490"),
        ("which features fire inside brackets?", "jumpwire feature --fires brackets"),
        (
            "written from one token, and promoting another",
            "jumpwire feature --written-from the --promotes they",
        ),
        (
            "in your own text: inside a question with which",
            "jumpwire feature --fires 'which[^.!?]*[?]' --corpus text.txt",
        ),
    ),
    "quality": (
        ("the embedded dictionaries, then open out/quality/quality.html", "jumpwire quality"),
        (
            "two families, compared at equal L0",
            "jumpwire quality A20 A40 B30 --families a,a,b --model MODEL --text text.txt",
        ),
        ("your own model, dictionaries and text", "jumpwire quality SAES --model MODEL --text text.txt"),
    ),
    "export": (
        ("the page, one file", "jumpwire export out/agreement --html circuit.html"),
        (
            "for Gephi, with the strongest edges",
            "jumpwire export out/agreement --graphml c.graphml --max-edges 500",
        ),
        ("a graph of circuit-tracer as a page", "jumpwire export their_graph.json --html theirs.html"),
    ),
    "model": (
        ("what the embedded model has proved", "jumpwire model embedded"),
        ("a model in a folder, run by its own modules", "jumpwire model MODEL --backend hugging-face"),
    ),
}
"""For each command, and for all of them under "": what an example does, and its line."""


def shown_examples(command: str) -> str:
    """The examples of a command for the end of its help, in rich's markup."""
    lines = ["[bold]Examples[/bold]"]
    for what, line in EXAMPLES[command]:
        lines += [f"[dim]# {escape(what)}[/dim]", escape(line)]
    return "\n".join(lines)

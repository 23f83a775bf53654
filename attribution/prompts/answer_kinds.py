"""What kinds of answers pairs have, in words: for outputs, where they are not one token each."""

from dataclasses import dataclass

from attribution.prompts.prompt_pair import PromptPair


@dataclass
class AnswerKinds:
    """Counts pairs whose answers are not one token each."""

    several: int = 0
    longer: int = 0
    predicted: int = 0

    def add(self, pair: PromptPair) -> None:
        """Count one pair."""
        self.several += max(len(pair.every_answer), len(pair.every_foil)) > 1
        self.longer += pair.forced > 0
        self.predicted += pair.predicted

    def in_words(self) -> str | None:
        """What the answers are; None where all are one token each."""
        said = {
            "several answers (logit_difference: log Σ exp of their logits; probabilities: their sum)": self.several,
            "an answer of several tokens (its tokens but the last are part of both prompts)": self.longer,
            "no answer (the model's likeliest token after the clean prompt against its second)": self.predicted,
        }
        parts = [f"{count} pair(s) have {kind}" for kind, count in said.items() if count]
        return f"Answers: {'; '.join(parts)}." if parts else None

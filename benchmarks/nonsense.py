"""Queries that match nothing in a library of photos: letters, keys, unconnected words, sentences of other domains."""

from __future__ import annotations

import random
import re
import string

from record import REPOSITORY

_KEYS = "asdfghjkl;qwertyuiop1234567890!@#"

SENTENCES = (
    "The committee approved the annual budget without amendment.",
    "Interest rates will remain unchanged until the next quarter.",
    "How do I convert a string to an integer in Python?",
    "The defendant appealed against the decision of the lower court.",
    "Photosynthesis converts light energy into chemical energy.",
    "Please find attached the minutes of yesterday's meeting.",
    "The theorem follows from the compactness of the unit ball.",
    "Restart the server after changing the configuration file.",
    "Quarterly revenue rose by four percent year over year.",
    "What is the capital gains tax rate for foreign residents?",
    "The patient was prescribed antibiotics for ten days.",
    "He argued that free will is incompatible with determinism.",
    "Inflation expectations have become unanchored.",
    "The API returns a JSON object with a pagination token.",
    "Parliament passed the amendment by a narrow majority.",
    "The gene encodes a transmembrane receptor protein.",
    "Your subscription will renew automatically next month.",
    "Eigenvalues of a symmetric matrix are real.",
    "The contract may be terminated with thirty days' notice.",
    "She translated the poem from Old English.",
    "undefined reference to main in function start",
    "Monetary policy transmission in emerging economies",
    "A survey of gradient descent optimisation algorithms",
    "The treaty was ratified in the nineteenth century.",
    "Error 404: the requested resource was not found",
    "Insurance premiums depend on the risk class.",
    "my password does not work since the last update",
    "The novel's narrator is unreliable.",
    "chapter seven: conclusions and future work",
    "invoice number 20394 payable within fourteen days",
    "quantum entanglement and nonlocality",
    "Sodium chloride dissolves readily.",
    "The meeting has been moved to Thursday at noon.",
    "I disagree with the premise of your question.",
    "terms and conditions apply",
    "grammar rules for the subjunctive mood",
    "The stock market closed lower on Friday.",
    "statistical significance at the five percent level",
    "unemployment benefits application form",
    "the meaning of justice in Plato's Republic",
)


def random_letters(count: int, seed: int, *, keys: bool = False) -> list[str]:
    """One to four words of random letters, or with `keys` one word as a cat on a keyboard types it."""
    rng = random.Random(seed)

    def word(letters: str, least: int, most: int) -> str:
        return "".join(rng.choice(letters) for _ in range(rng.randint(least, most)))

    if keys:
        return [word(_KEYS, 4, 16) for _ in range(count)]
    return [" ".join(word(string.ascii_lowercase, 3, 9) for _ in range(rng.randint(1, 4))) for _ in range(count)]


def random_words(count: int, seed: int) -> list[str]:
    """Two to six words of the built-in vocabulary that have nothing to do with each other; some can be photographed."""
    text = (REPOSITORY / "mmsearch" / "models" / "mini_vocabulary.txt").read_text(encoding="utf-8")
    words = [line for line in text.splitlines() if re.fullmatch("[a-z]{4,12}", line)]
    rng = random.Random(seed)
    return [" ".join(rng.sample(words, rng.randint(2, 6))) for _ in range(count)]

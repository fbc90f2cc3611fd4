"""Texts for the goldens of tokenizers, made from a number. tests/unit/token_texts.h makes the same.

The tables of both are tests/data/tokenizers/texts.json.
"""

import json
import pathlib

TABLES = json.loads(
    (pathlib.Path(__file__).resolve().parent.parent / "data" / "tokenizers" / "texts.json").read_text(encoding="utf-8"))

TEXT_COUNT = 20_000
LONG_EVERY = 499  # every so many texts one has a long word
SWEEP_STEP = 64  # code points of a text of the sweep
SWEEP = [(0x0, 0xD800), (0xE000, 0x40000), (0xE0000, 0xE1000)]  # [first, end)
SEQUENCE_COUNT = 3_000

MASK = (1 << 64) - 1


class Random:
    """The splitmix64 generator."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (((z ^ (z >> 31)) >> 32) * bound) >> 32


class Texts:
    """`added`: the contents of the added tokens in the order of their ids."""

    def __init__(self, added):
        self.added = added
        self.makers = [
            self.word, self.word, self.word, self.letters, self.spaces, self.digits, self.contraction, self.marks,
            self.jamo, self.emoji, self.anything, self.script, self.token, self.repeat, self.punctuation, self.lines
        ]

    def text(self, index):
        self.random = Random(index)
        below = self.random.below
        out = [self.long_word()] if index % LONG_EVERY == 0 else []
        for _ in range(1 + below(12)):
            out.append(self.makers[below(len(self.makers))]())
        return "".join(out)

    def pick(self, table):
        return TABLES[table][self.random.below(len(TABLES[table]))]

    def some(self, table, most):
        return "".join([self.pick(table) for _ in range(1 + self.random.below(most))])

    def word(self):
        return self.pick("words")

    def letters(self):
        below = self.random.below
        upper = below(4) == 0
        letters = [chr(97 + below(26)) for _ in range(1 + below(12))]
        return letters[0].upper() + "".join(letters[1:]) if upper else "".join(letters)

    def spaces(self):
        return self.some("spaces", 5)

    def digits(self):
        below = self.random.below
        zero = self.pick("zeros")
        return "".join([chr(zero + below(10)) for _ in range(1 + below(6))])

    def contraction(self):
        return self.pick("apostrophes") + self.pick("suffixes")

    def marks(self):
        return self.pick("bases") + self.some("marks", 4)

    def jamo(self):
        below = self.random.below
        return "".join([chr(0x1100 + below(0x100)) for _ in range(1 + below(4))])

    def emoji(self):
        return self.some("emoji", 4)

    def anything(self):
        below = self.random.below
        codes = [below(0x110000) for _ in range(1 + below(4))]
        return "".join([chr(0xFFFD if 0xD800 <= code < 0xE000 else code) for code in codes])

    def script(self):
        below = self.random.below
        first, last = self.pick("ranges")
        return "".join([chr(first + below(last - first + 1)) for _ in range(1 + below(6))])

    def token(self):
        below = self.random.below
        content = self.added[below(len(self.added))]
        if below(4) == 0:
            content = content[:1 + below(len(content))]
        before = self.spaces() if below(3) == 0 else ""
        after = self.spaces() if below(3) == 0 else ""
        return before + content + after

    def repeat(self):
        return self.pick("repeated") * (1 + self.random.below(40))

    def punctuation(self):
        return self.some("punctuation", 5)

    def lines(self):
        return self.some("lines", 3)

    def long_word(self):
        below = self.random.below
        alphabet = self.pick("alphabets")
        return "".join([alphabet[below(len(alphabet))] for _ in range(5_000 + below(5_000))])


def sweep_texts():
    """Every code point that is or may be assigned, between letters, digits and spaces."""
    for first, end in SWEEP:
        for begin in range(first, end, SWEEP_STEP):
            yield "".join([f"a{chr(code)}a 1{chr(code)}1 {chr(code)}{chr(code)}" for code in range(begin, begin + SWEEP_STEP)])


def id_sequence(index, vocab_size):
    random = Random((1 << 40) + index)
    return [random.below(vocab_size) for _ in range(1 + random.below(20))]


def fold(values):
    """The FNV-1a hash of numbers, 64 bits folded to 32."""
    state = 0xCBF29CE484222325
    for value in values:
        state = ((state ^ value) * 0x100000001B3) & MASK
    return (state ^ (state >> 32)) & 0xFFFFFFFF

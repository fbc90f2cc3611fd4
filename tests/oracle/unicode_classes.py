"""Writes src/text/char_ranges.cpp from the report of tokenizer_goldens.py: python3 unicode_classes.py REPORT

The letters, numbers and word characters are those that the regular expressions of the tokenizers package know.
Patterns of files and single_word use two engines of it, of one Unicode version: only the engine of the patterns takes
some numbers of Latin-1 for word characters, and only the other one the joiners (utf8.cpp).
"""

import json
import pathlib
import sys

TARGET = pathlib.Path(__file__).resolve().parent.parent.parent / "src" / "text" / "char_ranges.cpp"

HEAD = """// Written by tests/oracle/unicode_classes.py.
// clang-format off
#include "text/char_ranges.h"

namespace diffulex::text {
namespace {

"""


NO_WORDS = "B2-B3 B9-B9 BC-BE"


def codes_of(line):
    pairs = [[int(end, 16) for end in pair.split("-")] for pair in line.split()]
    return [code for first, last in pairs for code in range(first, last + 1)]


def without(line, excluded):
    ranges = []
    for code in sorted(set(codes_of(line)) - set(codes_of(excluded))):
        if ranges and ranges[-1][1] + 1 == code:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return " ".join([f"{first:X}-{last:X}" for first, last in ranges])


def table(name, line):
    pairs = [pair.split("-") for pair in line.split()]
    items = ["{0x%s, 0x%s}" % (first, last) for first, last in pairs]
    rows = [", ".join(items[begin:begin + 6]) for begin in range(0, len(items), 6)]
    return f"constexpr CharRange {name}[] = {{\n  " + ",\n  ".join(rows) + "};\n"


def main():
    classes = json.loads(pathlib.Path(sys.argv[1]).read_text())["classes"]["result"]
    TARGET.write_text(
        HEAD + table("kLetters", classes[r"\p{L}"]) + "\n" + table("kNumbers", classes[r"\p{N}"]) + "\n" +
        table("kWords", without(classes[r"\w"], NO_WORDS)) + """
}  // namespace

std::span<const CharRange> letter_ranges() { return kLetters; }
std::span<const CharRange> number_ranges() { return kNumbers; }
std::span<const CharRange> word_ranges() { return kWords; }

}  // namespace diffulex::text
""")


if __name__ == "__main__":
    main()

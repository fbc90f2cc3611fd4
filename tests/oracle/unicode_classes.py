"""Writes src/text/char_ranges.cpp from the report of tokenizer_goldens.py: python3 unicode_classes.py REPORT

The letters, numbers and word characters are those that the regular expressions of the tokenizers package know.
"""

import json
import pathlib
import sys

TARGET = pathlib.Path(__file__).resolve().parent.parent.parent / "src" / "text" / "char_ranges.cpp"

HEAD = """// Written by tests/oracle/unicode_classes.py. clang-format off
#include "text/char_ranges.h"

namespace diffulex::text {
namespace {

"""


def table(name, line):
    pairs = [pair.split("-") for pair in line.split()]
    items = ["{0x%s, 0x%s}" % (first, last) for first, last in pairs]
    rows = [", ".join(items[begin:begin + 6]) for begin in range(0, len(items), 6)]
    return f"constexpr CharRange {name}[] = {{\n  " + ",\n  ".join(rows) + "};\n"


def main():
    classes = json.loads(pathlib.Path(sys.argv[1]).read_text())["classes"]["result"]
    TARGET.write_text(
        HEAD + table("kLetters", classes[r"\p{L}"]) + "\n" + table("kNumbers", classes[r"\p{N}"]) + "\n" +
        table("kWords", classes[r"\w"]) + """
}  // namespace

std::span<const CharRange> letter_ranges() { return kLetters; }
std::span<const CharRange> number_ranges() { return kNumbers; }
std::span<const CharRange> word_ranges() { return kWords; }

}  // namespace diffulex::text
""")


if __name__ == "__main__":
    main()

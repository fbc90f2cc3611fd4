"""Small tokenizers of the kinds that models use: trained, with added tokens of every flag.

Each function gives the content of a tokenizer.json. A kind has the pre-tokenizer of its models. Their vocabularies are too large to
lie here, so each is trained on the documentation and sources beside it and on generated text.
"""

import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tokenizer_texts import TABLES, Random

REPO = pathlib.Path(__file__).resolve().parent.parent.parent

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
BAILING = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
           r"|\s+(?!\S)|\s+")
SEED_CODER = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+"
              r"|\s+(?!\S)|\s+")

VOCAB_SIZE = 8_000


def special(content, **flags):
    return AddedToken(content, special=True, normalized=False, **flags)


def plain(content, normalized=False, **flags):
    return AddedToken(content, special=False, normalized=normalized, **flags)


def training_texts():
    for pattern in ["*.md", "docs/**/*.md", "include/*.h", "src/**/*.h", "src/**/*.cpp", "tests/oracle/*.py"]:
        for path in sorted(REPO.glob(pattern)):
            yield path.read_text(encoding="utf-8", errors="replace")
    words = TABLES["words"]
    for index in range(3_000):
        random = Random((2 << 40) + index)
        yield "".join([words[random.below(len(words))] for _ in range(40)])


def train(pattern, normalizer, specials):
    """Special tokens given here get the first ids."""
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, min_frequency=2, show_progress=False, special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(training_texts(), trainer=trainer)
    return tokenizer


def as_json(tokenizer):
    return json.loads(tokenizer.to_str())


def qwen2():
    """The Qwen2 kind: NFC, special tokens behind the vocabulary."""
    tokenizer = train(QWEN2, normalizers.NFC(), [])
    tokenizer.add_tokens([
        special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>"),
        plain("<tool_call>"), plain("</tool_call>"), plain("<think>"), plain("</think>"),
        special("<|MASK|>", lstrip=True), special("<|pad|>", rstrip=True), special("<|both|>", lstrip=True, rstrip=True),
        plain("<|im"), special("<|im_start|>user"), plain("zebra", single_word=True),
        plain("Vi\u1ec7t", normalized=True), plain("e\u0323\u0302"), plain("\u1100\u1161", normalized=True)
    ])
    return as_json(tokenizer)


def bailing():
    """The Bailing kind: merges as lines, a normaliser in a sequence, special tokens behind."""
    tokenizer = train(BAILING, normalizers.Sequence([normalizers.NFC()]), [])
    tokenizer.add_tokens([
        special("<|startoftext|>"), special("<|endoftext|>"), special("[CLS]"), special("<|role_end|>"),
        special("<|start_header_id|>"), special("<|end_header_id|>"), special("<|eot_id|>"), special("<role>"),
        special("</role>"), special("<|mdm_mask|>", lstrip=True), special("[gMASK]", rstrip=True), plain("\t\t"),
        plain("\uff5ctool\u2581begin\uff5c"), plain("na\u00efve\u2014", normalized=True, lstrip=True),
        plain("def", single_word=True, rstrip=True), plain("\u1e9b\u0323\u2014", normalized=True)
    ])

    root = as_json(tokenizer)
    model = root["model"]
    model["merges"] = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    return root


def seed_coder():
    """The Seed-Coder kind: no normaliser, special tokens first, words that merges do not make."""
    specials = [special(text) for text in ["<[begin_of_sentence]>", "<[PAD]>", "<[end_of_sentence]>", "<[SEP]>",
                                           "<[CLS]>", "<[MASK]>"]]
    tokenizer = train(SEED_CODER, None, specials)
    tokenizer.add_tokens([
        special("<[fim-suffix]>", rstrip=True), special("<[fim-prefix]>", lstrip=True), plain("<[fim"),
        plain("\u3000", rstrip=True), plain("self", single_word=True), plain("\u00a0\u00a0\u2003"),
        plain("caf\u00e9\u2014", normalized=True), plain("e\u0301\u2014", normalized=True)
    ])

    root = as_json(tokenizer)
    model = root["model"]
    model["ignore_merges"] = True
    model["merges"] = [pair for rank, pair in enumerate(model["merges"]) if rank < 500 or rank % 7 != 0]
    return root


KINDS = {"qwen2": qwen2, "bailing": bailing, "seed-coder": seed_coder}


def in_parts(folder):
    """The tokenizer of a folder with vocab.json, merges.txt and tokenizer_config.json (Qwen2)."""
    folder = pathlib.Path(folder)
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), "isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)
    ])
    tokenizer.decoder = decoders.ByteLevel()
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    for key, token in sorted(config["added_tokens_decoder"].items(), key=lambda entry: int(entry[0])):
        flags = {name: token[name] for name in ["lstrip", "rstrip", "single_word", "normalized", "special"]}
        tokenizer.add_tokens([AddedToken(token["content"], **flags)])
        if tokenizer.token_to_id(token["content"]) != int(key):
            raise ValueError(f"{token['content']} has got the id {tokenizer.token_to_id(token['content'])}, not {key}")
    return tokenizer


def as_ranges(codes):
    """Ascending code points as text: "41-5A 61-7A"."""
    ranges = []
    for code in codes:
        if ranges and ranges[-1][1] + 1 == code:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return " ".join([f"{first:X}-{last:X}" for first, last in ranges])


def character_class(pattern):
    """The code points that the package's regular expressions take for `pattern`."""
    cutter = pre_tokenizers.Split(Regex(f"(?:{pattern})+"), "removed", invert=True)
    for begin in [*range(0, 0xD800, 0x800), *range(0xE000, 0x110000, 0x800)]:
        for piece, _ in cutter.pre_tokenize_str("".join([chr(code) for code in range(begin, begin + 0x800)])):
            yield from map(ord, piece)


def character_classes():
    return {pattern: as_ranges(character_class(pattern)) for pattern in [r"\p{L}", r"\p{N}", r"\s", r"\w"]}


def normal_forms():
    """What the package's normal forms do with each code point that is or may be assigned."""
    nfc, nfd = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
    codes = [*range(0, 0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE1000)]
    low, high, base = "\u0334", "\u0345", "\ue000"  # marks of the classes 1 and 240
    decomposed = [code for code in codes if nfd(chr(code)) != chr(code)]
    kept = set(decomposed)
    single = [code for code in codes if code not in kept]
    return {
        "decomposed": as_ranges(decomposed),
        "composed": as_ranges([code for code in decomposed if nfc(chr(code)) == chr(code)]),
        "reordered": as_ranges([
            code for code in single if nfd(base + high + chr(code)) != base + high + chr(code)
            or nfd(base + chr(code) + low) != base + chr(code) + low
        ]),
    }

"""What a tokenizer says about the texts of tokenizer_texts.py, as a file that tests read.

Little-endian. Magic "DTOKGOLD"; 64-bit vocabulary size, and hash of all texts; then sections, each a
32-bit count of 24-bit numbers and the numbers (of a hash the low bits):

  0  hash of the ids of each text, special tokens parsed     1  the same, special tokens as plain text
  2  hash of the UTF-8 of (0) decoded without special tokens
  3  hash of the sizes in bytes of the pieces of each sweep text, normalised; then of the first texts
  4  hash of the UTF-8 of each sweep text in normal form; then of the first texts
  5  hash of the UTF-8 of each id sequence decoded with, 6 without special tokens
  7  the ids themselves of the first texts: for each text a count, then the ids

Sections 3 and 4 are empty where another file has the same.
"""

import struct

from tokenizers import Tokenizer

from tokenizer_texts import MASK, SEQUENCE_COUNT, TEXT_COUNT, Texts, fold, id_sequence, sweep_texts

MAGIC = b"DTOKGOLD"
CUT_TEXTS = 4_000
WHOLE_TEXTS = 300


def added_contents(tokenizer):
    return [token.content for _, token in sorted(tokenizer.get_added_tokens_decoder().items())]


def hash_of_all(texts):
    """FNV-1a over the folded hashes of the texts."""
    state = 0xCBF29CE484222325
    for text in texts:
        state = ((state ^ fold(text.encode("utf-8"))) * 0x100000001B3) & MASK
    return state


def sections_of_texts(tokenizer, texts):
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.encode_special_tokens = True
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    whole = [number for one in ids[:WHOLE_TEXTS] for number in [len(one), *one]]
    hashes = [fold(one) for one in ids]
    plain_hashes = [fold(plain.encode(text, add_special_tokens=False).ids) for text in texts]
    decoded = [fold(tokenizer.decode(one, skip_special_tokens=True).encode("utf-8")) for one in ids]
    return hashes, plain_hashes, decoded, whole


def sections_of_cuts(tokenizer, texts):
    pieces, normal = [], []
    for text in [*sweep_texts(), *texts[:CUT_TEXTS]]:
        if tokenizer.normalizer is not None:
            text = tokenizer.normalizer.normalize_str(text)
        normal.append(fold(text.encode("utf-8")))
        pieces.append(fold([len(piece) for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]))
    return pieces, normal


def sections_of_sequences(tokenizer, vocab_size):
    kept, skipped = [], []
    for index in range(SEQUENCE_COUNT):
        ids = id_sequence(index, vocab_size)
        kept.append(fold(tokenizer.decode(ids, skip_special_tokens=False).encode("utf-8")))
        skipped.append(fold(tokenizer.decode(ids, skip_special_tokens=True).encode("utf-8")))
    return kept, skipped


def write_golden(tokenizer, path, cuts):
    """`cuts`: write sections 3 and 4. Returns the texts."""
    maker = Texts(added_contents(tokenizer))
    texts = [maker.text(index) for index in range(TEXT_COUNT)]
    vocab_size = tokenizer.get_vocab_size(with_added_tokens=True)
    hashes, plain_hashes, decoded, whole = sections_of_texts(tokenizer, texts)
    pieces, normal = sections_of_cuts(tokenizer, texts) if cuts else ([], [])
    if tokenizer.normalizer is None:
        normal = []
    kept, skipped = sections_of_sequences(tokenizer, vocab_size)
    with open(path, "wb") as file:
        file.write(MAGIC + struct.pack("<QQ", vocab_size, hash_of_all(texts)))
        for section in [hashes, plain_hashes, decoded, pieces, normal, kept, skipped, whole]:
            file.write(struct.pack("<I", len(section)))
            file.write(b"".join([(number & 0xFFFFFF).to_bytes(3, "little") for number in section]))
    return texts

"""Encoding and decoding side by side: the tokenizers package and a program of ours, one text."""

import json
import os
import pathlib
import subprocess
import tempfile
import time

from tokenizer_texts import TABLES, Random

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
TEXT_BYTES = 2_000_000
DOCUMENT_BYTES = 8_192
ROUNDS = 3

HAN = ("的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然"
       "家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长"
       "把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身")


def repeated(parts, size):
    """The parts one after the other, again and again, to `size` bytes; a number keeps rounds apart."""
    out, length, turn = [], 0, 0
    while length < size:
        for part in parts:
            part = f"{part}\n{turn}\n"
            out.append(part)
            length += len(part.encode("utf-8"))
        turn += 1
    return "".join(out)


def read_all(patterns):
    return [path.read_text(encoding="utf-8", errors="replace")
            for pattern in patterns for path in sorted(REPO.glob(pattern))]


def chinese():
    random = Random(3 << 40)
    out = []
    for _ in range(60_000):
        # Low positions are frequent, as the first characters of the list are.
        out.append("".join([HAN[min(random.below(len(HAN)), random.below(len(HAN)))] for _ in range(4 + random.below(9))]))
        out.append("，。，、，！"[random.below(6)])
    return "".join(out)


def mixed():
    random = Random(4 << 40)
    words = TABLES["words"]
    return "".join([words[random.below(len(words))] for _ in range(200_000)])


def corpora():
    made = {
        "prose": repeated(read_all(["*.md", "docs/**/*.md"]), TEXT_BYTES),
        "code": repeated(read_all(["src/**/*.cpp", "src/**/*.h"]), TEXT_BYTES),
        "chinese": repeated([chinese()], TEXT_BYTES),
        "mixed": repeated([mixed()], TEXT_BYTES),
    }
    return {name: text.encode("utf-8")[:TEXT_BYTES].decode("utf-8", errors="ignore") for name, text in made.items()}


def documents(text):
    """The text in documents of about DOCUMENT_BYTES bytes, cut at characters."""
    data = text.encode("utf-8")
    begin, out = 0, []
    while begin < len(data):
        end = min(begin + DOCUMENT_BYTES, len(data))
        while end < len(data) and (data[end] & 0xC0) == 0x80:
            end += 1
        out.append(data[begin:end].decode("utf-8"))
        begin = end
    return out


def best_rate(size, action):
    best = 0.0
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        action()
        best = max(best, size / 1e6 / (time.perf_counter() - begin))
    return round(best, 2)


def package_rates(tokenizer, text):
    """MB/s of text. A call with one text is single-threaded; "fast" leaves offsets out, as ours does."""
    size, docs = len(text.encode("utf-8")), documents(text)
    ids = [tokenizer.encode(doc, add_special_tokens=False).ids for doc in docs]
    return {
        "tokens": sum(len(one) for one in ids),
        "encode": best_rate(size, lambda: [tokenizer.encode(doc, add_special_tokens=False) for doc in docs]),
        "encode_fast": best_rate(size, lambda: [tokenizer.encode_batch_fast([doc], add_special_tokens=False) for doc in docs]),
        "encode_batch": best_rate(size, lambda: tokenizer.encode_batch_fast(docs, add_special_tokens=False)),
        "decode": best_rate(size, lambda: [tokenizer.decode(one) for one in ids]),
        "decode_batch": best_rate(size, lambda: tokenizer.decode_batch(ids)),
    }


def our_rates(program, folder, text):
    """What `program FOLDER TEXT DOCUMENT_BYTES THREADS` prints as JSON: keys as above."""
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(text.encode("utf-8"))
        file.flush()
        command = [program, str(folder), file.name, str(DOCUMENT_BYTES), str(os.cpu_count())]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.returncode} {done.stderr}")
    return json.loads(done.stdout)


def compare(tokenizer, folder, program):
    rows = {}
    for name, text in corpora().items():
        rows[name] = {"tokenizers": package_rates(tokenizer, text)}
        if program:
            rows[name]["libdiffulex"] = our_rates(program, folder, text)
        print(name, json.dumps(rows[name]), flush=True)
    return rows

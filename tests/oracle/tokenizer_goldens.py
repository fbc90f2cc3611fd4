"""Writes the goldens of tests/data/tokenizers: what the tokenizers package says about many texts.

    python3 tests/oracle/tokenizer_goldens.py OUT [--bench PROGRAM]

For each kind of tokenizer_kinds.py OUT gets KIND.json (a tokenizer.json) and KIND.golden (see
tokenizer_golden_file.py). With the files of SDAR-4B-Chat in the folder that the environment variable
DIFFULEX_SDAR_4B_CHAT names, OUT gets sdar-4b-chat.golden too. report.json tells versions, times and
what failed: a part that fails leaves the others. PROGRAM is build/release/bench/diffulex_bench_text,
whose speed is then measured beside the package's. Needs the packages tokenizers and, for one check,
transformers. Copy the *.json of the kinds and the *.golden to tests/data/tokenizers.
"""

import argparse
import json
import os
import pathlib
import platform
import sys
import tempfile
import time
import traceback

os.environ["TOKENIZERS_PARALLELISM"] = "true"  # also after starting PROGRAM

import tokenizers

import tokenizer_golden_file
import tokenizer_kinds
import tokenizer_speed


class Report:
    def __init__(self, path):
        self.path = path
        self.begin = time.monotonic()
        self.entries = {"tokenizers": tokenizers.__version__, "python": platform.python_version(), "cpus": os.cpu_count()}

    def run(self, name, part):
        """Runs one part; what it raises is reported."""
        begin = time.monotonic()
        try:
            result = part()
        except BaseException:  # a panic of the package is no Exception
            result = {"failed": traceback.format_exc()}
            print(f"{name} FAILED\n{result['failed']}", file=sys.stderr, flush=True)
        self.entries[name] = {"seconds": round(time.monotonic() - begin, 2), "result": result}
        self.entries["seconds"] = round(time.monotonic() - self.begin, 2)
        self.path.write_text(json.dumps(self.entries, indent=1) + "\n")
        print(f"{name}: {self.entries[name]['seconds']} s", flush=True)


def make_kind(kind, out):
    root = tokenizer_kinds.KINDS[kind]()
    path = out / f"{kind}.json"
    path.write_text(json.dumps(root, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer_golden_file.write_golden(tokenizer, out / f"{kind}.golden", cuts=True)
    return {"vocab_size": tokenizer.get_vocab_size()}


def make_real(folder, out):
    tokenizer = tokenizer_kinds.in_parts(folder)
    tokenizer_golden_file.write_golden(tokenizer, out / "sdar-4b-chat.golden", cuts=False)
    return {"vocab_size": tokenizer.get_vocab_size()}


def different_ids(ours, theirs, texts):
    found = []
    for index, text in enumerate(texts):
        if ours(text) != theirs(text):
            found.append({"index": index, "text": text[:200], "tokenizers": ours(text)[:50], "transformers": theirs(text)[:50]})
    return {"texts": len(texts), "different": len(found), "first": found[:5]}


def compare_with_transformers(folder):
    """Whether transformers builds the same tokenizer from the folder as tokenizer_kinds.in_parts."""
    import transformers  # only this check needs it

    from tokenizer_texts import Texts

    tokenizer = tokenizer_kinds.in_parts(folder)
    maker = Texts(tokenizer_golden_file.added_contents(tokenizer))
    texts = [maker.text(index) for index in range(1, 2_000) if index % 499 != 0]
    with tempfile.TemporaryDirectory() as copy:  # without config.json, whose model needs code of its own
        for name in ["vocab.json", "merges.txt", "tokenizer_config.json"]:
            pathlib.Path(copy, name).write_bytes(pathlib.Path(folder, name).read_bytes())
        loaded = transformers.AutoTokenizer.from_pretrained(copy, local_files_only=True)
    result = different_ids(
        lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        lambda text: list(loaded(text, add_special_tokens=False)["input_ids"]), texts)
    backend = json.loads(loaded.backend_tokenizer.to_str()) if loaded.is_fast else {}
    parts = {name: backend.get(name) for name in ["normalizer", "pre_tokenizer", "post_processor", "decoder"]}
    return {"transformers": transformers.__version__, "class": type(loaded).__name__, "parts": parts, **result}


def measure(folder, out, program):
    """With the real vocabulary where there is one, else with that of a small tokenizer."""
    if folder:
        return tokenizer_speed.compare(tokenizer_kinds.in_parts(folder), folder, program)
    tokenizer = tokenizers.Tokenizer.from_file(str(out / "qwen2.json"))
    with tempfile.TemporaryDirectory() as copy:
        pathlib.Path(copy, "tokenizer.json").write_bytes((out / "qwen2.json").read_bytes())
        return tokenizer_speed.compare(tokenizer, copy, program)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--bench", default="")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    folder = os.environ.get("DIFFULEX_SDAR_4B_CHAT", "")
    report = Report(options.out / "report.json")
    report.run("classes", tokenizer_kinds.character_classes)
    report.run("normal_forms", tokenizer_kinds.normal_forms)
    for kind in tokenizer_kinds.KINDS:
        report.run(kind, lambda kind=kind: make_kind(kind, options.out))
    if folder:
        report.run("sdar-4b-chat", lambda: make_real(folder, options.out))
        report.run("transformers", lambda: compare_with_transformers(folder))
    report.run("speed", lambda: measure(folder, options.out, options.bench))
    failed = [name for name, entry in report.entries.items() if isinstance(entry, dict) and "failed" in (entry["result"] or {})]
    print("failed:", ", ".join(failed) or "nothing", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

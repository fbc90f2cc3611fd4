"""Compares tests/data/chat-templates/golden.json with what transformers prints.

    python3 tests/oracle/chat_templates_transformers.py

Every case is rendered in the environment that transformers compiles templates in, and those with
messages through apply_chat_template as well. Needs the packages transformers and tokenizers; the test
suite reads the file only.
"""

import json
import pathlib
import sys

import tokenizers
import transformers
from transformers.utils import chat_template_utils

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "data" / "chat-templates" / "golden.json"


def rendered(render):
    try:
        return render()
    except Exception as error:  # whatever a template may raise
        return type(error)


def same(case, result):
    return result == case["output"] if "output" in case else isinstance(result, type)


def compiled(template, variables):
    return chat_template_utils._compile_jinja_template(template).render(**variables)


def applied(tokenizer, template, variables):
    arguments = dict(variables)
    return tokenizer.apply_chat_template(
        arguments.pop("messages"), tools=arguments.pop("tools", None), documents=arguments.pop("documents", None),
        chat_template=template, add_generation_prompt=arguments.pop("add_generation_prompt", False), tokenize=False,
        **arguments)


def main():
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE()))
    counts = {"compiled": 0, "applied": 0, "skipped": 0, "different": 0}
    for index, case in enumerate(golden["cases"]):
        template = golden["templates"][case["template"]]
        variables = json.loads(golden["variables"][case["variables"]])
        if "strftime_now" in template:  # theirs is the clock's
            counts["skipped"] += 1
            continue
        ways = {"compiled": lambda: compiled(template, variables)}
        if isinstance(variables.get("messages"), list) and variables["messages"]:  # it refuses to render none
            ways["applied"] = lambda: applied(tokenizer, template, variables)
        for way, render in ways.items():
            counts[way] += 1
            result = rendered(render)
            if same(case, result):
                continue
            counts["different"] += 1
            print(f"case {index} ({case['group']}) {way}: {result!r}, golden {case.get('output', case.get('error'))!r}")
    print(f"transformers {transformers.__version__}: {counts}")
    return counts["different"] != 0


if __name__ == "__main__":
    sys.exit(main())

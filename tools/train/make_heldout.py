"""The held-out prompts of the evaluation in train_tiny.py, as JSON for the tests: make_heldout.py OUT.json [PER_TASK]

Seeded as there (seed 2 for the default --seed 1), so that accuracy and forward counts compare with metrics_*.json.
"""
import json, random, sys
from tiny_corpus import TASKS, sample_doc

out, per_task = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200
r = random.Random(2)
items = [sample_doc(r, t, True) for t in TASKS for _ in range(per_task)]
rows = [dict(task=t, prompt=q, expected=json.loads(e) if t == "story" else e) for t, q, _, e in items]
with open(out, "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(x, separators=(",", ":")) for x in rows) + "\n]\n")

#!/usr/bin/env python3
"""Times decode steps of the Python engine Diffulex on one GPU, with random weights.

  python3 bench/reference/diffulex_steps.py [--cases NAME ...] [--source DIR] [--out DIR]

README.md beside this file says what is measured and where the engine's source has to lie.
Every case runs in a process of its own; one JSON line per case goes to standard output.
"""

import argparse
import faulthandler
import importlib
import importlib.machinery
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROMPT = 256  # tokens
VOCABULARY = 151936  # rows of the embedding and of the head
TOKENIZER = 151670  # ids that the tokenizer knows; the mask is the last
MASK = 151669
EOS = 151643
BUILT = "==== engine built"  # line of the log between building and stepping

SHAPES = {
    "1.7b": dict(hidden_size=2048, num_hidden_layers=28, num_attention_heads=16,
                 num_key_value_heads=8, intermediate_size=6144),
    "8b": dict(hidden_size=4096, num_hidden_layers=36, num_attention_heads=32,
               num_key_value_heads=8, intermediate_size=12288),
}

# (shape, block, buffer, requests), the cheap ones first.
CASES = [
    ("1.7b", 32, 1, 1),
    ("1.7b", 4, 4, 1),
    ("1.7b", 32, 4, 1),
    ("8b", 32, 1, 1),
    ("8b", 32, 4, 1),
    ("1.7b", 32, 4, 16),
    ("8b", 32, 4, 32),
    ("1.7b", 32, 4, 64),
]


def case_name(case):
    return "-".join(str(part) for part in case)


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(values, share=0.5):
    return round(1e3 * quantile(values, share), 3)


def mean(values):
    return round(sum(values) / len(values), 2)


# ---- stand-ins for packages that the GPU machine lacks or that only load checkpoints ----


def add_module(name, package=False, **members):
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=package)
    if package:
        module.__path__ = []
    module.__dict__.update(members)
    sys.modules[name] = module


class AttributeDict(dict):
    """A dict whose entries are attributes too, converted all the way down like easydict's."""

    def __init__(self, source=None):
        super().__init__()
        for key, value in (source or {}).items():
            setattr(self, key, value)

    def __setattr__(self, key, value):
        if isinstance(value, (list, tuple)):
            value = type(value)(AttributeDict(v) if isinstance(v, dict) else v for v in value)
        elif isinstance(value, dict) and not isinstance(value, AttributeDict):
            value = AttributeDict(value)
        super().__setattr__(key, value)
        super().__setitem__(key, value)

    __setitem__ = __setattr__


class Unavailable:
    """What only a real checkpoint would need; the configuration classes derive from it."""

    def __init__(self, *args, **kwargs):
        raise RuntimeError("this stand-in is never built")


class Tokenizer:
    """The two numbers that the engine asks a tokenizer for."""

    eos_token_id = EOS
    mask_token_id = MASK

    def __len__(self):
        return TOKENIZER


def add_stand_ins():
    sys.modules["rich"] = None  # plain log lines, whatever version is installed
    add_module("easydict", EasyDict=AttributeDict)
    add_module("transformers", package=True, AutoConfig=Unavailable, AutoTokenizer=Unavailable,
               PretrainedConfig=Unavailable, PreTrainedTokenizerFast=Unavailable)
    add_module("transformers.configuration_utils", PretrainedConfig=Unavailable)
    add_module("transformers.modeling_rope_utils", rope_config_validation=lambda config: None)


def patch_engine():
    """Random weights in place of a checkpoint, no tokenizer files, no process group."""
    import torch
    import diffulex.engine.engine as engine
    import diffulex.engine.model_runner as runner
    import diffulex.model.auto_model as auto_model
    import diffulex.distributed.parallel_state as parallel

    def random_weights(model, config):
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.02)
        return model

    state = parallel.build_parallel_state_for_test(tp_size=1, ep_size=1)
    parallel.PARALLEL_STATE = state
    runner.init_process_group = lambda **_: None
    runner.init_parallel_state = lambda **_: state
    auto_model.load_model = random_weights
    engine.auto_tokenizer_from_pretrained = lambda *_, **__: Tokenizer()


# ---- one case, in its own process ----


def model_config(shape):
    return types.SimpleNamespace(
        model_type="sdar", architectures=["SDARForCausalLM"], vocab_size=VOCABULARY, head_dim=128,
        hidden_act="silu", rms_norm_eps=1e-6, rope_theta=1000000.0, rope_scaling=None,
        attention_bias=False, tie_word_embeddings=False, max_position_embeddings=32768,
        mask_token_id=MASK, eos_token_id=EOS, **shape)


def build_engine(case, args):
    from diffulex.engine.engine import DiffulexEngine

    shape, block, buffer, requests = case
    pages = requests * (args.max_model_len // 32) + 64
    with tempfile.TemporaryDirectory() as folder:  # the engine wants one, and reads nothing in it
        return DiffulexEngine(
            folder, model_name="sdar", decoding_strategy="multi_bd",
            hf_config=model_config(SHAPES[shape]), mask_token_id=MASK, block_size=block,
            buffer_size=buffer, max_num_reqs=args.max_num_reqs or requests,
            max_model_len=args.max_model_len,
            max_num_batched_tokens=2 * args.max_model_len, num_pages=pages, device_ids=[0],
            tensor_parallel_size=1, data_parallel_size=1, attn_impl="triton_grouped",
            enforce_eager=False, enable_full_static_runner=True,
            decoding_thresholds=dict(add_block_threshold=0.0, accept_threshold=1.0,
                                     semi_complete_threshold=args.semi_complete))


def note_forwards(runner):
    """A list that receives the rows and the attention metadata of every forward."""
    forwards = []
    forward = runner.run_model_multi_block

    def noted(input_ids, positions):
        forwards.append((int(input_ids.size(0)), runner.fetch_attn_metadata()))
        return forward(input_ids, positions)

    runner.run_model_multi_block = noted
    return forwards


def add_requests(engine, requests, temperature):
    from diffulex.sampling_params import SamplingParams

    chance = random.Random(0)
    sampling = SamplingParams(temperature=temperature, max_tokens=1024, ignore_eos=True)
    for _ in range(requests):
        engine.add_request([chance.randrange(EOS) for _ in range(PROMPT)], sampling)


def timed_step(engine):
    import torch

    start = time.perf_counter()
    reqs, is_prefill = engine.step()
    torch.cuda.synchronize()
    return time.perf_counter() - start, list(reqs), bool(is_prefill)


def reach_full_windows(engine, requests, warm):
    """Prefills every request and makes `warm` decode steps; returns the number of prefill steps."""
    prefill_steps = 0
    while timed_step(engine)[2]:
        prefill_steps += 1
        if prefill_steps > requests:
            raise RuntimeError("prefill does not end")
    for _ in range(warm - 1):
        timed_step(engine)
    return prefill_steps


def measured_steps(engine, case, args):
    """Lists, over the measured steps: seconds, rows, tokens accepted, windows, masks left."""
    _, _, _, requests = case
    forwards = note_forwards(engine.model_runner)
    seconds, rows, accepted, windows, masks = [], [], [], [], []
    while len(seconds) < args.steps and (len(seconds) < 20 or sum(seconds) < args.seconds):
        forwards.clear()
        took, reqs, is_prefill = timed_step(engine)
        if is_prefill or len(reqs) != requests:
            raise RuntimeError(f"step {len(seconds)}: prefill={is_prefill}, {len(reqs)} requests")
        if any(req.is_finished or req.is_completed for req in reqs):
            raise RuntimeError(f"step {len(seconds)}: a request ended")
        (count, metadata), = forwards
        valid = metadata.valid_slices[:requests] - metadata.cu_seqlens_q[:requests]
        seconds.append(took)
        rows.append(count)
        windows.append(valid.tolist())
        accepted.append(sum(req.new_tokens for req in reqs) / requests)
        masks.append(sum(block.num_mask_tokens for req in reqs
                         for block in req.dllm_block_buffer.dllm_blocks) / requests)
    return seconds, rows, accepted, windows, masks


def measure(case, args):
    import torch

    add_stand_ins()
    importlib.import_module("diffulex.strategy")  # registers the strategies
    patch_engine()
    torch.manual_seed(0)
    began = time.perf_counter()
    engine = build_engine(case, args)
    built = time.perf_counter() - began
    print(BUILT, flush=True)

    _, block, buffer, requests = case
    add_requests(engine, requests, args.temperature)
    prefill_steps = reach_full_windows(engine, requests, args.warm)
    seconds, rows, accepted, windows, masks = measured_steps(engine, case, args)

    graphs = engine.model_runner.graphs
    expected = requests * block * buffer
    if set(rows) != {expected} or expected not in graphs:
        raise RuntimeError(f"rows {sorted(set(rows))}, graphs for {sorted(graphs)}")
    sixth = max(1, len(seconds) // 6)
    return dict(
        case=case_name(case), rows=expected, median_ms=milliseconds(seconds),
        p10_ms=milliseconds(seconds, 0.1), p90_ms=milliseconds(seconds, 0.9), steps=len(seconds),
        first_ms=milliseconds(seconds[:sixth]), last_ms=milliseconds(seconds[-sixth:]),
        accepted_per_request=mean(accepted), masks_per_window=mean(masks),
        blocks_per_window=mean([sum(window) / requests / block for window in windows]),
        fewest_blocks=min(min(window) for window in windows) // block,
        logits_in_graph=bool(engine.model_runner.graph_outputs_are_logits),
        prefill_steps=prefill_steps, build_s=round(built, 1),
        gpu_gib=round(torch.cuda.max_memory_allocated() / 2**30, 1),
        device=torch.cuda.get_device_name(0), torch=torch.__version__,
        vllm=importlib.util.find_spec("vllm") is not None,
        step_ms=[round(1e3 * s, 3) for s in seconds])


def child(case, args):
    faulthandler.dump_traceback_later(max(5, args.timeout - 5), exit=False)
    sys.path.insert(0, str(Path(args.source).resolve()))
    try:
        result = measure(case, args)
    except BaseException:
        text = traceback.format_exc()
        print(text, file=sys.stderr)
        result = dict(case=case_name(case), error=text.strip().splitlines()[-15:])
    Path(args.result).write_text(json.dumps(result))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit("error" in result)  # nothing of the engine's shutdown is of interest


# ---- all cases ----


def run_case(case, args, timeout, log):
    """Runs one case in its own process group and returns its figures, or what went wrong."""
    name = case_name(case)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        output = Path(folder) / "output"
        command = [sys.executable, "-u", os.path.abspath(__file__), "--child", name,
                   "--result", str(result), "--source", args.source, "--timeout", str(timeout)]
        for option in ("steps", "warm", "seconds", "temperature", "semi_complete",
                       "max_model_len", "max_num_reqs"):
            command += ["--" + option.replace("_", "-"), str(getattr(args, option))]
        environment = dict(os.environ, TQDM_DISABLE="1", NO_COLOR="1")
        environment.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        with output.open("wb") as sink:
            process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, env=environment,
                                       start_new_session=True)
            try:
                code = process.wait(timeout=timeout)
            except subprocess.TimeoutExpired:
                code = "timeout"
            finally:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()
        text = output.read_text(errors="replace")
        with log.open("a") as sink:
            sink.write(f"==== {name}: {code}\n{text}\n")
        if result.exists():
            figures = json.loads(result.read_text())
            # Compiled norms that fell back to eager before or in the graphs' capture.
            figures["recompile_limit_in_build"] = text.split(BUILT)[0].count("recompile_limit")
            return figures
        tail = text.strip().splitlines()[-15:]
        return dict(case=name, error=[f"exit {code} after at most {timeout:.0f} s"] + tail)


def main():
    names = [case_name(case) for case in CASES]
    parser = argparse.ArgumentParser(description="Times decode steps of the engine Diffulex.")
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="NAME",
                        help="shape-block-buffer-requests; all of: " + " ".join(names))
    parser.add_argument("--source", default=str(ROOT / "out" / "reference" / "src"),
                        help="folder that holds the package diffulex")
    parser.add_argument("--out", default=os.environ.get("OUT", str(ROOT / "out")),
                        help="folder for reference.json and reference.log")
    parser.add_argument("--timeout", type=float, default=100, help="seconds per case")
    parser.add_argument("--first-timeout", type=float, default=200,
                        help="seconds for the first case, which fills the compile caches")
    parser.add_argument("--budget", type=float, default=570, help="seconds for all cases")
    parser.add_argument("--steps", type=int, default=60, help="measured steps per case")
    parser.add_argument("--warm", type=int, default=10, help="decode steps before them")
    parser.add_argument("--seconds", type=float, default=20,
                        help="measure no longer than this, but at least 20 steps")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--semi-complete", type=float, default=0.9,
                        help="progress after which a block lets its successor take a token a step")
    parser.add_argument("--max-model-len", type=int, default=2048)
    parser.add_argument("--max-num-reqs", type=int, default=0, help="0: the case's requests")
    parser.add_argument("--child", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    args = parser.parse_args()

    if args.child:
        child(CASES[names.index(args.child)], args)

    if not (Path(args.source) / "diffulex" / "__init__.py").is_file():
        parser.error(f"no package diffulex in {args.source}")
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    log = out / "reference.log"
    log.write_text("")
    began = time.monotonic()
    results = []
    for case in CASES:
        if case_name(case) not in args.cases:
            continue
        left = args.budget - (time.monotonic() - began)
        limit = min(left, args.timeout if results else max(args.timeout, args.first_timeout))
        if limit < 20:
            result = dict(case=case_name(case), error=["no time left"])
        else:
            start = time.monotonic()
            result = run_case(case, args, limit, log)
            result["wall_s"] = round(time.monotonic() - start, 1)
        results.append(result)
        (out / "reference.json").write_text(json.dumps(results, indent=1) + "\n")
        print(json.dumps({k: v for k, v in result.items() if k != "step_ms"}), flush=True)
    return int(any("error" in result for result in results))


if __name__ == "__main__":
    sys.exit(main())

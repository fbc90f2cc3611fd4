// Every allocation of a small run fails once: create, submit, step, read, ask the cache, destroy.
// The call says so (HOST_MEMORY) or, inside a step, one request ends so; the same call tried again
// works, the output is the one without a failure, and nothing leaks.
//
//   diffulex_alloc_tests [first [step]]   begins at that allocation, tries every step-th one
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "byte_tokenizer.h"
#include "diffulex.h"
#include "failing_allocator.h"
#include "safetensors_file.h"

namespace {

using diffulex::testing::TempDir;
using diffulex::testing::TestTensor;
using nlohmann::json;

[[noreturn]] void die(const char* what, int64_t value = 0) {
  std::fprintf(stderr, "allocation failure: %s (%lld)\n", what, static_cast<long long>(value));
  std::exit(1);
}

// ---- a checkpoint of one small layer, with a tokenizer that knows single bytes

TestTensor tensor(const std::string& name, std::vector<int64_t> shape, float around,
                  std::mt19937& rng) {
  std::normal_distribution<float> draw(around, 0.3f);
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  std::string data;
  for (int64_t i = 0; i < count; ++i) {
    const float value = draw(rng);
    data.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return {name, "F32", std::move(shape), std::move(data)};
}

void write_checkpoint(const std::string& dir) {
  std::mt19937 rng(1);
  std::vector<TestTensor> tensors;
  const auto add = [&](const char* name, std::vector<int64_t> shape) {
    tensors.push_back(tensor(name, std::move(shape), shape.size() == 1 ? 1.0f : 0.0f, rng));
  };
  add("model.embed_tokens.weight", {258, 32});
  add("lm_head.weight", {258, 32});
  add("model.norm.weight", {32});
  const std::string layer = "model.layers.0.";
  for (const char* name : {"input_layernorm.weight", "post_attention_layernorm.weight"})
    add((layer + name).c_str(), {32});
  for (const char* name : {"self_attn.q_norm.weight", "self_attn.k_norm.weight"})
    add((layer + name).c_str(), {16});
  for (const char* name : {"self_attn.q_proj.weight", "self_attn.k_proj.weight",
                           "self_attn.v_proj.weight", "self_attn.o_proj.weight",
                           "mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"})
    add((layer + name).c_str(), {32, 32});
  diffulex::testing::write_file(dir + "/model.safetensors",
                                diffulex::testing::safetensors_file(tensors));
  const json config = {{"architectures", {"SDARForCausalLM"}},
                       {"model_type", "sdar"},
                       {"vocab_size", 258},
                       {"hidden_size", 32},
                       {"intermediate_size", 32},
                       {"num_hidden_layers", 1},
                       {"num_attention_heads", 2},
                       {"num_key_value_heads", 2},
                       {"head_dim", 16},
                       {"block_size", 4},
                       {"max_position_embeddings", 64},
                       {"tie_word_embeddings", false},
                       {"hidden_act", "silu"},
                       {"rms_norm_eps", 1e-6},
                       {"rope_theta", 10000.0},
                       {"mask_token_id", 257},
                       {"eos_token_id", 256},
                       {"torch_dtype", "float32"}};
  diffulex::testing::write_file(dir + "/config.json", config.dump());
  diffulex::testing::write_file(dir + "/tokenizer.json",
                                diffulex::testing::byte_tokenizer(json::array()).dump());
}

// ---- the run

struct Result {
  std::vector<diffulex_token> tokens[2];
  std::string text;
};

// A call that may fail for want of memory, once; everything else is fatal.
template <class Call>
void must(const char* what, Call&& call, diffulex_status expected = DIFFULEX_OK) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    diffulex_error* error = nullptr;
    const diffulex_status status = call(&error);
    if (status != DIFFULEX_E_HOST_MEMORY && status < 0 && status != expected)
      std::fprintf(stderr, "%s\n", diffulex_error_message(error));
    if (status < 0 && diffulex_error_status(error) != status) die("another status in the error");
    diffulex_error_free(error);
    if (status == expected || status == DIFFULEX_S_END) return;
    if (status != DIFFULEX_E_HOST_MEMORY || !diffulex_alloc::has_failed()) die(what, status);
  }
  die(what);
}

diffulex_engine* create(const std::string& dir) {
  const diffulex_kv options[] = {{"page_size", "8"}, {"max_requests", "2"}, {"device_steps", "3"}};
  diffulex_engine_config config;
  diffulex_engine_config_init(&config, sizeof(config));
  config.model_dir = dir.c_str();
  config.cpu_threads = 1;
  config.buffer_blocks = 2;
  config.weight_dtype = DIFFULEX_DTYPE_F32;
  config.engine_options = options;
  config.engine_option_count = 3;
  config.log = [](const diffulex_log_record*, void*) {};
  config.log_level = DIFFULEX_LOG_TRACE;
  config.progress = [](const diffulex_progress*, void*) { return 0; };
  diffulex_engine* engine = nullptr;
  must("create", [&](auto** e) { return diffulex_engine_create(&config, &engine, e); });
  return engine;
}

// One that needs the host for each of its steps, and one that does not.
diffulex_request_id submit(diffulex_engine* engine, int which) {
  const char* const stops[] = {"never to be seen"};
  const diffulex_logit_bias bias[] = {{65, 1.5f}, {66, -INFINITY}};
  diffulex_request_params params;
  diffulex_request_params_init(&params, sizeof(params));
  params.max_tokens = 14;
  params.flags = DIFFULEX_REQUEST_TRACK_SLOTS;
  params.stop_strings = stops;
  params.stop_string_count = 1;
  params.deadline_ms = 100'000;
  if (which == 0) {
    params.logit_bias = bias;
    params.logit_bias_count = 2;
    params.repetition_penalty = 1.2f;
    params.top_p = 0.8f;
  }
  params.temperature = 0.9f;
  params.seed = 7;
  const std::string prompt = which == 0 ? "a prompt of some length" : "another one";
  diffulex_request_id id = 0;
  must("submit", [&](auto** e) {
    return diffulex_request_submit_text(engine, prompt.data(), prompt.size(), &params, &id, e);
  });
  return id;
}

void run_steps(diffulex_engine* engine) {
  for (diffulex_status status = DIFFULEX_OK; status != DIFFULEX_S_IDLE;) {
    diffulex_error* error = nullptr;
    status = diffulex_engine_step(engine, &error);
    diffulex_error_free(error);
    if (status < 0 && status != DIFFULEX_E_HOST_MEMORY) die("step", status);
  }
}

// Decodes a request; once more when it was the one that paid.
std::vector<diffulex_token> decode(diffulex_engine* engine, int which, std::string* text) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    const diffulex_request_id id = submit(engine, which);
    run_steps(engine);
    diffulex_request_info info{};
    info.struct_size = sizeof(info);
    must("info", [&](auto** e) { return diffulex_request_get_info(engine, id, &info, e); });
    std::vector<diffulex_token> tokens(info.committed_len);
    char buffer[256];
    size_t count = 0, size = 0;
    must("tokens", [&](auto** e) {
      return diffulex_request_read_tokens(engine, id, 0, tokens.data(), tokens.size(), &count, e);
    });
    must("text", [&](auto** e) {
      return diffulex_request_read_text(engine, id, 0, buffer, sizeof(buffer), &size, e);
    });
    diffulex_snapshot canvas{};
    canvas.struct_size = sizeof(canvas);
    diffulex_slot slots[64];
    must("snapshot", [&](auto** e) {
      return diffulex_request_snapshot(engine, id, &canvas, slots, sizeof(slots[0]), 64, nullptr, 0,
                                       0, e);
    });
    diffulex_event events[8];
    must("wait", [&](auto** e) {
      return diffulex_engine_wait(engine, events, sizeof(events[0]), 8, &count, 0, e);
    });
    if (diffulex_request_release(engine, id) != DIFFULEX_OK) die("release");
    text->assign(buffer, size);
    if (info.finish == DIFFULEX_FINISH_MAX_TOKENS) return tokens;
    if (info.finish != DIFFULEX_FINISH_ERROR || info.status != DIFFULEX_E_HOST_MEMORY)
      die("a request ended otherwise", info.finish);
  }
  die("a request failed twice");
}

void ask_the_cache(diffulex_engine* engine) {
  const std::string prompt = "a prompt of some length";
  diffulex_token tokens[32];
  size_t count = 0, matched = 0, entries = 0;
  const diffulex_tokenizer* const tokenizer = diffulex_engine_tokenizer(engine);
  must("encode", [&](auto** e) {
    return diffulex_tokenizer_encode(tokenizer, prompt.data(), prompt.size(), 0, tokens, 32, &count,
                                     e);
  });
  must("match",
       [&](auto** e) { return diffulex_cache_match(engine, tokens, count, nullptr, &matched, e); });
  if (matched == 0) die("nothing was cached");
  uint64_t pin = 0;
  must("pin", [&](auto** e) {
    return diffulex_cache_pin(engine, tokens, count, nullptr, &pin, nullptr, e);
  });
  must(
      "list", [&](auto** e) { return diffulex_cache_list(engine, nullptr, 0, 0, &entries, e); },
      DIFFULEX_E_BUFFER_TOO_SMALL);
  must("unpin", [&](auto** e) { return diffulex_cache_unpin(engine, pin, e); });
}

Result run(const std::string& dir) {
  Result result;
  diffulex_engine* const engine = create(dir);
  std::string unused;
  result.tokens[0] = decode(engine, 0, &result.text);
  result.tokens[1] = decode(engine, 1, &unused);
  ask_the_cache(engine);
  submit(engine, 0);  // and destroyed with it
  diffulex_engine_destroy(engine);
  return result;
}

bool same(const Result& a, const Result& b) {
  return a.tokens[0] == b.tokens[0] && a.tokens[1] == b.tokens[1] && a.text == b.text;
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t first = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  const uint64_t step = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const TempDir dir;
  write_checkpoint(dir.path());
  Result expected = run(dir.path());  // fills the caches of the process
  diffulex_alloc::fail_at(0);
  if (!same(run(dir.path()), expected)) die("two runs differ");
  const uint64_t allocations = diffulex_alloc::count();
  const int64_t live = diffulex_alloc::live_blocks();
  uint64_t failed = 0;
  for (uint64_t n = first; n <= allocations; n += step) {
    diffulex_alloc::fail_at(n);
    const bool equal = same(run(dir.path()), expected);
    diffulex_alloc::fail_at(0);
    failed += 1;
    if (!equal) die("another output after allocation", static_cast<int64_t>(n));
    if (diffulex_alloc::live_blocks() != live)
      die("blocks leaked by the failure of allocation", static_cast<int64_t>(n));
  }
  std::printf("%llu of %llu allocations failed, one in each run\n",
              static_cast<unsigned long long>(failed),
              static_cast<unsigned long long>(allocations));
  return 0;
}

#include "engine/engine_config.h"

#include <algorithm>

#include "base/error.h"
#include "base/system.h"

namespace diffulex {
namespace {

constexpr int64_t kDefaultRequests = 16;
constexpr int64_t kDefaultBatchedTokens =
    512;  // rows of a step: long enough for the matrix units, short enough to stay lively
constexpr int64_t kDefaultPageSize = 32;
constexpr int64_t kHostSequences = 4;    // full-length sequences that the CPU's default cache holds
constexpr uint64_t kHostCacheShare = 4;  // at most this part of the free memory

constexpr uint32_t kAllEvents = DIFFULEX_EVENT_STARTED | DIFFULEX_EVENT_COMMIT |
                                DIFFULEX_EVENT_REVISION | DIFFULEX_EVENT_PREEMPTED |
                                DIFFULEX_EVENT_FINISHED | DIFFULEX_EVENT_ENGINE_FAULT;

constexpr OptionSpec kEngineOptions[] = {
    {"block_size", OptionType::kInt, "", "1..256",
     "tokens of a diffusion block; default: the checkpoint's", 1, 256},
    {"buffer_blocks", OptionType::kInt, "", "1..32",
     "blocks in flight per request; 1 decodes block by block, more denoise several blocks at once; "
     "default: the model family's",
     1, decide::kMaxBufferBlocks},
    {"page_size", OptionType::kInt, "", "1..4096, a multiple of block_size",
     "tokens of a KV page, the unit of prefix reuse; default: 32, or block_size if that is larger",
     1, 4096},
    {"cpu_threads", OptionType::kInt, "", "1..1024",
     "compute threads, the stepping thread included; default: one per core that the process may "
     "use",
     1, 1024},
    {"max_requests", OptionType::kInt, "16", "1..4096", "requests that run together; others wait",
     1, 4096},
    {"max_batched_tokens", OptionType::kInt, "",
     "max_requests * buffer_blocks * block_size and more",
     "rows of one forward; default: 512, or that product if it is larger. Long prompts are "
     "computed in chunks of it",
     1, 1 << 20},
    {"max_model_len", OptionType::kInt, "", "1..the checkpoint's max_position_embeddings",
     "prompt and output of one request, tokens; default: the checkpoint's, as far as the cache "
     "holds it",
     1, 1 << 24},
    {"max_queue", OptionType::kInt, "1024", "1..1000000",
     "requests that may wait; more are refused", 1, 1000000},
    {"kv_bytes", OptionType::kInt, "", "one page and more",
     "memory of the KV cache, bytes; default: four sequences of max_model_len, at most a quarter "
     "of the free memory; on CUDA devices max_requests such sequences, at most what weights and a "
     "warm-up leave of device_memory_percent",
     1, 9e15},
    {"device_memory_percent", OptionType::kInt, "90", "1..100",
     "how full the memory of a CUDA device may get, with what others hold there; the KV cache "
     "takes what is left below it",
     1, 100},
    {"device_steps", OptionType::kInt, "1", "1..64",
     "steps that the device may run in a row, while all that runs decodes, before the host "
     "schedules "
     "again; outputs do not depend on it",
     1, 64},
    {"step_log_capacity", OptionType::kInt, "256", "1..1000000",
     "steps that diffulex_engine_read_steps remembers", 1, 1000000},
    {"cuda_graphs", OptionType::kBool, "true", "true, false",
     "record the launches of steps that recur and replay them as one, on CUDA devices"},
    {"batch_invariant", OptionType::kBool, "false", "true, false",
     "compute every row in an order that depends on its position alone, so that a request's output "
     "does not depend on what runs beside it; slower, on CUDA devices"},
    {"prefix_caching", OptionType::kBool, "true", "true, false",
     "reuse the KV pages of equal prompt and output prefixes"},
};

// Sizes come from fields and from options of the same name; both may speak when they say the same.
OptionValues gather_options(const diffulex_engine_config& config) {
  OptionValues values(kEngineOptions);
  const struct {
    const char* key;
    uint64_t value;
  } fields[] = {
      {"block_size", config.block_size},       {"buffer_blocks", config.buffer_blocks},
      {"page_size", config.page_size},         {"cpu_threads", config.cpu_threads},
      {"max_requests", config.max_requests},   {"max_batched_tokens", config.max_batched_tokens},
      {"max_model_len", config.max_model_len}, {"max_queue", config.max_queue},
      {"kv_bytes", config.kv_bytes},           {"step_log_capacity", config.step_log_capacity}};
  for (const auto& field : fields)
    if (field.value != 0) values.set("engine", field.key, std::to_string(field.value));
  for (size_t i = 0; i < config.engine_option_count; ++i)
    values.set("engine", config.engine_options[i].key, config.engine_options[i].value);
  return values;
}

[[noreturn]] void invalid(const char* option, std::string message) {
  throw Error(DIFFULEX_E_INVALID_ARGUMENT, std::move(message)).with("option", option);
}

[[noreturn]] void contradiction(const char* option, const char* other, std::string message) {
  throw Error(DIFFULEX_E_INVALID_ARGUMENT, std::move(message))
      .with("option", option)
      .with("contradicts", other);
}

std::vector<std::string> apply_requirements(const Strategy& strategy, OptionValues& options) {
  std::vector<std::string> notes;
  const std::string owner = "strategy '" + std::string(strategy.name) + "'";
  for (const Requirement& r : strategy.requirements)
    if (options.require(owner, r.option, r.value, r.reason))
      notes.push_back(owner + " runs with " + r.option + " = " + r.value + ": " + r.reason);
  return notes;
}

uint64_t page_bytes(const ArchSpec& arch, int64_t page_size, DType dtype) {
  uint64_t values = 0;
  for (int layer = 0; layer < static_cast<int>(arch.layers.size()); ++layer)
    values += 2 * static_cast<uint64_t>(arch.kv_size(layer));
  return values * static_cast<uint64_t>(page_size) * size_of(dtype);
}

void resolve_blocks(const OptionValues& options, const ArchSpec& arch, EngineShape& shape) {
  shape.block_size = static_cast<int32_t>(
      options.is_set("block_size") ? options.integer("block_size") : arch.block_size);
  shape.buffer_blocks =
      static_cast<int32_t>(options.is_set("buffer_blocks") ? options.integer("buffer_blocks")
                                                           : arch.decoding.buffer_blocks);
  const int64_t b = shape.block_size;
  const int64_t page = options.is_set("page_size") ? options.integer("page_size")
                                                   : (kDefaultPageSize + b - 1) / b * b;
  if (page % b != 0)
    contradiction(
        "page_size", "block_size",
        "page_size " + std::to_string(page) + " is no multiple of block_size " + std::to_string(b));
  shape.page_size = static_cast<int32_t>(page);
}

void resolve_batch(const OptionValues& options, EngineShape& shape) {
  const int64_t window = int64_t{shape.buffer_blocks} * shape.block_size;
  int64_t requests = options.integer("max_requests");
  int64_t rows = std::max(kDefaultBatchedTokens, requests * window);
  if (options.is_set("max_batched_tokens")) {
    rows = options.integer("max_batched_tokens");
    if (!options.is_set("max_requests"))
      requests = std::clamp(rows / window, int64_t{1}, kDefaultRequests);
    if (rows < requests * window)
      contradiction("max_batched_tokens", "max_requests",
                    "max_batched_tokens " + std::to_string(rows) + " is less than max_requests * " +
                        "buffer_blocks * block_size = " + std::to_string(requests * window));
  }
  shape.max_requests = static_cast<int32_t>(requests);
  shape.max_batched_tokens = static_cast<int32_t>(rows);
  shape.max_queue = static_cast<int32_t>(options.integer("max_queue"));
  shape.device_steps = static_cast<int32_t>(options.integer("device_steps"));
}

// Positions of a request at most.
int64_t resolve_length(const OptionValues& options, const ArchSpec& arch) {
  const int64_t length =
      options.is_set("max_model_len") ? options.integer("max_model_len") : arch.max_positions;
  if (length > arch.max_positions)
    invalid("max_model_len", "max_model_len " + std::to_string(length) +
                                 " exceeds the checkpoint's " + std::to_string(arch.max_positions) +
                                 " positions");
  if (length < 2)
    invalid("max_model_len", "max_model_len " + std::to_string(length) +
                                 " leaves no room for a prompt and an output");
  return length;
}

// Pages of the KV cache: as many as are wanted, and too few.
struct CachePages {
  int64_t wanted, least;
};

// What the memory that is free has to do with it is not asked here.
CachePages resolve_pages(const OptionValues& options, int64_t length, uint64_t page_bytes,
                         int64_t default_sequences, const EngineShape& shape) {
  const bool length_set = options.is_set("max_model_len");
  const int64_t one = (length + shape.page_size - 1) / shape.page_size;
  const int64_t most = INT32_MAX / shape.page_size, least = length_set ? one : 1;
  if (!options.is_set("kv_bytes"))
    return {std::min(one * std::min<int64_t>(shape.max_requests, default_sequences), most), least};
  const auto pages =
      static_cast<int64_t>(static_cast<uint64_t>(options.integer("kv_bytes")) / page_bytes);
  if (pages < least)
    contradiction("kv_bytes", "max_model_len",
                  "kv_bytes holds " + std::to_string(pages) + " pages of " +
                      std::to_string(page_bytes) + " bytes; max_model_len needs " +
                      std::to_string(least));
  return {std::min(pages, most), std::min(pages, most)};
}

void set_cache(int64_t pages, int64_t length, EngineShape& shape) {
  shape.kv_pages = static_cast<int32_t>(pages);
  shape.max_model_len = static_cast<int32_t>(std::min(length, pages * shape.page_size));
}

// Pages that the room holds, no fewer than the least.
int64_t fit(const CachePages& pages, uint64_t room, uint64_t page_bytes) {
  return std::clamp(static_cast<int64_t>(room / page_bytes), pages.least, pages.wanted);
}

DType weight_dtype(diffulex_dtype asked, const Device& device) {
  switch (asked) {
    case DIFFULEX_DTYPE_AUTO:
      return best_weight_dtype(device);
    case DIFFULEX_DTYPE_F32:
      return DType::kF32;
    case DIFFULEX_DTYPE_BF16:
      return DType::kBF16;
    case DIFFULEX_DTYPE_I8:
      check_int8_weights(device);
      return DType::kI8;
    default:
      invalid("weight_dtype",
              "weight_dtype " + std::to_string(asked) + " is none of AUTO, F32, BF16, I8");
  }
}

DType kv_dtype(diffulex_dtype asked, DType weights, const Device& device) {
  switch (asked) {
    case DIFFULEX_DTYPE_AUTO:  // a cache is not quantised
      return weights == DType::kI8 ? best_weight_dtype(device) : weights;
    case DIFFULEX_DTYPE_F32:
      return DType::kF32;
    case DIFFULEX_DTYPE_BF16:
      return DType::kBF16;
    default:
      invalid("kv_dtype", "kv_dtype " + std::to_string(asked) + " is none of AUTO, F32, BF16");
  }
}

void check_fields(const diffulex_engine_config& config) {
  if (config.model_dir == nullptr || *config.model_dir == '\0')
    invalid("model_dir", "model_dir is not set");
  if (config.tokenizer_dir != nullptr && *config.tokenizer_dir == '\0')
    invalid("tokenizer_dir", "tokenizer_dir is empty; NULL stands for model_dir");
  if (config.flags != 0) invalid("flags", "flags must be 0");
  if (config.event_mask != 0 && (config.event_mask & kAllEvents) == 0)
    invalid("event_mask", "event_mask has no bit that is a DIFFULEX_EVENT_*");
  if (config.log_level < DIFFULEX_LOG_TRACE || config.log_level > DIFFULEX_LOG_OFF)
    invalid("log_level", "log_level " + std::to_string(config.log_level) + " is no DIFFULEX_LOG_*");
  if (config.run_mode != DIFFULEX_RUN_MANUAL && config.run_mode != DIFFULEX_RUN_THREAD)
    invalid("run_mode",
            "run_mode " + std::to_string(config.run_mode) + " is neither MANUAL nor THREAD");
  const auto check_array = [](const char* name, const diffulex_kv* items, size_t count) {
    for (size_t i = 0; i < count; ++i)
      if (items == nullptr || items[i].key == nullptr || items[i].value == nullptr)
        invalid(name, std::string(name) + "[" + std::to_string(i) + "] is NULL");
  };
  check_array("engine_options", config.engine_options, config.engine_option_count);
  check_array("strategy_options", config.strategy_options, config.strategy_option_count);
}

uint64_t room_for_cache(const Device& device, uint64_t available, int percent,
                        const MemoryPlan& plan) {
  const uint64_t kept = device.memory_total / 100 * static_cast<uint64_t>(100 - percent);
  const uint64_t taken = kept + plan.weights + plan.workspace;
  return available > taken ? available - taken : 0;
}

BackendConfig backend_config(const EngineShape& shape, const SamplerRule& sampler, DType weights,
                             DType kv, int threads, int device) {
  BackendConfig backend;
  backend.max_requests = shape.max_requests;
  backend.max_tokens = shape.max_batched_tokens;
  backend.window_stride = shape.buffer_blocks * shape.block_size;
  backend.max_head_rows = shape.max_requests * backend.window_stride;
  backend.max_pages_per_request = (shape.max_model_len + shape.page_size - 1) / shape.page_size;
  backend.page_size = shape.page_size;
  backend.kv_pages = shape.kv_pages;
  backend.weight_dtype = weights;
  backend.kv_dtype = kv;
  backend.threads = threads;
  backend.device = device;
  backend.carry_rows = sampler.shift;
  return backend;
}

}  // namespace

std::span<const OptionSpec> engine_options() { return kEngineOptions; }

EngineConfig resolve(const diffulex_engine_config& config) {
  check_fields(config);
  OptionValues options = gather_options(config);
  const Device& device = find_device(config.devices);
  const auto model = std::make_shared<const ModelConfig>(read_model_config(config.model_dir));
  ArchSpec arch = model->arch;
  const Strategy& strategy =
      find_strategy(config.strategy != nullptr ? config.strategy : arch.decoding.strategy);
  OptionValues strategy_options(strategy.options);
  for (size_t i = 0; i < config.strategy_option_count; ++i)
    strategy_options.set("strategy '" + std::string(strategy.name) + "'",
                         config.strategy_options[i].key, config.strategy_options[i].value);
  strategy_options.seal();

  std::vector<std::string> notes = apply_requirements(strategy, options);
  EngineShape shape;
  const DType weights = weight_dtype(config.weight_dtype, device);
  const DType kv = kv_dtype(config.kv_dtype, weights, device);
  const uint64_t available = available_bytes(device);
  resolve_blocks(options, arch, shape);
  resolve_batch(options, shape);
  shape.prefix_caching = options.flag("prefix_caching");
  const int64_t length = resolve_length(options, arch);
  const uint64_t page = page_bytes(arch, shape.page_size, kv);
  CachePages pages = resolve_pages(options, length, page,
                                   is_cuda(device) ? shape.max_requests : kHostSequences, shape);
  if (!is_cuda(device)) pages.wanted = fit(pages, available / kHostCacheShare, page);
  set_cache(pages.wanted, length, shape);
  strategy.validate(arch, shape);
  const int threads = options.is_set("cpu_threads")
                          ? static_cast<int>(options.integer("cpu_threads"))
                          : processor_count();
  BackendConfig backend =
      backend_config(shape, sampler_for(arch), weights, kv, threads, device.index);
  backend.kv_pages_least = pages.least;
  backend.memory_percent = static_cast<int>(options.integer("device_memory_percent"));
  backend.device_steps = shape.device_steps;
  backend.graphs = options.flag("cuda_graphs");
  backend.batch_invariant = options.flag("batch_invariant");
  if (backend.batch_invariant && !is_cuda(device))
    throw Error(DIFFULEX_E_UNSUPPORTED,
                "batch_invariant is for CUDA devices; the engine is on '" + device.selector + "'")
        .with("option", "batch_invariant");
  MemoryPlan memory = plan_memory(device, arch, backend);
  if (is_cuda(device)) {  // an estimate; the backend measures
    const uint64_t room = room_for_cache(device, available, backend.memory_percent, memory);
    set_cache(fit(pages, room, page), length, shape);
    memory.kv = static_cast<uint64_t>(shape.kv_pages) * page;
  }
  return EngineConfig{
      .model_dir = config.model_dir,
      .tokenizer_dir = config.tokenizer_dir != nullptr ? config.tokenizer_dir : config.model_dir,
      .model = model,
      .arch = std::move(arch),
      .strategy = &strategy,
      .strategy_options = std::move(strategy_options),
      .shape = shape,
      .backend = backend,
      .device = &device,
      .make_backend = backend_of(device),
      .asked_length = length,
      .memory = memory,
      .available_bytes = available,
      .run_mode = config.run_mode,
      .event_mask = config.event_mask != 0 ? config.event_mask
                                           : static_cast<uint32_t>(~DIFFULEX_EVENT_REVISION),
      .step_log_capacity = static_cast<uint32_t>(options.integer("step_log_capacity")),
      .notes = std::move(notes)};
}

}  // namespace diffulex

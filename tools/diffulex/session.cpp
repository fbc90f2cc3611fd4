#include "session.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "terminal.h"

namespace diffulex_command {
namespace {

constexpr char kEraseLine[] = "\r\x1b[K";

// A bar on stderr, drawn over itself.
void draw_bar(float fraction) {
  constexpr int kWords = 15;  // columns of what is beside the bar
  const int width = std::min(30, terminal_size(STDERR_FILENO).columns - kWords);
  if (width < 1) return;
  const int filled = static_cast<int>(fraction * static_cast<float>(width));
  std::string bar;
  for (int i = 0; i < width; ++i) bar += i < filled ? "█" : "░";
  std::fprintf(stderr, "%sloading %s %3d %%", kEraseLine, bar.c_str(),
               static_cast<int>(fraction * 100));
}

// user_data: whether there is a bar.
int32_t on_progress(const diffulex_progress* progress, void* user_data) {
  if (*static_cast<const bool*>(user_data)) draw_bar(progress->fraction);
  return interrupted() ? 1 : 0;
}

std::string key_value(const std::string& text) {  // says what is wrong with it, "" = nothing
  const size_t equals = text.find('=');
  return equals == std::string::npos || equals == 0 ? "'" + text + "' is not key=value" : "";
}

bool parse_bias(const std::string& text, diffulex_logit_bias* out) {
  const char* const end = text.data() + text.size();
  const auto id = std::from_chars(text.data(), end, out->token);
  if (id.ec != std::errc() || id.ptr == end || *id.ptr != '=') return false;
  const auto value = std::from_chars(id.ptr + 1, end, out->bias);
  return value.ec == std::errc() && value.ptr == end;
}

std::string is_bias(const std::string& text) {  // says what is wrong with it, "" = nothing
  diffulex_logit_bias unused{};
  return parse_bias(text, &unused) ? "" : "'" + text + "' is not a token id=bias";
}

diffulex_dtype dtype_of(const std::string& name) {
  if (name == "f32") return DIFFULEX_DTYPE_F32;
  if (name == "i8") return DIFFULEX_DTYPE_I8;
  return name == "bf16" ? DIFFULEX_DTYPE_BF16 : DIFFULEX_DTYPE_AUTO;
}

}  // namespace

void EngineOptions::add_to(CLI::App& app, bool model_required) {
  auto* m = app.add_option("-m,--model", model, "Hugging Face checkpoint directory");
  if (model_required) m->required();
  app.add_option("--device", device, "cpu (default), cuda, cuda:1, ...; see 'inspect'");
  app.add_option("--strategy", strategy, "decoding strategy (default: the model family's)");
  app.add_option("--dtype", dtype, "compute type of the weights")
      ->check(CLI::IsMember({"auto", "f32", "bf16", "i8"}));
  app.add_option("--block-size", block_size,
                 "tokens of a diffusion block (default: the checkpoint's)");
  app.add_option("--buffer-blocks", buffer_blocks,
                 "blocks denoised at once (default: the library's)");
  app.add_option("--threads", threads, "compute threads (default: one per core)");
  app.add_option("--set", engine_set, "engine option key=value; see 'inspect'")
      ->check(key_value)
      ->allow_extra_args(false);
  app.add_option("--strategy-set", strategy_set, "strategy option key=value; see 'inspect'")
      ->check(key_value)
      ->allow_extra_args(false);
  app.add_flag("-q,--quiet", quiet, "no progress bar, no status lines");
}

void SamplingOptions::add_to(CLI::App& app) {
  app.add_option("--max-tokens", max_tokens, "output tokens at most")->capture_default_str();
  app.add_option("--temperature", temperature, "0 = greedy")->capture_default_str();
  app.add_option("--top-k", top_k, "keep the k most probable tokens; 0 = off");
  app.add_option("--top-p", top_p, "keep the most probable tokens up to this mass; 0 = off");
  app.add_option("--min-p", min_p,
                 "drop tokens less probable than this share of the most probable one; 0 = off");
  app.add_option("--repetition-penalty", repetition_penalty,
                 "divides the logits of tokens that were said already; 0 = off");
  app.add_option("--logit-bias", bias, "token id=what is added to its logit; repeatable")
      ->check(is_bias)
      ->allow_extra_args(false);
  app.add_option("--seed", seed, "of all random draws")->capture_default_str();
  app.add_option("--stop", stop, "text that ends the output; repeatable")->allow_extra_args(false);
  app.add_option("--max-steps", max_steps, "forwards over its blocks; 0 = no limit");
  app.add_option("--deadline-ms", deadline_ms, "ends the output after this time; 0 = none");
  app.add_option("--priority", priority, "higher is served earlier")->capture_default_str();
}

diffulex_request_params SamplingOptions::params() const {
  stop_views_.clear();
  bias_views_.clear();
  for (const std::string& s : stop) stop_views_.push_back(s.c_str());
  for (const std::string& item : bias) {
    diffulex_logit_bias parsed{};
    parse_bias(item, &parsed);
    bias_views_.push_back(parsed);
  }
  diffulex_request_params params;
  diffulex_request_params_init(&params, sizeof(params));
  params.temperature = temperature;
  params.top_k = top_k;
  params.top_p = top_p;
  params.seed = seed;
  params.max_tokens = max_tokens;
  params.min_p = min_p;
  params.repetition_penalty = repetition_penalty;
  params.max_steps = max_steps;
  params.deadline_ms = deadline_ms;
  params.priority = priority;
  params.stop_strings = stop_views_.data();
  params.stop_string_count = stop_views_.size();
  params.logit_bias = bias_views_.data();
  params.logit_bias_count = bias_views_.size();
  return params;
}

std::vector<diffulex_kv> Config::pairs(const std::vector<std::string>& items,
                                       std::vector<std::pair<std::string, std::string>>& store) {
  for (const std::string& item : items) {
    const size_t equals = item.find('=');
    store.emplace_back(item.substr(0, equals), item.substr(equals + 1));
  }
  std::vector<diffulex_kv> out;
  out.reserve(store.size());
  for (const auto& [key, value] : store) out.push_back({key.c_str(), value.c_str()});
  return out;
}

Config::Config(const EngineOptions& options)
    : model_(options.model), device_(options.device), strategy_(options.strategy) {
  diffulex_engine_config_init(&config, sizeof(config));
  engine_ = pairs(options.engine_set, engine_text_);
  strategy_options_ = pairs(options.strategy_set, strategy_text_);
  config.model_dir = model_.c_str();
  config.devices = device_.empty() ? nullptr : device_.c_str();
  config.strategy = strategy_.empty() ? nullptr : strategy_.c_str();
  config.weight_dtype = dtype_of(options.dtype);
  config.block_size = options.block_size;
  config.buffer_blocks = options.buffer_blocks;
  config.cpu_threads = options.threads;
  config.engine_options = engine_.data();
  config.engine_option_count = engine_.size();
  config.strategy_options = strategy_options_.data();
  config.strategy_option_count = strategy_options_.size();
}

Session::Session(const EngineOptions& options) {
  Config config(options);
  bool bar = !options.quiet && isatty(STDERR_FILENO) != 0;
  config.config.progress = on_progress;
  config.config.progress_user_data = &bar;
  diffulex_engine* engine = nullptr;
  diffulex_error* error = nullptr;
  const diffulex_status status = diffulex_engine_create(&config.config, &engine, &error);
  if (bar) std::fputs(kEraseLine, stderr);
  check(status, error);
  engine_.reset(engine);
}

std::string Session::render(const Turns& turns) const {
  std::vector<diffulex_message> messages;
  for (const auto& [role, content] : turns) messages.push_back({role.c_str(), content.c_str()});
  std::string out;
  size_t size = 0;
  if (tokenizer() == nullptr) throw Failure("the model has no tokenizer");
  // First how long it is, then the text.
  const diffulex_status status = diffulex_tokenizer_render_chat(
      tokenizer(), messages.data(), messages.size(), nullptr, nullptr, 0, &size, nullptr);
  if (status == DIFFULEX_E_BUFFER_TOO_SMALL) out.resize(size);
  diffulex_error* error = nullptr;
  check(diffulex_tokenizer_render_chat(tokenizer(), messages.data(), messages.size(), nullptr,
                                       out.data(), out.size(), &size, &error),
        error);
  return out;
}

diffulex_request_id Session::submit(const std::string& prompt,
                                    const diffulex_request_params& params) {
  diffulex_request_id id = 0;
  diffulex_error* error = nullptr;
  check(diffulex_request_submit_text(engine(), prompt.data(), prompt.size(), &params, &id, &error),
        error);
  return id;
}

bool Session::step() {
  diffulex_error* error = nullptr;
  const diffulex_status status = diffulex_engine_step(engine(), &error);
  check(status, error);
  return status == DIFFULEX_OK;
}

diffulex_request_info Session::info(diffulex_request_id id) const {
  diffulex_request_info info{};
  info.struct_size = sizeof(info);
  diffulex_error* error = nullptr;
  check(diffulex_request_get_info(engine(), id, &info, &error), error);
  return info;
}

diffulex_request_info Session::finished(diffulex_request_id id) const {
  const diffulex_request_info result = info(id);
  if (result.finish == DIFFULEX_FINISH_ERROR)
    throw Failure(std::string("the request failed: ") + diffulex_status_name(result.status));
  return result;
}

std::string Session::text(diffulex_request_id id, size_t offset) const {
  std::string out;
  char piece[4096];
  diffulex_status status = DIFFULEX_OK;
  size_t size = 0;
  do {
    diffulex_error* error = nullptr;
    status = diffulex_request_read_text(engine(), id, offset + out.size(), piece, sizeof(piece),
                                        &size, &error);
    check(status, error);
    out.append(piece, size);
  } while (size == sizeof(piece));
  return out;
}

diffulex_engine_info Session::engine_info() const {
  diffulex_engine_info info{};
  info.struct_size = sizeof(info);
  diffulex_error* error = nullptr;
  check(diffulex_engine_get_info(engine(), &info, &error), error);
  return info;
}

const char* finish_name(diffulex_finish finish) {
  switch (finish) {
    case DIFFULEX_FINISH_NONE:
      return "none";
    case DIFFULEX_FINISH_EOS:
      return "eos";
    case DIFFULEX_FINISH_STOP_TOKEN:
      return "stop_token";
    case DIFFULEX_FINISH_STOP_STRING:
      return "stop_string";
    case DIFFULEX_FINISH_MAX_TOKENS:
      return "max_tokens";
    case DIFFULEX_FINISH_CONTEXT:
      return "context";
    case DIFFULEX_FINISH_MAX_STEPS:
      return "max_steps";
    case DIFFULEX_FINISH_REPETITION:
      return "repetition";
    case DIFFULEX_FINISH_DEADLINE:
      return "deadline";
    case DIFFULEX_FINISH_ABORTED:
      return "aborted";
    case DIFFULEX_FINISH_ERROR:
      return "error";
    default:
      return "unknown";
  }
}

}  // namespace diffulex_command

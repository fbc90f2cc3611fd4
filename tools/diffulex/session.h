// An engine with its options, for one run of the command. Failures are thrown as Failure.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "diffulex.h"
#include "failure.h"

namespace diffulex_command {

struct EngineOptions {
  std::string model, device, strategy, dtype = "auto";
  uint32_t block_size = 0, buffer_blocks = 0, threads = 0;
  std::vector<std::string> engine_set, strategy_set;  // "key=value"
  bool quiet = false;

  void add_to(CLI::App& app, bool model_required = true);
};

struct SamplingOptions {
  float temperature = 0, top_p = 0, min_p = 0, repetition_penalty = 0;
  int top_k = 0, priority = 0;
  uint64_t seed = 0;
  uint32_t max_tokens = 512, max_steps = 0, deadline_ms = 0;
  std::vector<std::string> stop;
  std::vector<std::string> bias;  // "token id=bias"

  void add_to(CLI::App& app);
  diffulex_request_params params() const;  // views this object; the next call replaces them

 private:
  mutable std::vector<const char*> stop_views_;
  mutable std::vector<diffulex_logit_bias> bias_views_;
};

// The config of some options; strings and arrays live as long as this object.
class Config {
 public:
  explicit Config(const EngineOptions& options);
  diffulex_engine_config config;

 private:
  static std::vector<diffulex_kv> pairs(const std::vector<std::string>& items,
                                        std::vector<std::pair<std::string, std::string>>& store);
  std::string model_, device_, strategy_;
  std::vector<std::pair<std::string, std::string>> engine_text_, strategy_text_;
  std::vector<diffulex_kv> engine_, strategy_options_;
};

class Session {
 public:
  explicit Session(const EngineOptions& options);  // shows a progress bar when stderr is a terminal
  diffulex_engine* engine() const { return engine_.get(); }
  const diffulex_tokenizer* tokenizer() const { return diffulex_engine_tokenizer(engine_.get()); }

  using Turns = std::vector<std::pair<std::string, std::string>>;
  std::string render(const Turns& turns) const;
  diffulex_request_id submit(const std::string& prompt, const diffulex_request_params& params);
  bool step();  // false: nothing left to do
  diffulex_request_info info(diffulex_request_id id) const;
  diffulex_request_info finished(diffulex_request_id id) const;  // throws when it failed
  std::string text(diffulex_request_id id, size_t offset = 0) const;
  diffulex_engine_info engine_info() const;

 private:
  struct Destroy {
    void operator()(diffulex_engine* e) const { diffulex_engine_destroy(e); }
  };
  std::unique_ptr<diffulex_engine, Destroy> engine_;
};

const char* finish_name(diffulex_finish finish);

}  // namespace diffulex_command

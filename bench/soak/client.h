// One client of the engine: submits, reads, aborts, asks the cache, and checks what it gets.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "diffulex.h"
#include "findings.h"
#include "ledger.h"
#include "random_request.h"

namespace diffulex_soak {

// What all clients share.
struct World {
  diffulex_engine* engine = nullptr;
  Vocabulary vocabulary;
  uint32_t max_prompt = 0;         // tokens
  std::vector<Tokens> prefixes;    // that many prompts begin with
  std::atomic<int64_t> budget{0};  // requests that may still be submitted
  std::atomic<bool> stop{false};   // submit nothing more
};

// Thread class: one owner.
class Client {
 public:
  Client(World& world, Ledger& ledger, Findings& findings, uint64_t seed);

  // Until the world stops or the budget is spent; requests may still run then.
  void run();
  // Checks and releases those that ended.
  void close_ended();
  size_t live() const { return live_.size(); }

 private:
  struct Live {
    diffulex_request_id id = 0;
    Tokens prompt, output;  // output: as far as it was read
    size_t text_bytes = 0;  // likewise
  };

  void act();
  Tokens next_prompt();
  void submit();
  void look_at(Live& request);
  diffulex_status read_tokens(Live& request);
  diffulex_status read_text(Live& request);
  void look_at_canvas(const Live& request);
  void look_at_engine();
  void use_cache();
  void unpin();
  void close(Live& request);
  void remember(const Live& request);
  // False when the call failed; a finding unless that is allowed. error: by reference, for the call
  // may be evaluated after it.
  bool fine(diffulex_status status, diffulex_error* const& error, const char* call,
            std::initializer_list<diffulex_status> allowed = {});

  World& world_;
  Ledger& ledger_;
  Findings& findings_;
  Random random_;
  std::vector<Live> live_;
  std::vector<Tokens> conversations_;  // that may be continued
  uint64_t pin_ = 0;
};

}  // namespace diffulex_soak

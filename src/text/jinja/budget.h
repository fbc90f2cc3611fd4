// What one rendering may take. Templates come with checkpoints, which come from anywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "text/jinja/failure.h"

namespace diffulex::jinja {

struct Limits {
  uint64_t steps = 50'000'000;  // evaluated nodes, loop iterations, compared and copied elements
  uint64_t bytes = uint64_t{1} << 29;  // of all strings and lists ever made, not of those that live
  uint64_t output = uint64_t{1} << 26;  // bytes
  int depth = 600;                      // nested evaluations, those inside of macro calls included
};

// Values nested deeper are refused, so functions may walk them by recursion.
inline constexpr int kMaxNesting = 100;

// Counts down. Not thread-safe: each rendering has its own.
class Budget {
 public:
  explicit Budget(const Limits& limits) : left_(limits) {}

  void steps(uint64_t count) { take(count, &left_.steps, "takes too many steps"); }
  // Looking through that much text takes as long as some steps.
  void reading(uint64_t size) { steps(size / 16 + 1); }
  void bytes(uint64_t count) { take(count, &left_.bytes, "makes too much text"); }
  void output(uint64_t count) { take(count, &left_.output, "writes too long a prompt"); }

  // One level deeper while it lives.
  class Level {
   public:
    explicit Level(Budget* budget) : budget_(budget) {
      if (budget_->left_.depth <= 0) fail("the template is nested or recurses too deeply");
      --budget_->left_.depth;
    }
    ~Level() { ++budget_->left_.depth; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Budget* budget_;
  };

 private:
  static void take(uint64_t count, uint64_t* left, const char* what) {
    if (count > *left) fail(std::string("the template ") + what);
    *left -= count;
  }

  Limits left_;
};

}  // namespace diffulex::jinja

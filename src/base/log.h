// The caller's log: silent unless a callback was given. Nothing is ever printed.
#pragma once

#include <string>

#include "diffulex.h"

namespace diffulex {

// Immutable; safe to use from any thread when the callback is.
class Log {
 public:
  Log() = default;
  Log(diffulex_log_fn fn, void* user_data, diffulex_log_level level) : fn_(fn), user_data_(user_data), level_(level) {}

  bool enabled(diffulex_log_level level) const { return fn_ != nullptr && level >= level_; }
  void write(diffulex_log_level level, const char* component, const std::string& message,
             diffulex_request_id request = 0) const;

 private:
  diffulex_log_fn fn_ = nullptr;
  void* user_data_ = nullptr;
  diffulex_log_level level_ = DIFFULEX_LOG_OFF;
};

// The process-wide log of diffulex_set_log, for what happens outside any engine.
Log process_log();
void set_process_log(const Log& log);

}  // namespace diffulex

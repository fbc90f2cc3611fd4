#include "base/log.h"

#include <mutex>

#include "base/system.h"

namespace diffulex {
namespace {

struct ProcessLog {
  std::mutex mutex;
  Log log;
};

ProcessLog& the_process_log() {
  static ProcessLog log;
  return log;
}

}  // namespace

void Log::write(diffulex_log_level level, const char* component, const std::string& message,
                diffulex_request_id request) const {
  if (!enabled(level)) return;
  diffulex_log_record record{};
  record.struct_size = sizeof(record);
  record.level = level;
  record.time_ns = monotonic_ns();
  record.request = request;
  record.component = component;
  record.message = message.c_str();
  fn_(&record, user_data_);
}

Log process_log() {
  const std::lock_guard lock(the_process_log().mutex);
  return the_process_log().log;
}

void set_process_log(const Log& log) {
  const std::lock_guard lock(the_process_log().mutex);
  the_process_log().log = log;
}

}  // namespace diffulex

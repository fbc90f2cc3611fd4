#include "cupti_trace.h"

#include <cupti.h>
#include <dlfcn.h>

#include <cstdlib>
#include <mutex>
#include <utility>

namespace diffulex_bench {
namespace {

constexpr size_t kBufferBytes = size_t{4} << 20, kAlignment = 8;  // as CUPTI asks
constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                         CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET};

// What the callbacks share with the trace.
struct Inbox {
  std::mutex mutex;  // guards the list
  std::vector<Activity> activities;
  decltype(&cuptiActivityGetNextRecord) next_record = nullptr;  // set before the first callback
};
Inbox& inbox() {
  static Inbox one;
  return one;
}

std::string copy_name(uint8_t kind) {
  switch (kind) {
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOD:
      return "copy to the device";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOH:
      return "copy to the host";
    default:
      return "copy on the device";
  }
}

// Of the kinds that are asked for.
Activity activity_of(const CUpti_Activity* record) {
  if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
    const auto* const r = reinterpret_cast<const CUpti_ActivityMemcpy6*>(record);
    return {copy_name(r->copyKind), r->start, r->end};
  }
  if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
    const auto* const r = reinterpret_cast<const CUpti_ActivityMemset4*>(record);
    return {"memset", r->start, r->end};
  }
  const auto* const r = reinterpret_cast<const CUpti_ActivityKernel10*>(record);
  return {r->name != nullptr ? r->name : "kernel without a name", r->start, r->end};
}

bool is_wanted(const CUpti_Activity* record) {
  for (const CUpti_ActivityKind kind : kKinds)
    if (record->kind == kind) return true;
  return false;
}

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* size, size_t* max_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(kAlignment, kBufferBytes));
  *size = *buffer != nullptr ? kBufferBytes : 0;
  *max_records = 0;  // as many as it holds
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  {
    Inbox& in = inbox();
    const std::lock_guard lock(in.mutex);
    CUpti_Activity* record = nullptr;
    while (valid > 0 && in.next_record(buffer, valid, &record) == CUPTI_SUCCESS)
      if (is_wanted(record)) in.activities.push_back(activity_of(record));
  }
  std::free(buffer);
}

}  // namespace

struct CuptiTrace::Api {
  void* library = nullptr;
  decltype(&cuptiActivityRegisterCallbacks) register_callbacks = nullptr;
  decltype(&cuptiActivityEnable) enable = nullptr;
  decltype(&cuptiActivityDisable) disable = nullptr;
  decltype(&cuptiActivityFlushAll) flush = nullptr;
  decltype(&cuptiGetTimestamp) timestamp = nullptr;
  decltype(&cuptiGetResultString) text = nullptr;

  template <class Function>
  bool find(Function* function, const char* name) {
    *function = reinterpret_cast<Function>(dlsym(library, name));
    return *function != nullptr;
  }
  bool find_all() {
    return find(&register_callbacks, "cuptiActivityRegisterCallbacks") &&
           find(&enable, "cuptiActivityEnable") && find(&disable, "cuptiActivityDisable") &&
           find(&flush, "cuptiActivityFlushAll") && find(&timestamp, "cuptiGetTimestamp") &&
           find(&text, "cuptiGetResultString") &&
           find(&inbox().next_record, "cuptiActivityGetNextRecord");
  }
};

// The library stays loaded: it has hooked itself into the driver.
std::unique_ptr<CuptiTrace> CuptiTrace::open(std::string* why) {
  auto api = std::make_unique<Api>();
  api->library = dlopen("libcupti.so.13", RTLD_NOW | RTLD_LOCAL);
  if (api->library == nullptr) {
    *why = dlerror();
    return nullptr;
  }
  if (!api->find_all()) {
    *why = "libcupti.so.13 lacks a function";
    return nullptr;
  }
  std::unique_ptr<CuptiTrace> trace(new CuptiTrace(std::move(api)));
  *why = trace->begin();
  return why->empty() ? std::move(trace) : nullptr;
}

CuptiTrace::CuptiTrace(std::unique_ptr<Api> api) : api_(std::move(api)) {}

// Empty when everything is on.
std::string CuptiTrace::begin() {
  CUptiResult result = api_->register_callbacks(give_buffer, take_buffer);
  for (const CUpti_ActivityKind kind : kKinds)
    if (result == CUPTI_SUCCESS) result = api_->enable(kind);
  if (result == CUPTI_SUCCESS) return "";
  const char* text = nullptr;
  (void)api_->text(result, &text);
  return text != nullptr ? text : "CUPTI refuses";
}

CuptiTrace::~CuptiTrace() {
  for (const CUpti_ActivityKind kind : kKinds) (void)api_->disable(kind);
  (void)api_->flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
}

uint64_t CuptiTrace::now() const {
  uint64_t time = 0;
  (void)api_->timestamp(&time);
  return time;
}

std::vector<Activity> CuptiTrace::take() {
  (void)api_->flush(0);
  const std::lock_guard lock(inbox().mutex);
  return std::exchange(inbox().activities, {});
}

}  // namespace diffulex_bench

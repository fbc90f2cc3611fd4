// A long and unkind day of an engine, through the public API alone.
//
//   diffulex_soak MODEL_DIR [--device cpu|cuda:0] [--seconds N | --requests N] [--clients N]
//                 [--seed N]
//
// The engine runs its own thread over a KV cache that is too small for its requests, so that they
// are preempted and cached prefixes evicted. Clients submit requests of every kind, read, abort,
// ask the cache, pin and clear; one thread takes the events. At the end everything is drained and
// the books must balance: every request ended once, tokens add up, no page is left in use, memory
// is flat. With --requests nothing depends on time: no watchdog, no look at the memory. Exit status
// 1 when a check fails.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "client.h"
#include "monitor.h"

namespace {

using namespace diffulex_soak;

struct Options {
  std::string model, device = "cpu";
  double seconds = 300;
  int64_t requests = 0;  // 0: as many as the seconds allow
  int clients = 4;
  uint64_t seed = 1;
};

// Sizes that make requests fight for pages.
constexpr uint32_t kPages = 64, kRequests = 12, kMaxLength = 512, kMaxQueue = 24;
constexpr uint32_t kPrefixes = 4, kLeastPrefix = 40, kMostPrefix = 130;
constexpr uint32_t kRoom = 64;  // positions behind the longest prompt

struct Destroy {
  void operator()(diffulex_engine* engine) const { diffulex_engine_destroy(engine); }
};
using EnginePtr = std::unique_ptr<diffulex_engine, Destroy>;

void check(diffulex_status status, diffulex_error* const& error) {
  if (status >= 0) return;
  const std::string message = diffulex_error_message(error);
  diffulex_error_free(error);
  throw std::runtime_error(message);
}

EnginePtr make_engine(const Options& options) {
  diffulex_engine_config config;
  diffulex_engine_config_init(&config, sizeof(config));
  config.model_dir = options.model.c_str();
  config.devices = options.device.c_str();
  config.run_mode = DIFFULEX_RUN_THREAD;
  config.buffer_blocks = 4;
  config.max_requests = kRequests;
  config.max_model_len = kMaxLength;
  config.max_queue = kMaxQueue;
  config.event_mask = DIFFULEX_EVENT_STARTED | DIFFULEX_EVENT_COMMIT | DIFFULEX_EVENT_REVISION |
                      DIFFULEX_EVENT_PREEMPTED | DIFFULEX_EVENT_FINISHED;
  const diffulex_kv steps{"device_steps", "4"};  // rows of steps, that everything has to cut short
  config.engine_options = &steps;
  config.engine_option_count = 1;
  diffulex_error* error = nullptr;
  diffulex_plan plan{};
  plan.struct_size = sizeof(plan);
  check(diffulex_engine_plan(&config, &plan, &error), error);
  config.kv_bytes = plan.kv_bytes / plan.kv_pages * kPages;
  diffulex_engine* engine = nullptr;
  check(diffulex_engine_create(&config, &engine, &error), error);
  return EnginePtr(engine);
}

diffulex_engine_info info_of(const diffulex_engine* engine) {
  diffulex_engine_info info{};
  info.struct_size = sizeof(info);
  diffulex_error* error = nullptr;
  check(diffulex_engine_get_info(engine, &info, &error), error);
  return info;
}

void fill(World& world, const diffulex_engine_info& info, const Options& options) {
  world.vocabulary = {info.vocab_size, info.mask_token};
  world.max_prompt = info.max_model_len - kRoom;
  world.budget = options.requests > 0 ? options.requests : INT64_MAX;
  Random random(options.seed);
  for (uint32_t i = 0; i < kPrefixes; ++i)
    world.prefixes.push_back(
        random_tokens(random, world.vocabulary, random.between(kLeastPrefix, kMostPrefix)));
}

// Takes events until the engine has stopped and nothing is left.
class EventReader {
 public:
  EventReader(diffulex_engine* engine, Ledger& ledger)
      : engine_(engine), ledger_(ledger), thread_([this] { loop(); }) {}
  ~EventReader() { finish(); }
  EventReader(const EventReader&) = delete;
  EventReader& operator=(const EventReader&) = delete;

  void finish() {
    stopped_.store(true);
    diffulex_engine_interrupt(engine_);
    if (thread_.joinable()) thread_.join();
  }

 private:
  void loop() {
    diffulex_event events[32];
    while (true) {
      const bool last = stopped_.load();
      size_t count = 0;
      const diffulex_status status = diffulex_engine_wait(engine_, events, sizeof(events[0]),
                                                          std::size(events), &count, 50, nullptr);
      for (size_t i = 0; i < count; ++i) ledger_.note(events[i]);
      if (status < 0 || (last && count == 0)) return;
    }
  }

  diffulex_engine* engine_;
  Ledger& ledger_;
  std::atomic<bool> stopped_{false};
  std::thread thread_;
};

// Runs the clients until the time or the budget is over.
void run_clients(std::vector<std::unique_ptr<Client>>& clients, World& world,
                 const Options& options) {
  std::vector<std::thread> threads;
  for (const auto& client : clients) threads.emplace_back([&client] { client->run(); });
  if (options.requests == 0) {
    std::this_thread::sleep_for(std::chrono::duration<double>(options.seconds));
    world.stop.store(true);
  }
  for (std::thread& thread : threads) thread.join();
}

void check_books(const diffulex_engine_stats& stats, const LedgerTotals& t, Findings& findings) {
  uint64_t ended = 0;
  for (const auto& [reason, count] : t.by_reason) ended += count;
  const auto of = [&](diffulex_finish reason) {
    const auto found = t.by_reason.find(reason);
    return found == t.by_reason.end() ? 0 : found->second;
  };
  findings.expect(t.submitted > 0, "nothing was submitted");
  findings.expect(t.submitted == ended, "submitted and ended requests differ");
  findings.expect(t.submitted == t.closed, "a client still waits for a request");
  findings.expect(t.open == 0, "events of requests that nobody knows");
  findings.expect(stats.finished == ended, "stats.finished differs from the events");
  findings.expect(stats.aborted == of(DIFFULEX_FINISH_ABORTED), "stats.aborted differs");
  findings.expect(stats.failed == of(DIFFULEX_FINISH_ERROR), "stats.failed differs");
  findings.expect(stats.committed_tokens == t.committed, "tokens of stats and events differ");
  findings.expect(t.read == t.committed, "tokens that were read and those of the events differ");
  findings.expect(stats.preemptions >= t.preempted_events, "fewer preemptions than events of them");
  findings.expect(stats.queued == 0 && stats.running == 0 && stats.preempted == 0,
                  "requests are left in the engine");
  findings.expect(stats.kv_pages_free == stats.kv_pages_total, "pages are left in use");
  findings.expect(stats.kv_pages_pinned == 0, "pages are left pinned");
}

void check_memory(const Monitor& monitor, Findings& findings) {
  const Growth resident = monitor.resident(), device = monitor.device();
  std::printf("memory, first and last third: RSS %.1f and %.1f MB, device %.1f and %.1f MB\n",
              resident.first_mb, resident.last_mb, device.first_mb, device.last_mb);
  findings.expect(resident.flat(), "the process grew");
  findings.expect(device.flat(), "the memory of the device grew");
}

void print_summary(const LedgerTotals& t, const diffulex_engine_stats& stats) {
  constexpr const char* kReasons[] = {"none",       "eos",     "stop token", "stop string",
                                      "max tokens", "context", "max steps",  "repetition",
                                      "deadline",   "aborted", "error"};
  const auto print = [](const char* what, uint64_t count) {
    std::printf("%-26s %10llu\n", what, static_cast<unsigned long long>(count));
  };
  print("submitted", t.submitted);
  print("refused, queue full", t.refused);
  for (const auto& [reason, count] : t.by_reason)
    print((std::string("ended: ") + kReasons[reason]).c_str(), count);
  print("events", t.events);
  print("tokens", stats.committed_tokens);
  print("steps", stats.steps);
  print("rows", stats.forwarded_tokens);
  print("tokens from the cache", stats.cached_tokens);
  print("preemptions", stats.preemptions);
  print("pages stored", stats.kv_pages_stored);
  print("pages reused", stats.kv_pages_reused);
  print("pages evicted", stats.kv_pages_evicted);
}

int verdict(const Findings& findings) {
  for (const std::string& text : findings.texts()) std::printf("FAILED: %s\n", text.c_str());
  std::printf("%s, %zu findings\n", findings.count() == 0 ? "passed" : "FAILED", findings.count());
  return findings.count() == 0 ? 0 : 1;
}

int soak(const Options& options) {
  const EnginePtr engine = make_engine(options);
  const diffulex_engine_info info = info_of(engine.get());
  std::printf("seed %llu, %d clients, %s: %s, %u pages of %u tokens\n",
              static_cast<unsigned long long>(options.seed), options.clients, info.device,
              info.kernels, info.kv_pages, info.page_size);
  Findings findings;
  Ledger ledger(findings);
  World world;
  world.engine = engine.get();
  fill(world, info, options);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < options.clients; ++i)
    clients.push_back(std::make_unique<Client>(world, ledger, findings,
                                               options.seed * 1000 + static_cast<uint64_t>(i) + 1));
  diffulex_error* error = nullptr;
  check(diffulex_engine_start(engine.get(), &error), error);
  print_header();
  EventReader events(engine.get(), ledger);
  Monitor monitor(engine.get(), info.device, ledger, options.requests == 0);
  run_clients(clients, world, options);
  check(diffulex_engine_stop(engine.get(), 1, &error), error);
  events.finish();
  for (const auto& client : clients) client->close_ended();
  monitor.finish();
  print(monitor.samples().back());
  const diffulex_engine_stats stats = monitor.samples().back().stats;
  print_summary(ledger.totals(), stats);
  check_books(stats, ledger.totals(), findings);
  if (options.requests == 0) check_memory(monitor, findings);
  return verdict(findings);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.rfind("--", 0) != 0) {
      options.model = word;
      continue;
    }
    if (i + 1 == argc) throw std::runtime_error(word + " needs a value");
    const std::string value = argv[++i];
    if (word == "--device")
      options.device = value;
    else if (word == "--seconds")
      options.seconds = std::atof(value.c_str());
    else if (word == "--requests")
      options.requests = std::atoll(value.c_str());
    else if (word == "--clients")
      options.clients = std::max(1, std::atoi(value.c_str()));
    else if (word == "--seed")
      options.seed = std::strtoull(value.c_str(), nullptr, 10);
    else
      throw std::runtime_error("unknown option " + word);
  }
  if (options.model.empty())
    throw std::runtime_error(
        "usage: diffulex_soak MODEL_DIR [--device D] [--seconds N | --requests N] [--clients N] "
        "[--seed N]");
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return soak(parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}

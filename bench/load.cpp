// How fast a checkpoint loads, how much memory that takes, and that it works then.
//
//   diffulex_bench_load make METADATA OUT         random weights for a directory of metadata
//   diffulex_bench_load make-shape SHAPE OUT      or for a shape (0.6b, 1.7b, 8b) without a
//   tokenizer diffulex_bench_load run DIR [--threads N] [--rounds N] [--steps N] [--weights
//   bf16|f32] [--cold]
//
// run prints, beside plain reads of the files and copies in memory: the time from the call to the
// engine, of it the time from the first weight to the last, and peak resident memory (VmHWM,
// without the pages of others) beside the memory of the weights. With a tokenizer it renders and
// answers one message. Exit status 1: something failed.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "diffulex.h"
#include "numbers.h"
#include "random_checkpoint.h"
#include "read_rates.h"

namespace {

using namespace diffulex_bench;
using Clock = std::chrono::steady_clock;

struct Wish {
  std::string dir;
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  int rounds = 3;
  int steps = 8;
  diffulex_dtype weights = DIFFULEX_DTYPE_AUTO;
  bool cold = false;
};

struct Load {
  double seconds = 0;  // of the whole call, of it
  double open_seconds = 0,
         weights_seconds = 0;   // until the first tensor was packed, until the last
  double user = 0, system = 0;  // processor seconds of all threads
  double peak = 0;              // bytes resident
  Clock::time_point start, first, last;
};

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double since(const timeval& now, const timeval& then) {
  return static_cast<double>(now.tv_sec - then.tv_sec) +
         1e-6 * static_cast<double>(now.tv_usec - then.tv_usec);
}

rusage usage() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage;
}

// A field of /proc/self/status in bytes.
double status_bytes(const std::string& field) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(field + ":"))
      return std::strtod(line.c_str() + field.size() + 1, nullptr) * 1024;
  return 0;
}

// The peak begins anew.
void forget_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

// error: by reference, as the call that fills it is an argument too.
void must(diffulex_status status, diffulex_error* const& error) {
  if (status >= 0) return;
  const std::string message = diffulex_error_message(error);
  diffulex_error_free(error);
  throw std::runtime_error(message);
}

int32_t note_progress(const diffulex_progress* progress, void* user_data) {
  Load& load = *static_cast<Load*>(user_data);
  if (progress->phase != DIFFULEX_LOAD_WEIGHTS) return 0;
  load.last = Clock::now();
  if (load.first == load.start) load.first = load.last;
  return 0;
}

diffulex_engine* create(const Wish& wish, Load* load) {
  diffulex_engine_config config;
  diffulex_engine_config_init(&config, sizeof(config));
  config.model_dir = wish.dir.c_str();
  config.weight_dtype = wish.weights;
  config.cpu_threads = static_cast<uint32_t>(wish.threads);
  config.max_requests = 1;
  config.max_batched_tokens = 256;
  config.max_model_len = 512;
  config.buffer_blocks = 1;
  config.progress = note_progress;
  config.progress_user_data = load;
  diffulex_engine* engine = nullptr;
  diffulex_error* error = nullptr;
  load->start = load->first = load->last = Clock::now();
  must(diffulex_engine_create(&config, &engine, &error), error);
  return engine;
}

Load measure(const Wish& wish, diffulex_engine** engine) {
  Load load;
  if (wish.cold) drop_cached(weight_files(wish.dir));
  forget_peak();
  const rusage before = usage();
  *engine = create(wish, &load);
  load.seconds = since(load.start);
  load.open_seconds = std::chrono::duration<double>(load.first - load.start).count();
  load.weights_seconds = std::chrono::duration<double>(load.last - load.first).count();
  const rusage after = usage();
  load.user = since(after.ru_utime, before.ru_utime);
  load.system = since(after.ru_stime, before.ru_stime);
  load.peak = status_bytes("VmHWM");
  return load;
}

// A conversation of one message as tokens; without a tokenizer some tokens.
std::vector<diffulex_token> prompt_of(const diffulex_engine* engine) {
  const diffulex_tokenizer* const tokenizer = diffulex_engine_tokenizer(engine);
  if (tokenizer == nullptr) return {11, 12, 13, 14, 15, 16, 17};
  const diffulex_message message = {"user", "Name three colours of a rainbow."};
  diffulex_error* error = nullptr;
  std::string text(4096, '\0');
  size_t size = 0, count = 0;
  must(diffulex_tokenizer_render_chat(tokenizer, &message, 1, nullptr, text.data(), text.size(),
                                      &size, &error),
       error);
  text.resize(size);
  std::vector<diffulex_token> tokens(4096);
  must(diffulex_tokenizer_encode(tokenizer, text.data(), text.size(), DIFFULEX_TEXT_PARSE_SPECIAL,
                                 tokens.data(), tokens.size(), &count, &error),
       error);
  tokens.resize(count);
  std::printf("prompt: %zu bytes as the chat template renders them, %zu tokens\n", size, count);
  return tokens;
}

// Milliseconds of each step behind the prompt's.
std::vector<double> decode(diffulex_engine* engine, int steps) {
  const std::vector<diffulex_token> prompt = prompt_of(engine);
  diffulex_request_params params;
  diffulex_request_params_init(&params, sizeof(params));
  params.max_tokens = 256;
  params.flags = DIFFULEX_REQUEST_IGNORE_EOS;
  diffulex_request_id id = 0;
  diffulex_error* error = nullptr;
  must(diffulex_request_submit(engine, prompt.data(), prompt.size(), &params, &id, &error), error);
  std::vector<double> times;
  for (int step = -1; step < steps; ++step) {
    const Clock::time_point start = Clock::now();
    const diffulex_status status = diffulex_engine_step(engine, &error);
    must(status, error);
    if (status == DIFFULEX_S_IDLE) break;
    if (step >= 0) times.push_back(since(start) * 1e3);
  }
  must(diffulex_request_release(engine, id), nullptr);
  return times;
}

void report_steps(diffulex_engine* engine, const Wish& wish, double weight_bytes) {
  const std::vector<double> times = decode(engine, wish.steps);
  if (times.empty()) throw std::runtime_error("no step was computed");
  const double rate = memory_rate(wish.threads);
  std::printf("steps: %.1f ms (median of %zu); floor %.1f ms: the weights once at %.1f GB/s\n",
              median(times), times.size(), weight_bytes / rate / 1e6, rate);
}

void run(const Wish& wish) {
  const std::vector<std::string> files = weight_files(wish.dir);
  const double bytes = bytes_of(files);
  if (wish.cold) drop_cached(files);
  const double read = file_rate(files, wish.threads);
  const double again = file_rate(files, wish.threads);
  std::printf("%s: %.2f GB in %zu files, %d threads\n", wish.dir.c_str(), bytes / 1e9, files.size(),
              wish.threads);
  std::printf(
      "floors: files read at %.1f GB/s%s, %.1f from the page cache, memory copied at %.1f, new "
      "memory written at %.1f\n",
      read, wish.cold ? " from the disk" : "", again, copy_rate(wish.threads),
      fresh_rate(wish.threads));
  std::vector<double> whole, weights;
  for (int round = 0; round < wish.rounds; ++round) {
    diffulex_engine* engine = nullptr;
    const Load load = measure(wish, &engine);
    diffulex_engine_info info;
    std::memset(&info, 0, sizeof(info));
    info.struct_size = sizeof(info);
    must(diffulex_engine_get_info(engine, &info, nullptr), nullptr);
    const double kept = static_cast<double>(info.weight_bytes);
    whole.push_back(load.seconds);
    weights.push_back(load.weights_seconds);
    std::printf(
        "load %d: %.2f s, %.2f GB/s (files opened %.2f s, weights %.2f s; processor: user %.2f s, "
        "system %.2f s); peak %.2f GB = %.3f x %.2f GB of weights (KV cache %.2f)\n",
        round + 1, load.seconds, bytes / 1e9 / load.seconds, load.open_seconds,
        load.weights_seconds, load.user, load.system, load.peak / 1e9, load.peak / kept, kept / 1e9,
        static_cast<double>(info.kv_bytes) / 1e9);
    std::fflush(stdout);
    if (round + 1 == wish.rounds) report_steps(engine, wish, kept);
    diffulex_engine_destroy(engine);
  }
  std::printf("median: %.2f s, %.2f GB/s, weights %.2f GB/s\n", median(whole),
              bytes / 1e9 / median(whole), bytes / 1e9 / median(weights));
}

Wish parse(int argc, char** argv) {
  Wish wish;
  wish.dir = argv[2];
  for (int i = 3; i < argc; ++i) {
    const std::string word = argv[i];
    const auto value = [&] { return std::string(i + 1 < argc ? argv[++i] : ""); };
    if (word == "--threads") {
      wish.threads = std::max(1, std::atoi(value().c_str()));
    } else if (word == "--rounds") {
      wish.rounds = std::max(1, std::atoi(value().c_str()));
    } else if (word == "--steps") {
      wish.steps = std::max(1, std::atoi(value().c_str()));
    } else if (word == "--weights") {
      wish.weights = value() == "f32" ? DIFFULEX_DTYPE_F32 : DIFFULEX_DTYPE_BF16;
    } else if (word == "--cold") {
      wish.cold = true;
    } else {
      throw std::runtime_error("unknown option " + word);
    }
  }
  return wish;
}

int work(int argc, char** argv) {
  const std::string task = argc > 2 ? argv[1] : "";
  if (task == "run") {
    run(parse(argc, argv));
  } else if (task == "make" && argc == 4) {
    std::printf("%.2f GB\n", static_cast<double>(write_random_checkpoint(argv[2], argv[3])) / 1e9);
  } else if (task == "make-shape" && argc == 4) {
    const ModelShape* const shape = find_shape(argv[2]);
    if (shape == nullptr) throw std::runtime_error(std::string("no shape ") + argv[2]);
    write_config(*shape, argv[3]);
    std::printf("%.2f GB\n", static_cast<double>(write_random_checkpoint(argv[3], argv[3])) / 1e9);
  } else {
    std::fprintf(stderr, "usage: make METADATA OUT | make-shape SHAPE OUT | run DIR [options]\n");
    return 2;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return work(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "diffulex_bench_load: %s\n", e.what());
    return 1;
  }
}

// With batch_invariant, what a request gets does not depend on its company, bit for bit: the picks
// of its rows (tokens, probabilities, entropies: sums over whole rows of logits) and its windows,
// over random weights in the shape of a real model.
//
//   diffulex_gpu_invariant_test [0.6b|1.7b|8b]
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <vector>

#include "bench/engine_case.h"
#include "bench/random_model.h"
#include "cuda/cuda_backend.h"
#include "engine/model_runner.h"
#include "engine/request_record.h"
#include "engine/scheduler.h"

namespace {

using namespace diffulex;
using namespace diffulex_bench;

constexpr int kForwards = 12;  // that are compared

// What a request saw in its forwards over the window.
struct Seen {
  std::vector<std::vector<decide::Pick>> picks;
  std::vector<decide::Window> windows;

  bool operator==(const Seen& other) const {
    const auto same = [](const auto& a, const auto& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
    };
    bool equal = picks.size() == other.picks.size() && same(windows, other.windows);
    for (size_t i = 0; equal && i < picks.size(); ++i) equal = same(picks[i], other.picks[i]);
    return equal;
  }
};

struct Member {
  uint64_t seed;  // of its prompt
  int prompt;
  float temperature;
};

class World {
 public:
  World(Backend& backend, const ArchSpec& arch, const EngineShape& shape)
      : arch_(arch),
        shape_(shape),
        strategy_(find_strategy("multi_bd")),
        cache_(strategy_.make_cache_manager(shape)),
        scheduler_(strategy_.make_scheduler(shape, *cache_)),
        runner_(strategy_.make_runner(backend)) {}

  void add(const Member& member) {
    RequestSpec spec;
    spec.blocks =
        strategy_.decision(arch_, sampler_for("sdar"), shape_, OptionValues(strategy_.options));
    spec.blocks.accept_threshold = 1;
    spec.limit = shape_.max_model_len;
    spec.limit_reason = decide::kContext;
    spec.sampler.top_p = 1;
    spec.sampler.temperature = member.temperature;
    spec.sampler.seed = member.seed;
    spec.sampler.flags = decide::kWantEntropy;
    uint64_t state = member.seed;
    for (int i = 0; i < member.prompt; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      spec.prompt.push_back(static_cast<int32_t>((state >> 33) % 30000));
    }
    auto request =
        strategy_.make_request(++last_id_, std::move(spec), std::make_shared<RequestRecord>());
    request->attention = strategy_.attention(*request);
    scheduler_->add(std::move(request));
  }

  // What the request `id` sees until it has been through enough forwards.
  Seen watch(uint64_t id) {
    Seen seen;
    std::vector<std::unique_ptr<Request>> finished;
    for (uint64_t step = 0; seen.windows.size() < kForwards; ++step) {
      const Schedule& schedule = scheduler_->schedule();
      std::vector<int32_t> heads;
      for (const ScheduledRequest& s : schedule.rows)
        heads.push_back(s.window_offset < 0 ? 0 : s.request->head_rows());
      const StepResult result = runner_->run(step, schedule);
      size_t first = 0;
      for (size_t i = 0; i < schedule.rows.size(); ++i) {
        const auto count = static_cast<size_t>(heads[i]);
        if (schedule.rows[i].request->id == id && schedule.rows[i].window_offset >= 0) {
          const auto picks = result.picks.subspan(first, count);
          seen.picks.emplace_back(picks.begin(), picks.end());
          seen.windows.push_back(result.windows[i]);
          seen.windows.back().forwards = 0;  // counts those of the prompt's pieces too
        }
        first += count;
      }
      scheduler_->settle(finished);
    }
    return seen;
  }

 private:
  const ArchSpec& arch_;
  const EngineShape shape_;
  const Strategy& strategy_;
  std::unique_ptr<KvCacheManager> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<ModelRunner> runner_;
  uint64_t last_id_ = 0;
};

// The watched one behind `before` others and in front of `after`.
Seen run(Backend& backend, const ArchSpec& arch, const EngineShape& shape, const Member& watched,
         int before, int after) {
  World world(backend, arch, shape);
  uint64_t id = 1;
  const auto other = [&](int i) {
    return Member{uint64_t(100 + i), 20 + i * 37 % 200, i % 3 == 2 ? 0.8f : 0.0f};
  };
  for (int i = 0; i < before; ++i, ++id) world.add(other(i));
  world.add(watched);
  for (int i = 0; i < after; ++i) world.add(other(before + i));
  return world.watch(id);
}

EngineShape shape_of(int max_batched) {
  EngineShape shape;
  shape.block_size = 32;
  shape.buffer_blocks = 2;
  shape.page_size = 32;
  shape.max_requests = 16;
  shape.max_batched_tokens = max_batched;
  shape.max_model_len = 512;
  shape.kv_pages = 16 * 17;
  shape.prefix_caching = false;
  return shape;
}

int test(const ModelShape& model_shape) {
  const std::vector<uint16_t> numbers = random_bf16(model_shape.largest_matrix());
  const RandomModel model(model_shape, numbers);
  const EngineShape whole = shape_of(2048), pieces = shape_of(1024);
  BackendConfig config = backend_config(whole);
  config.batch_invariant = true;
  const auto backend = cuda::create(model.arch, model.weights, config, nullptr);
  int failures = 0;
  for (const Member& watched : {Member{7, 150, 0.0f}, Member{8, 230, 0.7f}}) {
    const Seen alone = run(*backend, model.arch, whole, watched, 0, 0);
    for (const auto& [before, after] : {std::pair{0, 1}, {1, 0}, {2, 3}, {7, 0}, {0, 15}, {15, 0}})
      for (const EngineShape& shape : {whole, pieces}) {
        const bool same = run(*backend, model.arch, shape, watched, before, after) == alone;
        failures += same ? 0 : 1;
        std::printf("%s temperature %.1f, %d before, %d behind, %d rows a step\n",
                    same ? "ok    " : "FAILED", static_cast<double>(watched.temperature), before,
                    after, shape.max_batched_tokens);
      }
  }
  return failures;
}

}  // namespace

int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no CUDA device: nothing was tested\n");
    return 77;
  }
  const ModelShape* const shape = find_shape(argc > 1 ? argv[1] : "1.7b");
  if (shape == nullptr) {
    std::fprintf(stderr, "not a model: %s\n", argv[1]);
    return 2;
  }
  try {
    return test(*shape) == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

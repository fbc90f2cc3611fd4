// An engine whose backend fails: without memory nothing is lost, a defect ends the requests that
// took part, a lost device ends the engine, and another engine does not notice.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <new>
#include <thread>

#include "api/request_params.h"
#include "base/error.h"
#include "engine/engine.h"

namespace diffulex {
namespace {

// Called around each step of the CPU backend behind it; may throw.
struct Fault {
  std::function<void(uint64_t step)> before, after;
};
Fault* g_fault = nullptr;

class FaultyBackend : public Backend {
 public:
  explicit FaultyBackend(std::unique_ptr<Backend> real, Fault* fault)
      : real_(std::move(real)), fault_(fault) {}
  StepResult begin(const wire::StepPlan& plan, int ahead) override {
    step_ = plan.step();
    return guarded([&] { return real_->begin(plan, ahead); });
  }
  StepResult next(bool more) override {
    ++step_;
    return guarded([&] { return real_->next(more); });
  }
  MemoryPlan memory() const override { return real_->memory(); }
  std::string kernels() const override { return real_->kernels(); }

 private:
  template <class Run>
  StepResult guarded(const Run& run) {
    if (fault_->before) fault_->before(step_);
    const StepResult result = run();
    if (fault_->after) fault_->after(step_);
    return result;
  }

  std::unique_ptr<Backend> real_;
  Fault* fault_;
  uint64_t step_ = 0;
};

std::unique_ptr<Backend> make_faulty(const ArchSpec& arch, const ModelWeights& weights,
                                     const BackendConfig& config, const LoadProgress& progress) {
  return std::make_unique<FaultyBackend>(cpu::create(arch, weights, config, progress), g_fault);
}

std::unique_ptr<Engine> make_engine(Fault* fault, const char* strategy = "multi_bd",
                                    diffulex_run_mode mode = DIFFULEX_RUN_MANUAL) {
  static const std::string dir = std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar";
  diffulex_engine_config config;
  diffulex_engine_config_init(&config, sizeof(config));
  config.model_dir = dir.c_str();
  config.strategy = strategy;
  config.max_model_len = 128;
  config.buffer_blocks = 2;
  config.cpu_threads = 1;
  config.run_mode = mode;
  EngineConfig resolved = resolve(config);
  resolved.make_backend = make_faulty;
  g_fault = fault;
  return std::make_unique<Engine>(std::move(resolved), Log(), nullptr);
}

uint64_t submit(Engine& engine, int32_t first, uint32_t max_tokens = 20) {
  std::vector<int32_t> prompt;
  for (int32_t i = 0; i < 13 + first % 5; ++i) prompt.push_back(first + i);
  diffulex_request_params params;
  diffulex_request_params_init(&params, sizeof(params));
  params.max_tokens = max_tokens;
  params.flags = DIFFULEX_REQUEST_IGNORE_EOS;
  params.temperature = 0.8f;
  params.seed = static_cast<uint64_t>(first);
  return engine.submit(api::make_spec(engine.config(), prompt, &params));
}

struct Outcome {
  diffulex_finish finish;
  diffulex_status status;
  std::vector<int32_t> output;
  uint32_t steps;
  bool operator==(const Outcome&) const = default;
};

Outcome outcome(const Engine& engine, uint64_t id) {
  const auto record = engine.find(id);
  const std::lock_guard lock(record->mutex);
  return {record->info.finish, record->info.status, record->output, record->info.steps};
}

// Steps until nothing is left; how many steps failed with `status`.
int run(Engine& engine, diffulex_status status = DIFFULEX_OK) {
  int failed = 0;
  for (int guard = 0; guard < 1000; ++guard) {
    try {
      if (!engine.step()) return failed;
    } catch (const std::bad_alloc&) {
      EXPECT_EQ(status, DIFFULEX_E_HOST_MEMORY);
      ++failed;
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), status);
      ++failed;
    }
  }
  ADD_FAILURE() << "no end";
  return failed;
}

std::vector<Outcome> decode_three(Engine& engine) {
  const uint64_t ids[] = {submit(engine, 100), submit(engine, 201), submit(engine, 303, 31)};
  run(engine, DIFFULEX_E_HOST_MEMORY);
  std::vector<Outcome> outcomes;
  for (const uint64_t id : ids) outcomes.push_back(outcome(engine, id));
  return outcomes;
}

// Every step fails a few times, before or after its forward: the outcome is the one without.
TEST(EngineFailure, AStepWithoutMemoryIsTriedAgain) {
  for (const char* strategy : {"multi_bd", "d2f"}) {
    Fault none;
    const auto expected = decode_three(*make_engine(&none, strategy));
    for (const auto& o : expected) EXPECT_EQ(o.finish, DIFFULEX_FINISH_MAX_TOKENS);
    int failures = 0;
    Fault fault;
    fault.before = [&](uint64_t step) {
      if (++failures % 3 != 0 && step % 2 == 0) throw std::bad_alloc();
    };
    fault.after = [&](uint64_t step) {
      if (++failures % 3 != 0 && step % 2 == 1) throw std::bad_alloc();
    };
    EXPECT_EQ(decode_three(*make_engine(&fault, strategy)), expected) << strategy;
    EXPECT_GT(failures, 10);
  }
}

TEST(EngineFailure, ADefectEndsTheRequestsOfItsStep) {
  Fault fault;
  fault.before = [](uint64_t step) {
    if (step == 2) throw Error(DIFFULEX_E_INTERNAL, "a defect");
  };
  const auto engine = make_engine(&fault);
  const uint64_t first = submit(*engine, 100), second = submit(*engine, 200);
  EXPECT_TRUE(engine->step());
  EXPECT_TRUE(engine->step());
  EXPECT_THROW(engine->step(), Error);
  for (const uint64_t id : {first, second}) {
    EXPECT_EQ(outcome(*engine, id).finish, DIFFULEX_FINISH_ERROR);
    EXPECT_EQ(outcome(*engine, id).status, DIFFULEX_E_INTERNAL);
  }
  fault.before = nullptr;
  const uint64_t third = submit(*engine, 100);
  EXPECT_EQ(run(*engine), 0);
  EXPECT_EQ(outcome(*engine, third).finish, DIFFULEX_FINISH_MAX_TOKENS);
  EXPECT_EQ(engine->stats().failed, 2u);
  EXPECT_EQ(engine->stats().kv_pages_free, engine->stats().kv_pages_total);
}

TEST(EngineFailure, ALostDeviceEndsItsEngineOnly) {
  Fault fault, none;
  const auto broken = make_engine(&fault), sound = make_engine(&none);
  const uint64_t waiting = submit(*broken, 100), other = submit(*sound, 100);
  EXPECT_TRUE(broken->step());
  EXPECT_TRUE(sound->step());
  fault.before = [](uint64_t) { throw Error(DIFFULEX_E_DEVICE_FAULT, "the device is gone"); };
  EXPECT_THROW(broken->step(), Error);
  EXPECT_EQ(outcome(*broken, waiting).status, DIFFULEX_E_DEVICE_FAULT);
  fault.before = nullptr;
  EXPECT_THROW(broken->step(), Error);  // it stays lost
  EXPECT_THROW(submit(*broken, 100), Error);
  EXPECT_EQ(broken->stats().failed, 1u);  // reads go on
  EXPECT_EQ(run(*sound), 0);
  EXPECT_EQ(outcome(*sound, other).finish, DIFFULEX_FINISH_MAX_TOKENS);
}

void wait_until_finished(const Engine& engine, uint64_t id) {
  for (int i = 0; i < 2000 && outcome(engine, id).finish == DIFFULEX_FINISH_NONE; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

// The engine's own thread: after a few tries the last request in order pays, and the thread lives.
void expect_one_given_up(diffulex_status status, const std::function<void()>& fail) {
  std::atomic<int> left{0};
  Fault fault;
  fault.before = [&](uint64_t) {
    if (left > 0 && left-- > 0) fail();
  };
  const auto engine = make_engine(&fault, "multi_bd", DIFFULEX_RUN_THREAD);
  const uint64_t first = submit(*engine, 100), second = submit(*engine, 200);
  left = 4;
  engine->start();
  wait_until_finished(*engine, first);
  wait_until_finished(*engine, second);
  EXPECT_EQ(outcome(*engine, first).finish, DIFFULEX_FINISH_MAX_TOKENS);
  EXPECT_EQ(outcome(*engine, second).status, status);
  const uint64_t third = submit(*engine, 300);
  left = 3;  // fewer than it takes
  wait_until_finished(*engine, third);
  EXPECT_EQ(outcome(*engine, third).finish, DIFFULEX_FINISH_MAX_TOKENS);
  engine->stop(true);
}

TEST(EngineFailure, TheEnginesThreadGivesOneRequestUp) {
  expect_one_given_up(DIFFULEX_E_HOST_MEMORY, [] { throw std::bad_alloc(); });
  for (const diffulex_status status : {DIFFULEX_E_HOST_MEMORY, DIFFULEX_E_DEVICE_MEMORY})
    expect_one_given_up(status, [status] { throw Error(status, "no memory"); });
}

// Two engines at once, stepped by two threads.
TEST(EngineFailure, TwoEnginesAtOnce) {
  Fault none;
  const auto alone = decode_three(*make_engine(&none));
  const auto a = make_engine(&none), b = make_engine(&none, "d2f");
  std::vector<Outcome> from_a, from_b;
  std::thread other([&] { from_b = decode_three(*b); });
  from_a = decode_three(*a);
  other.join();
  EXPECT_EQ(from_a, alone);
  EXPECT_EQ(from_b, decode_three(*make_engine(&none, "d2f")));
}

}  // namespace
}  // namespace diffulex

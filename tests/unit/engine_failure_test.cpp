// An engine whose backend fails: without memory nothing is lost, a defect ends the requests that
// took part, a lost device ends the engine, and another engine does not notice.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <new>
#include <thread>

#include "faulty_engine.h"

namespace diffulex::testing {
namespace {

std::vector<EngineOutcome> decode_three(Engine& engine) {
  const uint64_t ids[] = {submit(engine, 100), submit(engine, 201), submit(engine, 303, 31)};
  run(engine, DIFFULEX_E_HOST_MEMORY);
  std::vector<EngineOutcome> outcomes;
  for (const uint64_t id : ids) outcomes.push_back(outcome(engine, id));
  return outcomes;
}

// Every step fails a few times, before or after its forward: the outcome is the one without.
TEST(EngineFailure, AStepWithoutMemoryIsTriedAgain) {
  for (const char* strategy : {"multi_bd", "d2f"})
    for (const int device_steps : {1, 2, 5}) {
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
      const auto engine = make_engine(&fault, strategy, DIFFULEX_RUN_MANUAL, device_steps);
      EXPECT_EQ(decode_three(*engine), expected) << strategy << ", " << device_steps;
      EXPECT_EQ(engine->stats().kv_pages_free, engine->stats().kv_pages_total);
      EXPECT_GT(failures, 10);
    }
}

void expect_a_defect_ends_its_requests(int device_steps) {
  Fault fault;
  fault.before = [](uint64_t step) {
    if (step == 2) throw Error(DIFFULEX_E_INTERNAL, "a defect");
  };
  const auto engine = make_engine(&fault, "multi_bd", DIFFULEX_RUN_MANUAL, device_steps);
  const uint64_t first = submit(*engine, 100), second = submit(*engine, 200);
  EXPECT_TRUE(engine->step());
  if (device_steps == 1) {
    EXPECT_TRUE(engine->step());
  }
  EXPECT_THROW(engine->step(), Error);  // step 1 among them when it is followed by step 2
  for (const uint64_t id : {first, second}) {
    EXPECT_EQ(outcome(*engine, id).finish, DIFFULEX_FINISH_ERROR);
    EXPECT_EQ(outcome(*engine, id).status, DIFFULEX_E_INTERNAL);
    EXPECT_EQ(outcome(*engine, id).steps, 2u);
  }
  fault.before = nullptr;
  const uint64_t third = submit(*engine, 100);
  EXPECT_EQ(run(*engine), 0);
  EXPECT_EQ(outcome(*engine, third).finish, DIFFULEX_FINISH_MAX_TOKENS);
  EXPECT_EQ(engine->stats().failed, 2u);
  EXPECT_EQ(engine->stats().kv_pages_free, engine->stats().kv_pages_total);
}

TEST(EngineFailure, ADefectEndsTheRequestsOfItsStep) {
  expect_a_defect_ends_its_requests(1);
  expect_a_defect_ends_its_requests(8);
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
void expect_one_given_up(diffulex_status status, int device_steps,
                         const std::function<void()>& fail) {
  std::atomic<int> left{0};
  Fault fault;
  fault.before = [&](uint64_t) {
    if (left > 0 && left-- > 0) fail();
  };
  const auto engine = make_engine(&fault, "multi_bd", DIFFULEX_RUN_THREAD, device_steps);
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
  for (const int device_steps : {1, 4}) {
    expect_one_given_up(DIFFULEX_E_HOST_MEMORY, device_steps, [] { throw std::bad_alloc(); });
    for (const diffulex_status status : {DIFFULEX_E_HOST_MEMORY, DIFFULEX_E_DEVICE_MEMORY})
      expect_one_given_up(status, device_steps, [status] { throw Error(status, "no memory"); });
  }
}

// Two engines at once, stepped by two threads.
TEST(EngineFailure, TwoEnginesAtOnce) {
  Fault none;
  const auto alone = decode_three(*make_engine(&none));
  const auto a = make_engine(&none), b = make_engine(&none, "d2f");
  std::vector<EngineOutcome> from_a, from_b;
  std::thread other([&] { from_b = decode_three(*b); });
  from_a = decode_three(*a);
  other.join();
  EXPECT_EQ(from_a, alone);
  EXPECT_EQ(from_b, decode_three(*make_engine(&none, "d2f")));
}

}  // namespace
}  // namespace diffulex::testing

// Orders of service, victims, deadlines and the request that never fits, over a scripted backend.
#include <gtest/gtest.h>

#include "step_harness.h"

namespace diffulex::testing {
namespace {

decide::Pick sure(uint64_t, const RequestRow&, int32_t position) {
  return {position % 500, 0.95f, 0};
}

std::vector<int32_t> prompt_of(int32_t length, int32_t first) {
  std::vector<int32_t> prompt(static_cast<size_t>(length));
  for (int32_t i = 0; i < length; ++i) prompt[static_cast<size_t>(i)] = first + i;
  return prompt;
}

Request* add(StepHarness& h, int32_t prompt, int max_tokens, int priority = 0,
             uint64_t deadline = 0) {
  RequestSpec spec =
      make_spec(h.shape, prompt_of(prompt, 10 * static_cast<int32_t>(h.last_id)), max_tokens);
  spec.priority = priority;
  spec.deadline_ns = deadline;
  return h.add(std::move(spec));
}

std::vector<uint64_t> finish_order(const StepHarness& h) {
  std::vector<uint64_t> ids;
  for (const auto& r : h.finished) ids.push_back(r->id);
  return ids;
}

TEST(Scheduler, PriorityGoesBeforeArrival) {
  StepHarness h(small_shape(4, 1, 4, 16, 1), sure);
  add(h, 4, 4);
  add(h, 4, 4, -1);
  add(h, 4, 4, 2);
  add(h, 4, 4, 2);
  while (h.step()) {
  }
  EXPECT_EQ(finish_order(h), (std::vector<uint64_t>{3, 4, 1, 2}));
}

TEST(Scheduler, PriorityIsABoundedHeadStart) {
  StepHarness h(small_shape(4, 1, 4, 16, 1), sure);
  const uint64_t low = add(h, 4, 4)->id;
  for (int i = 0; i < Scheduler::kHeadStart + 10; ++i) add(h, 4, 4, 1);
  while (h.step()) {
  }
  const auto order = finish_order(h);
  const auto at = std::find(order.begin(), order.end(), low) - order.begin();
  EXPECT_EQ(at, Scheduler::kHeadStart - 1);  // equal rank: the earlier arrival goes first
}

// Two pages short: the request of the lowest priority pays, among equals the one that has the least
// to compute again.
TEST(Scheduler, TheCheapestRequestGivesItsPagesUp) {
  for (const int priority : {0, 1}) {
    StepHarness h(small_shape(4, 1, 4, 12, 3), sure);
    add(h, 8, 40, 2);
    Request* longer = add(h, 16, 30);
    Request* shorter = add(h, 8, 30, priority);
    while (h.preemptions == 0) ASSERT_TRUE(h.step());
    EXPECT_EQ(longer->preemptions, priority == 1 ? 1u : 0u);
    EXPECT_EQ(shorter->preemptions, priority == 1 ? 0u : 1u);
    EXPECT_EQ(h.scheduler->preempted_count(), 1u);
    while (h.step()) {
    }
    EXPECT_EQ(h.finished.size(), 3u);
    EXPECT_EQ(h.scheduler->preempted_count(), 0u);
    EXPECT_EQ(h.cache->free_pages(), 12);
  }
}

// Of equal priority, and not the last one in order.
TEST(Scheduler, TheLeastToComputeAgainPays) {
  StepHarness h(small_shape(4, 1, 4, 11, 3), sure);
  add(h, 8, 40, 2);
  Request* shorter = add(h, 8, 30);
  Request* longer = add(h, 16, 30);
  while (h.preemptions == 0) ASSERT_TRUE(h.step());
  EXPECT_EQ(shorter->preemptions, 1u);
  EXPECT_EQ(longer->preemptions, 0u);
  while (h.step()) {
  }
  EXPECT_EQ(h.finished.size(), 3u);
}

TEST(Scheduler, DeadlinesFindRunningAndWaitingRequests) {
  StepHarness h(small_shape(4, 1, 4, 16, 1), sure);
  const uint64_t running = add(h, 4, 40, 0, 20)->id;
  const uint64_t waiting = add(h, 4, 4, 0, 10)->id;
  const uint64_t patient = add(h, 4, 4)->id;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(h.step());
  EXPECT_EQ(h.scheduler->remove_late(9), nullptr);
  auto first = h.scheduler->remove_late(25);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->id, waiting);  // the earliest deadline first
  auto second = h.scheduler->remove_late(25);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->id, running);
  second->cut_short(decide::kDeadline);
  EXPECT_EQ(second->window.finish, decide::kDeadline);
  EXPECT_GT(output_of(*second).size(), 0u);
  EXPECT_EQ(h.scheduler->remove_late(UINT64_MAX), nullptr);
  while (h.step()) {
  }
  EXPECT_EQ(finish_order(h), (std::vector<uint64_t>{patient}));
  EXPECT_EQ(h.cache->free_pages(), 16);
}

TEST(Scheduler, FinishedRequestsLeaveNoDeadlineBehind) {
  StepHarness h(small_shape(4, 1, 4, 16, 1), sure);
  add(h, 4, 4, 0, 1000);
  while (h.step()) {
  }
  EXPECT_EQ(h.scheduler->remove_late(UINT64_MAX), nullptr);
}

// Chunks of whole blocks, as many as the rows of a step allow, and the same output in the end.
TEST(Scheduler, APromptLongerThanABatchIsComputedInChunks) {
  EngineShape shape = small_shape(4, 1, 4, 16, 1);
  shape.max_batched_tokens = 10;  // no multiple of a block
  StepHarness h(shape, sure);
  Request* r = add(h, 30, 6);
  for (const int32_t context : {0, 8, 16, 24}) {
    ASSERT_TRUE(h.step());
    EXPECT_EQ(h.backend.rows[0].context_len, context);
    EXPECT_EQ(h.backend.rows[0].store_len, context < 24 ? 8 : 4);
  }
  EXPECT_TRUE(r->prefilled());
  while (h.step()) {
  }
  ASSERT_EQ(h.finished.size(), 1u);
  EXPECT_EQ(output_of(*r), (std::vector<int32_t>{30, 31, 32, 33, 34, 35}));
}

TEST(Scheduler, DecodingGoesOnBesideALongPrompt) {
  EngineShape shape = small_shape(4, 1, 4, 32, 2);
  shape.max_batched_tokens = 12;
  StepHarness h(shape, sure);
  Request* decoding = add(h, 4, 30);
  ASSERT_TRUE(h.step());
  ASSERT_TRUE(decoding->prefilled());
  Request* prompt = add(h, 40, 4);
  int steps = 0;
  for (; !prompt->prefilled() && steps < 20; ++steps) {
    const int32_t before = decoding->window.forwards;
    ASSERT_TRUE(h.step());
    EXPECT_EQ(decoding->window.forwards, before + 1);
  }
  EXPECT_EQ(steps, 5);
}

// Equal prompts that are computed in one step compute their own pages; a later one finds them.
TEST(Scheduler, PagesAreSharedOnceTheyAreWritten) {
  StepHarness h(small_shape(4, 1, 8, 32, 3), sure);
  const auto submit = [&] { return h.add(make_spec(h.shape, prompt_of(20, 100), 8)); };
  Request* first = submit();
  Request* second = submit();
  ASSERT_TRUE(h.step());
  EXPECT_EQ(first->prefix_hits, 0);
  EXPECT_EQ(second->prefix_hits, 0);
  Request* third = submit();
  ASSERT_TRUE(h.step());
  EXPECT_EQ(third->prefix_hits, 16);  // the third page is half full
  while (h.step()) {
  }
  EXPECT_EQ(h.finished.size(), 3u);
}

// Otherwise the first block that the running request stores would cost the new one its pages.
TEST(Scheduler, AdmissionLeavesAPageForEachRunningRequest) {
  StepHarness h(small_shape(4, 1, 4, 4, 2), sure);
  add(h, 8, 8);
  add(h, 8, 4);
  ASSERT_TRUE(h.step());
  EXPECT_EQ(h.scheduler->running_count(), 1u);
  EXPECT_EQ(h.cache->free_pages(), 2);
  while (h.step()) {
  }
  EXPECT_EQ(finish_order(h), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(h.preemptions, 0u);
}

// More positions than the cache holds, which the configuration refuses elsewhere.
TEST(Scheduler, ARequestThatNeverFitsIsGivenUp) {
  StepHarness h(small_shape(4, 1, 4, 3, 1), sure);
  const uint64_t grows = add(h, 4, 40)->id;
  const uint64_t large = add(h, 32, 4)->id;
  const uint64_t small = add(h, 4, 4)->id;
  std::vector<uint64_t> stuck;
  for (int i = 0; i < 100 && !h.scheduler->empty(); ++i)
    if (!h.step()) stuck.push_back(h.scheduler->remove_first()->id);
  EXPECT_EQ(stuck, (std::vector<uint64_t>{grows, large}));
  EXPECT_EQ(finish_order(h), (std::vector<uint64_t>{small}));
  EXPECT_EQ(h.cache->free_pages(), 3);
}

}  // namespace
}  // namespace diffulex::testing

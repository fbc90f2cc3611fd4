// The prefix cache as a user sees it: match without effects, list, pin, clear, counters.
#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "session.h"

namespace diffulex_tests {
namespace {

using Tokens = std::vector<diffulex_token>;

Tokens prompt_of(diffulex_token first, size_t count) {
  Tokens tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

size_t match(const Session& s, const Tokens& tokens, const char* salt = nullptr) {
  size_t matched = 12345;
  EXPECT_EQ(diffulex_cache_match(s.engine, tokens.data(), tokens.size(), salt, &matched, nullptr),
            DIFFULEX_OK);
  return matched;
}

std::vector<diffulex_cache_entry> list(const Session& s) {
  size_t count = 0;
  const diffulex_status asked = diffulex_cache_list(s.engine, nullptr, 0, 0, &count, nullptr);
  EXPECT_EQ(asked, count == 0 ? DIFFULEX_OK : DIFFULEX_E_BUFFER_TOO_SMALL);
  std::vector<diffulex_cache_entry> entries(count);
  EXPECT_EQ(diffulex_cache_list(s.engine, entries.data(), sizeof(diffulex_cache_entry), count,
                                &count, nullptr),
            DIFFULEX_OK);
  return entries;
}

void generate(Session& s, const Tokens& prompt, uint32_t max_tokens = 4) {
  const auto params = params_of(max_tokens, DIFFULEX_REQUEST_IGNORE_EOS);
  const diffulex_request_id id = s.submit(prompt, &params);
  s.run();
  EXPECT_EQ(diffulex_request_release(s.engine, id), DIFFULEX_OK);
}

TEST(Cache, MatchesAndLists) {
  Session s(Options{{"page_size", "16"}, {"max_model_len", "128"}});
  ASSERT_NE(s.engine, nullptr);
  const Tokens prompt = prompt_of(100, 50);
  EXPECT_EQ(match(s, prompt), 0u);
  EXPECT_TRUE(list(s).empty());
  generate(s, prompt);
  EXPECT_EQ(match(s, prompt), 48u);
  EXPECT_EQ(match(s, prompt_of(100, 47)), 32u);
  EXPECT_EQ(match(s, prompt_of(101, 47)), 0u);
  EXPECT_EQ(match(s, prompt, "other"), 0u);
  EXPECT_EQ(match(s, {}), 0u);

  const auto entries = list(s);
  ASSERT_EQ(entries.size(), 3u);
  std::map<uint64_t, int> parents;
  for (const auto& e : entries) {
    EXPECT_EQ(e.token_count, 16u);
    EXPECT_EQ(e.references, 0u);
    EXPECT_EQ(e.hits, 0u);  // asking is no use
    ++parents[e.parent_hash];
  }
  EXPECT_EQ(parents.count(0), 1u);  // one page begins the chain, the others follow each other
  EXPECT_EQ(parents.size(), 3u);
  generate(s, prompt);
  for (const auto& e : list(s)) EXPECT_EQ(e.hits, 1u);
  const auto stats = s.stats();
  EXPECT_EQ(stats.kv_pages_stored, 3u);
  EXPECT_EQ(stats.kv_pages_reused, 3u);
  EXPECT_EQ(stats.kv_pages_evicted, 0u);
}

TEST(Cache, ClearForgetsAllButPins) {
  Session s(Options{{"page_size", "16"}, {"max_model_len", "128"}});
  generate(s, prompt_of(100, 50));
  generate(s, prompt_of(300, 50));
  uint64_t pin = 0;
  size_t pinned = 0;
  const Tokens kept = prompt_of(300, 40);
  ASSERT_EQ(diffulex_cache_pin(s.engine, kept.data(), kept.size(), nullptr, &pin, &pinned, nullptr),
            DIFFULEX_OK);
  EXPECT_EQ(pinned, 32u);
  EXPECT_EQ(diffulex_cache_clear(s.engine, nullptr), DIFFULEX_OK);
  EXPECT_EQ(match(s, prompt_of(100, 50)), 0u);
  EXPECT_EQ(match(s, prompt_of(300, 50)), 32u);
  EXPECT_EQ(list(s).size(), 2u);
  EXPECT_EQ(diffulex_cache_unpin(s.engine, pin, nullptr), DIFFULEX_OK);
  EXPECT_EQ(diffulex_cache_unpin(s.engine, pin, nullptr), DIFFULEX_E_NOT_FOUND);
  EXPECT_EQ(diffulex_cache_clear(s.engine, nullptr), DIFFULEX_OK);
  EXPECT_TRUE(list(s).empty());
  generate(s, prompt_of(300, 50));  // and everything still works
  EXPECT_EQ(match(s, prompt_of(300, 50)), 48u);
  s.run();
  EXPECT_EQ(s.stats().kv_pages_pinned, 0u);
  EXPECT_EQ(s.stats().kv_pages_evicted, 6u);
}

TEST(Cache, PinsSurviveEvictionAndLeaveRoom) {
  // 16 pages of 16 tokens: two requests of max_model_len.
  Session s(Options{{"page_size", "16"}, {"max_model_len", "128"}, {"max_requests", "2"}}, {},
            [](auto& c) { c.kv_bytes = 0; });
  ASSERT_NE(s.engine, nullptr);
  const Tokens kept = prompt_of(100, 64);
  generate(s, kept);
  uint64_t pin = 0;
  ASSERT_EQ(diffulex_cache_pin(s.engine, kept.data(), kept.size(), nullptr, &pin, nullptr, nullptr),
            DIFFULEX_OK);
  for (diffulex_token i = 0; i < 8; ++i) generate(s, prompt_of(200 + 70 * i, 70), 50);
  EXPECT_EQ(match(s, kept), 64u);
  EXPECT_GT(s.stats().kv_pages_evicted, 0u);
  EXPECT_EQ(s.stats().kv_pages_pinned, 4u);

  // Pins never take what one request may need.
  const Tokens more = prompt_of(200 + 70 * 7, 70);
  ASSERT_GT(match(s, more), 0u);
  diffulex_error* error = nullptr;
  uint64_t second = 0;
  const Tokens answer = prompt_of(900, 100);
  generate(s, answer, 20);
  ASSERT_EQ(match(s, answer), 96u);
  EXPECT_EQ(
      diffulex_cache_pin(s.engine, answer.data(), answer.size(), nullptr, &second, nullptr, &error),
      DIFFULEX_E_HOST_MEMORY);
  EXPECT_EQ(take(error).option, "kv_bytes");
  EXPECT_EQ(second, 0u);
  EXPECT_EQ(diffulex_cache_pin(s.engine, kept.data(), 15, nullptr, &second, nullptr, nullptr),
            DIFFULEX_E_NOT_FOUND);
  // The same pages may be pinned again at no cost.
  EXPECT_EQ(
      diffulex_cache_pin(s.engine, kept.data(), kept.size(), nullptr, &second, nullptr, nullptr),
      DIFFULEX_OK);
  EXPECT_EQ(diffulex_cache_unpin(s.engine, pin, nullptr), DIFFULEX_OK);
  generate(s, prompt_of(10, 70), 50);
  EXPECT_EQ(match(s, kept), 64u);
}

TEST(Cache, IsEmptyWithoutCaching) {
  Session s(Options{{"page_size", "16"}, {"prefix_caching", "false"}});
  const Tokens prompt = prompt_of(100, 50);
  generate(s, prompt);
  EXPECT_EQ(match(s, prompt), 0u);
  EXPECT_TRUE(list(s).empty());
  uint64_t pin = 0;
  EXPECT_EQ(
      diffulex_cache_pin(s.engine, prompt.data(), prompt.size(), nullptr, &pin, nullptr, nullptr),
      DIFFULEX_E_NOT_FOUND);
}

}  // namespace
}  // namespace diffulex_tests

// Pages: reuse order, reference counts, prefix chains, collisions.
#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <set>

#include "cache/kv_cache_manager.h"

namespace diffulex {
namespace {

std::vector<int32_t> count_from(int32_t first, size_t n) {
  std::vector<int32_t> v(n);
  std::iota(v.begin(), v.end(), first);
  return v;
}

TEST(PagePool, ReusesTheLeastRecentlyReleased) {
  PagePool pool(4);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(pool.take(), i);
  EXPECT_EQ(pool.take(), -1);
  for (const PageId p : {2, 0, 3}) pool.release(p);
  pool.add_reference(0);  // back from the free list
  EXPECT_EQ(pool.free_count(), 2);
  EXPECT_EQ(pool.take(), 2);
  EXPECT_EQ(pool.take(), 3);
  EXPECT_EQ(pool.take(), -1);
}

TEST(PagePool, CountsUnderRandomUse) {
  PagePool pool(16);
  std::vector<int> references(16, 0);
  std::mt19937 rng(1);
  for (int i = 0; i < 20000; ++i) {
    const auto page = static_cast<PageId>(rng() % 16);
    switch (rng() % 3) {
      case 0:
        if (const PageId taken = pool.take(); taken >= 0) {
          ASSERT_EQ(references[static_cast<size_t>(taken)], 0);
          references[static_cast<size_t>(taken)] = 1;
        }
        break;
      case 1:
        pool.add_reference(page);
        ++references[static_cast<size_t>(page)];
        break;
      default:
        if (references[static_cast<size_t>(page)] > 0) {
          pool.release(page);
          --references[static_cast<size_t>(page)];
        }
    }
    ASSERT_EQ(pool.free_count(), std::count(references.begin(), references.end(), 0));
    ASSERT_EQ(pool.references(page), references[static_cast<size_t>(page)]);
  }
}

TEST(PrefixIndex, ChainsByParentAndContent) {
  PrefixIndex index(8, 4);
  const ChainLink root = PrefixIndex::root({});
  const auto a = count_from(0, 4), b = count_from(4, 4);
  const ChainLink la = index.publish(0, root, a), lb = index.publish(1, la, b);
  ChainLink at;
  EXPECT_EQ(index.find(root, a, &at), 0);
  EXPECT_EQ(index.find(at, b, &at), 1);
  EXPECT_EQ(at.serial, lb.serial);
  EXPECT_EQ(index.find(root, b, &at), -1);  // the same tokens behind another prefix
  // Equal hashes are not trusted: the same hash with another parent, or other tokens.
  EXPECT_EQ(index.find(ChainLink{la.hash, la.serial + 100}, b, &at), -1);
  // Equal content is known once.
  EXPECT_EQ(index.publish(5, root, a).serial, la.serial);
  EXPECT_FALSE(index.published(5));
  EXPECT_EQ(index.count(), 2);
  index.forget(0);
  EXPECT_EQ(index.find(root, a, &at), -1);
  EXPECT_EQ(index.count(), 1);
  const std::string salt = "tenant";
  EXPECT_EQ(index.find(PrefixIndex::root(salt), a, &at), -1);
}

TEST(KvCacheManager, SharesCompleteWrittenPagesOnly) {
  KvCacheManager cache(8, 8, true);
  const auto tokens = count_from(0, 40);
  PageTable first;
  first.chain = first.root = PrefixIndex::root({});
  ASSERT_TRUE(cache.grow(first, 20));
  EXPECT_EQ(first.pages, (std::vector<PageId>{0, 1, 2}));
  PageTable second = {};
  EXPECT_EQ(cache.attach_prefix(second, tokens, 40), 0);  // nothing is written yet
  cache.publish(first, tokens, 20);
  EXPECT_EQ(cache.cached_pages(), 2);  // the third page is half full
  EXPECT_EQ(cache.attach_prefix(second, tokens, 15), 8);
  cache.release(second);
  EXPECT_EQ(cache.attach_prefix(second, tokens, 40), 16);
  EXPECT_EQ(second.pages, (std::vector<PageId>{0, 1}));
  cache.release(first);
  EXPECT_EQ(cache.free_pages(), 6);
  cache.release(second);
  // Released pages stay findable until they are handed out, the deepest first.
  PageTable other;
  other.chain = other.root = PrefixIndex::root({});
  ASSERT_TRUE(cache.grow(other, 7 * 8));
  EXPECT_EQ(cache.cached_pages(), 1);
  EXPECT_FALSE(cache.grow(other, 9 * 8));
  EXPECT_EQ(other.pages.size(), 7u);
  PageTable third;
  EXPECT_EQ(cache.attach_prefix(third, tokens, 40), 8);
}

TEST(KvCacheManager, RequestsCanStayOut) {
  KvCacheManager cache(8, 4, true);
  const auto tokens = count_from(0, 8);
  PageTable table;
  table.cacheable = false;
  ASSERT_TRUE(cache.grow(table, 8));
  cache.publish(table, tokens, 8);
  EXPECT_EQ(cache.cached_pages(), 0);
}

}  // namespace
}  // namespace diffulex

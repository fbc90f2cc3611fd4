// Level 3: which pages a request owns, which of them it shares, and when a page becomes findable. A strategy whose cache grows
// or is reused differently derives from this class.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "cache/page_pool.h"
#include "cache/prefix_index.h"

namespace diffulex {

// The pages of one request: position p lives in pages[p / page_size].
struct PageTable {
  std::vector<PageId> pages;
  ChainLink root;         // depends on the request's cache salt
  ChainLink chain;        // of the first `published` pages
  int32_t published = 0;  // leading pages whose content is known to the index
  bool cacheable = true;  // take part in prefix reuse
};

// Not thread-safe: the engine's owner thread only.
class KvCacheManager {
 public:
  KvCacheManager(int32_t pages, int page_size, bool prefix_caching);
  virtual ~KvCacheManager() = default;
  KvCacheManager(const KvCacheManager&) = delete;
  KvCacheManager& operator=(const KvCacheManager&) = delete;

  int page_size() const { return page_size_; }
  int32_t total_pages() const { return pool_.size(); }
  int32_t free_pages() const { return pool_.free_count(); }
  int32_t cached_pages() const { return index_.count(); }
  int32_t pages_for(int32_t positions) const { return (positions + page_size_ - 1) / page_size_; }

  // Gives an empty table the known pages of tokens[0, end). A page is used only when all its positions are below `end`.
  // Returns the positions covered.
  virtual int32_t attach_prefix(PageTable& table, std::span<const int32_t> tokens, int32_t end);
  // Pages missing to cover positions [0, positions).
  int32_t missing(const PageTable& table, int32_t positions) const;
  // Adds what is missing; false, with nothing taken, when too few pages are free.
  virtual bool grow(PageTable& table, int32_t positions);
  // Positions [0, stored_end) hold final keys and values: makes their complete pages findable, each once.
  virtual void publish(PageTable& table, std::span<const int32_t> tokens, int32_t stored_end);
  // Gives every page back, the deepest first, so that the shallowest stay reusable longest.
  void release(PageTable& table);

 private:
  int page_size_;
  bool prefix_caching_;
  PagePool pool_;
  PrefixIndex index_;
};

}  // namespace diffulex

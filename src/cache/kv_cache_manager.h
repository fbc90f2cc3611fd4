// Level 3: which pages a request owns, which of them it shares, and when a page becomes findable. A
// strategy whose cache grows or is reused differently derives from this class.
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

// Counters since the cache was made.
struct CacheCounters {
  uint64_t stored = 0;   // pages that became findable
  uint64_t evicted = 0;  // findable pages that were given to other content, or cleared
  uint64_t reused = 0;   // pages that a request took over instead of computing them
};

// Not thread-safe: the Engine guards it with one mutex, which it holds while it schedules and
// settles, never during a forward.
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

  // Gives an empty table the known pages of tokens[0, end). A page is used only when all its
  // positions are below `end`. Returns the positions covered.
  virtual int32_t attach_prefix(PageTable& table, std::span<const int32_t> tokens, int32_t end);
  // Pages missing to cover positions [0, positions).
  int32_t missing(const PageTable& table, int32_t positions) const;
  // Adds what is missing; false, with nothing taken, when too few pages are free.
  virtual bool grow(PageTable& table, int32_t positions);
  // Gives back pages behind those of positions [0, positions). They are the first to be taken
  // again.
  void shrink(PageTable& table, int32_t positions);
  // Positions [0, stored_end) hold final keys and values: makes their complete pages findable, each
  // once.
  virtual void publish(PageTable& table, std::span<const int32_t> tokens, int32_t stored_end);
  // Gives every page back, the deepest first, so that the shallowest stay reusable longest.
  void release(PageTable& table);
  // The pages that attach_prefix gave a table serve it in this step.
  void count_reuse(const PageTable& table);
  void set_step(uint64_t step) { step_ = step; }

  // What a user may ask, without any effect on requests or on the order of reuse.
  // Positions of `tokens` that the cache holds in complete pages, from the beginning.
  int32_t match(std::span<const int32_t> tokens, const ChainLink& root) const;
  // Keeps the pages of that prefix from being given to other content until unpin(). Returns 0 when
  // there are none. Throws Error(DIFFULEX_E_HOST_MEMORY), with nothing pinned, when fewer than
  // `keep` pages would be left to requests.
  uint64_t pin(std::span<const int32_t> tokens, const ChainLink& root, int32_t keep,
               int32_t* positions);
  bool unpin(uint64_t pin);
  // Makes everything that is not pinned unfindable. Requests that run keep their pages.
  void clear();
  int32_t pinned_pages() const { return pinned_pages_; }
  bool findable(PageId page) const { return index_.published(page); }
  PrefixIndex::Facts facts(PageId page) const { return index_.facts(page); }
  int32_t references(PageId page) const { return pool_.references(page); }
  const CacheCounters& counters() const { return counters_; }

 private:
  struct Pin {
    uint64_t id;
    std::vector<PageId> pages;
  };
  // The known pages of a prefix.
  template <class Visit>
  ChainLink walk(std::span<const int32_t> tokens, ChainLink chain, Visit&& visit) const;

  int page_size_;
  bool prefix_caching_;
  PagePool pool_;
  PrefixIndex index_;
  CacheCounters counters_;
  uint64_t step_ = 0;
  uint64_t last_pin_ = 0;
  std::vector<Pin> pins_;
  std::vector<int32_t> pin_counts_;  // [pages], pins that hold the page
  int32_t pinned_pages_ = 0;
};

}  // namespace diffulex

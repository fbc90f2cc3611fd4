// Finds pages by content: page i of a sequence is known by the xxHash of its parent's hash and its
// tokens. Equal hashes are not trusted: tokens and parent are compared.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/page_pool.h"

namespace diffulex {

// Where a chain of pages stands. A chain starts at root(salt) and is extended page by page.
struct ChainLink {
  uint64_t hash = 0;    // of everything up to here
  uint64_t serial = 0;  // identity of the last page's entry; 0 at the root
  PageId page = -1;     // that page
};

// Not thread-safe: the engine's owner thread only.
class PrefixIndex {
 public:
  PrefixIndex(int32_t pages, int page_size);

  static ChainLink root(std::span<const char> salt);  // requests with different salts share nothing

  // The page that holds `tokens` (page_size of them) behind `parent`, -1 when there is none. *link:
  // the chain with it.
  PageId find(const ChainLink& parent, std::span<const int32_t> tokens, ChainLink* link) const;
  // Makes a complete, written page findable. When equal content is known already that entry stays;
  // behind a parent that was forgotten nothing can be found, so nothing is published.
  // Returns the chain with it.
  ChainLink publish(PageId page, const ChainLink& parent, std::span<const int32_t> tokens,
                    uint64_t step = 0);
  // The page's content is about to change.
  void forget(PageId page);
  // The page serves a request in this step.
  void use(PageId page, uint64_t step);

  // Facts of a published page.
  struct Facts {
    uint64_t hash = 0;       // of everything up to the page's end
    uint64_t parent = 0;     // the hash before it
    uint32_t hits = 0;       // times it was used
    uint64_t last_used = 0;  // step it was published or used in
  };
  Facts facts(PageId page) const;

  bool published(PageId page) const { return records_[page].serial != 0; }
  int32_t count() const { return count_; }

 private:
  struct Record {
    uint64_t hash = 0;
    uint64_t serial = 0;  // 0: not published
    uint64_t parent_serial = 0;
    PageId next = -1;  // in the bucket
    uint32_t hits = 0;
    uint64_t parent_hash = 0;
    uint64_t last_used = 0;
  };
  uint64_t hash_of(const ChainLink& parent, std::span<const int32_t> tokens) const;

  int page_size_;
  int32_t count_ = 0;
  uint64_t last_serial_ = 0;
  std::vector<Record> records_;           // [pages]
  std::vector<int32_t> tokens_;           // [pages * page_size]
  std::vector<PageId> buckets_;           // [power of two]
  mutable std::vector<int64_t> scratch_;  // [1 + page_size]: what is hashed
};

}  // namespace diffulex

#include "cache/prefix_index.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>

namespace diffulex {

PrefixIndex::PrefixIndex(int32_t pages, int page_size)
    : page_size_(page_size),
      records_(static_cast<size_t>(pages)),
      tokens_(static_cast<size_t>(pages) * static_cast<size_t>(page_size)),
      buckets_(std::bit_ceil(static_cast<size_t>(std::max(pages, 1)) * 2), -1),
      scratch_(static_cast<size_t>(page_size) + 1) {}

ChainLink PrefixIndex::root(std::span<const char> salt) {
  return ChainLink{salt.empty() ? 0 : XXH64(salt.data(), salt.size(), 0), 0, -1};
}

// XXH64 with seed 0 over the parent's hash and the tokens as little-endian 64-bit integers.
uint64_t PrefixIndex::hash_of(const ChainLink& parent, std::span<const int32_t> tokens) const {
  scratch_[0] = static_cast<int64_t>(parent.hash);
  std::copy(tokens.begin(), tokens.end(), scratch_.begin() + 1);
  return XXH64(scratch_.data(), scratch_.size() * sizeof(int64_t), 0);
}

PageId PrefixIndex::find(const ChainLink& parent, std::span<const int32_t> tokens,
                         ChainLink* link) const {
  const uint64_t hash = hash_of(parent, tokens);
  for (PageId page = buckets_[hash & (buckets_.size() - 1)]; page >= 0;
       page = records_[page].next) {
    const Record& record = records_[page];
    if (record.hash != hash || record.parent_serial != parent.serial) continue;
    const int32_t* known = &tokens_[static_cast<size_t>(page) * page_size_];
    if (!std::equal(tokens.begin(), tokens.end(), known)) continue;
    *link = ChainLink{hash, record.serial, page};
    return page;
  }
  return -1;
}

ChainLink PrefixIndex::publish(PageId page, const ChainLink& parent,
                               std::span<const int32_t> tokens, uint64_t step) {
  if (parent.serial != 0 && records_[parent.page].serial != parent.serial) return parent;
  ChainLink link;
  if (find(parent, tokens, &link) >= 0) return link;
  Record& record = records_[page];
  record.hash = hash_of(parent, tokens);
  record.serial = ++last_serial_;
  record.parent_serial = parent.serial;
  record.parent_hash = parent.hash;
  record.last_used = step;
  std::copy(tokens.begin(), tokens.end(),
            tokens_.begin() + static_cast<ptrdiff_t>(page) * page_size_);
  PageId& bucket = buckets_[record.hash & (buckets_.size() - 1)];
  record.next = bucket;
  bucket = page;
  ++count_;
  return ChainLink{record.hash, record.serial, page};
}

void PrefixIndex::forget(PageId page) {
  Record& record = records_[page];
  if (record.serial == 0) return;
  PageId* at = &buckets_[record.hash & (buckets_.size() - 1)];
  while (*at != page) at = &records_[*at].next;
  *at = record.next;
  record = Record{};
  --count_;
}

void PrefixIndex::use(PageId page, uint64_t step) {
  ++records_[page].hits;
  records_[page].last_used = step;
}

PrefixIndex::Facts PrefixIndex::facts(PageId page) const {
  const Record& record = records_[page];
  return {record.hash, record.parent_hash, record.hits, record.last_used};
}

}  // namespace diffulex

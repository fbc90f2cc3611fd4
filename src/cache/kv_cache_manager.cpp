#include "cache/kv_cache_manager.h"

#include <algorithm>

namespace diffulex {

KvCacheManager::KvCacheManager(int32_t pages, int page_size, bool prefix_caching)
    : page_size_(page_size), prefix_caching_(prefix_caching), pool_(pages), index_(pages, page_size) {}

int32_t KvCacheManager::attach_prefix(PageTable& table, std::span<const int32_t> tokens, int32_t end) {
  table.chain = table.root;
  table.published = 0;
  if (!prefix_caching_ || !table.cacheable) return 0;
  for (int32_t begin = 0; begin + page_size_ <= end; begin += page_size_) {
    const PageId page = index_.find(table.chain, tokens.subspan(begin, page_size_), &table.chain);
    if (page < 0) break;
    pool_.add_reference(page);
    table.pages.push_back(page);
    ++table.published;
  }
  return table.published * page_size_;
}

int32_t KvCacheManager::missing(const PageTable& table, int32_t positions) const {
  return std::max(0, pages_for(positions) - static_cast<int32_t>(table.pages.size()));
}

bool KvCacheManager::grow(PageTable& table, int32_t positions) {
  const int32_t count = missing(table, positions);
  if (count > pool_.free_count()) return false;
  for (int32_t i = 0; i < count; ++i) {
    const PageId page = pool_.take();
    index_.forget(page);
    table.pages.push_back(page);
  }
  return true;
}

void KvCacheManager::publish(PageTable& table, std::span<const int32_t> tokens, int32_t stored_end) {
  if (!prefix_caching_ || !table.cacheable) return;
  while ((table.published + 1) * page_size_ <= stored_end) {
    const auto content = tokens.subspan(static_cast<size_t>(table.published) * page_size_, page_size_);
    table.chain = index_.publish(table.pages[table.published], table.chain, content);
    ++table.published;
  }
}

void KvCacheManager::release(PageTable& table) {
  for (size_t i = table.pages.size(); i-- > 0;) pool_.release(table.pages[i]);
  table.pages.clear();
  table.published = 0;
  table.chain = table.root;
}

}  // namespace diffulex

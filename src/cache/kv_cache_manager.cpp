#include "cache/kv_cache_manager.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace diffulex {

KvCacheManager::KvCacheManager(int32_t pages, int page_size, bool prefix_caching)
    : page_size_(page_size),
      prefix_caching_(prefix_caching),
      pool_(pages),
      index_(pages, page_size),
      pin_counts_(static_cast<size_t>(pages), 0) {}

template <class Visit>
ChainLink KvCacheManager::walk(std::span<const int32_t> tokens, ChainLink chain,
                               Visit&& visit) const {
  const auto size = static_cast<size_t>(page_size_);
  for (size_t begin = 0; prefix_caching_ && begin + size <= tokens.size(); begin += size) {
    const PageId page = index_.find(chain, tokens.subspan(begin, size), &chain);
    if (page < 0) break;
    visit(page);
  }
  return chain;
}

int32_t KvCacheManager::attach_prefix(PageTable& table, std::span<const int32_t> tokens,
                                      int32_t end) {
  table.chain = table.root;
  table.published = 0;
  if (!table.cacheable || end <= 0) return 0;
  table.chain = walk(tokens.first(static_cast<size_t>(end)), table.root, [&](PageId page) {
    pool_.add_reference(page);
    table.pages.push_back(page);
    ++table.published;
  });
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
    counters_.evicted += index_.published(page) ? 1 : 0;
    index_.forget(page);
    table.pages.push_back(page);
  }
  return true;
}

void KvCacheManager::shrink(PageTable& table, int32_t positions) {
  const auto kept = static_cast<size_t>(std::max(pages_for(positions), table.published));
  while (table.pages.size() > kept) {
    pool_.put_back(table.pages.back());
    table.pages.pop_back();
  }
}

void KvCacheManager::publish(PageTable& table, std::span<const int32_t> tokens,
                             int32_t stored_end) {
  if (!prefix_caching_ || !table.cacheable) return;
  while ((table.published + 1) * page_size_ <= stored_end) {
    const auto content =
        tokens.subspan(static_cast<size_t>(table.published) * page_size_, page_size_);
    const int32_t before = index_.count();
    table.chain = index_.publish(table.pages[table.published], table.chain, content, step_);
    counters_.stored += static_cast<uint64_t>(index_.count() - before);
    ++table.published;
  }
}

void KvCacheManager::release(PageTable& table) {
  for (size_t i = table.pages.size(); i-- > 0;) pool_.release(table.pages[i]);
  table.pages.clear();
  table.published = 0;
  table.chain = table.root;
}

void KvCacheManager::count_reuse(const PageTable& table) {
  for (int32_t i = 0; i < table.published; ++i) index_.use(table.pages[i], step_);
  counters_.reused += static_cast<uint64_t>(table.published);
}

int32_t KvCacheManager::match(std::span<const int32_t> tokens, const ChainLink& root) const {
  int32_t pages = 0;
  walk(tokens, root, [&](PageId) { ++pages; });
  return pages * page_size_;
}

uint64_t KvCacheManager::pin(std::span<const int32_t> tokens, const ChainLink& root, int32_t keep,
                             int32_t* positions) {
  Pin pin{last_pin_ + 1, {}};
  int32_t fresh = 0;
  walk(tokens, root, [&](PageId page) {
    pin.pages.push_back(page);
    fresh += pin_counts_[page] == 0 ? 1 : 0;
  });
  *positions = static_cast<int32_t>(pin.pages.size()) * page_size_;
  if (pin.pages.empty()) return 0;
  const int32_t left = total_pages() - pinned_pages_ - fresh;
  if (left < keep)
    throw Error(DIFFULEX_E_HOST_MEMORY, "pinning " + std::to_string(fresh) + " more pages leaves " +
                                            std::to_string(left) +
                                            "; a request of max_model_len needs " +
                                            std::to_string(keep) + ": raise kv_bytes")
        .with("option", "kv_bytes");
  pins_.push_back(std::move(pin));
  for (const PageId page : pins_.back().pages) {
    pool_.add_reference(page);
    ++pin_counts_[page];
  }
  pinned_pages_ += fresh;
  return ++last_pin_;
}

bool KvCacheManager::unpin(uint64_t id) {
  const auto same = [id](const Pin& pin) { return pin.id == id; };
  const auto at = std::find_if(pins_.begin(), pins_.end(), same);
  if (at == pins_.end()) return false;
  for (size_t i = at->pages.size(); i-- > 0;) {
    const PageId page = at->pages[i];
    pool_.release(page);
    if (--pin_counts_[page] == 0) --pinned_pages_;
  }
  pins_.erase(at);
  return true;
}

void KvCacheManager::clear() {
  for (PageId page = 0; page < total_pages(); ++page) {
    if (pin_counts_[page] > 0 || !index_.published(page)) continue;
    index_.forget(page);
    ++counters_.evicted;
  }
}

}  // namespace diffulex

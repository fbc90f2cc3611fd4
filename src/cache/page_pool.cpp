#include "cache/page_pool.h"

namespace diffulex {

PagePool::PagePool(int32_t pages) : nodes_(static_cast<size_t>(pages) + 1), free_count_(pages) {
  for (int32_t i = 0; i <= pages; ++i) {
    nodes_[i].previous = i == 0 ? pages : i - 1;
    nodes_[i].next = i == pages ? 0 : i + 1;
  }
}

void PagePool::unlink(PageId page) {
  Node& node = nodes_[page];
  nodes_[node.previous].next = node.next;
  nodes_[node.next].previous = node.previous;
  --free_count_;
}

PageId PagePool::take() {
  if (free_count_ == 0) return -1;
  const PageId page = nodes_[size()].next;
  unlink(page);
  nodes_[page].references = 1;
  return page;
}

void PagePool::add_reference(PageId page) {
  if (nodes_[page].references == 0) unlink(page);
  ++nodes_[page].references;
}

void PagePool::link(PageId page, int32_t before) {
  const int32_t previous = nodes_[before].previous;
  nodes_[page].previous = previous;
  nodes_[page].next = before;
  nodes_[previous].next = page;
  nodes_[before].previous = page;
  ++free_count_;
}

void PagePool::release(PageId page) {
  if (--nodes_[page].references == 0) link(page, size());
}

void PagePool::put_back(PageId page) {
  if (--nodes_[page].references == 0) link(page, nodes_[size()].next);
}

}  // namespace diffulex

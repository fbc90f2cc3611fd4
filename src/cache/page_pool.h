// Reference counts of KV pages and the order in which free ones are reused: least recently released
// first, O(1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace diffulex {

using PageId = int32_t;

// Not thread-safe: the engine's owner thread only.
class PagePool {
 public:
  explicit PagePool(int32_t pages);

  int32_t size() const { return static_cast<int32_t>(nodes_.size()) - 1; }
  int32_t free_count() const { return free_count_; }
  int32_t references(PageId page) const { return nodes_[page].references; }

  // Hands out the least recently released free page with one reference; -1 when none is free.
  PageId take();
  // One more reference; takes the page off the free list when it had none.
  void add_reference(PageId page);
  // One reference less; at zero the page joins the tail of the free list, its content intact.
  void release(PageId page);
  // The same for a page that was taken and not used: it joins the head of the free list.
  void put_back(PageId page);

 private:
  struct Node {
    int32_t references = 0;
    int32_t previous = 0;  // in the free list
    int32_t next = 0;
  };
  void unlink(PageId page);
  void link(PageId page, int32_t before);

  std::vector<Node> nodes_;  // [size()] is the free list's head
  int32_t free_count_ = 0;
};

}  // namespace diffulex

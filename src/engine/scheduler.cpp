#include "engine/scheduler.h"

#include <algorithm>

#include "decide/multi_block.h"

namespace diffulex {
namespace {

using Requests = std::vector<std::unique_ptr<Request>>;

// Inserts by rank, behind those of the same rank. The caller has made room.
void insert_forwards(Requests& queue, std::unique_ptr<Request> request) {
  const auto before = [](int64_t rank, const std::unique_ptr<Request>& r) {
    return rank < r->rank;
  };
  const auto at = std::upper_bound(queue.begin(), queue.end(), request->rank, before);
  queue.insert(at, std::move(request));
}

// The same for a queue whose first is at the back.
void insert_backwards(Requests& queue, std::unique_ptr<Request> request) {
  const auto after = [](const std::unique_ptr<Request>& r, int64_t rank) { return r->rank > rank; };
  const auto at = std::lower_bound(queue.begin(), queue.end(), request->rank, after);
  queue.insert(at, std::move(request));
}

size_t index_of(const Requests& queue, uint64_t id) {
  const auto same = [id](const std::unique_ptr<Request>& r) { return r->id == id; };
  return static_cast<size_t>(std::find_if(queue.begin(), queue.end(), same) - queue.begin());
}

// Rows that the window may take in the next forward.
int32_t window_room(const Request& request) {
  const int32_t blocks = std::min(request.window.valid + 1, request.spec.blocks.buffer_blocks);
  return blocks * request.block_size();
}

// Readies the request's window and adds it to its rows.
void cover_window(ScheduledRequest& row, bool prefix_cached) {
  Request& request = *row.request;
  const decide::WindowPart part =
      decide::enter_forward(request.spec.blocks, request.window, prefix_cached);
  row.aged = true;
  row.opened = part.opened;
  if (part.rows == 0) return;
  row.window_offset = row.rows;
  row.stored_blocks = part.stored_blocks;
  row.store_len += part.stored_blocks * request.block_size();
  row.rows += part.rows;
}

// Whether the request's next steps follow from this one: it decodes, and not for the first time
// (whoever reads a prompt in both directions may do so in that forward).
bool can_go_on(const ScheduledRequest& row) {
  return row.window_offset == 0 && row.request->window.forwards > 0 && row.request->decides_alone();
}

// Positions that the next `steps` steps of a decoding request may store, at most.
int32_t positions_ahead(const Request& request, int steps) {
  return decide::stored_bound(request.spec.blocks, request.window, steps);
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits, KvCacheManager& cache)
    : limits_(limits), cache_(cache) {
  for (int32_t slot = limits.max_requests; slot-- > 0;) free_slots_.push_back(slot);
  const auto most = static_cast<size_t>(limits.max_requests);
  running_.reserve(most);
  schedule_.rows.reserve(most);
  schedule_.admitted.reserve(most);
  schedule_.preempted.reserve(most);
}

void Scheduler::add(std::unique_ptr<Request>&& request) {
  const size_t most = waiting_.size() + 1 + running_.capacity();  // everybody may be preempted
  if (waiting_.capacity() < most) waiting_.reserve(2 * most);
  if (request->spec.deadline_ns != 0) deadlines_.emplace(request->spec.deadline_ns, request->id);
  request->rank = arrivals_++ - kHeadStart * request->spec.priority;
  insert_backwards(waiting_, std::move(request));
}

size_t Scheduler::running_index(uint64_t id) const { return index_of(running_, id); }

std::unique_ptr<Request> Scheduler::take_running(size_t index) {
  std::unique_ptr<Request> request = std::move(running_[index]);
  running_.erase(running_.begin() + static_cast<ptrdiff_t>(index));
  cache_.release(request->pages);
  free_slots_.push_back(request->slot);
  request->drop_cache();
  return request;
}

std::unique_ptr<Request> Scheduler::take_waiting(size_t index) {
  std::unique_ptr<Request> request = std::move(waiting_[index]);
  waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(index));
  preempted_ -= request->preempted ? 1 : 0;
  return request;
}

void Scheduler::forget_deadline(const Request& request) {
  if (request.spec.deadline_ns != 0) deadlines_.erase({request.spec.deadline_ns, request.id});
}

std::unique_ptr<Request> Scheduler::remove(uint64_t id) {
  std::unique_ptr<Request> request;
  if (const size_t r = running_index(id); r < running_.size())
    request = take_running(r);
  else if (const size_t w = index_of(waiting_, id); w < waiting_.size())
    request = take_waiting(w);
  else
    return nullptr;
  forget_deadline(*request);
  request->phase = Phase::kFinished;
  return request;
}

std::unique_ptr<Request> Scheduler::remove_late(uint64_t now_ns) {
  if (deadlines_.empty() || deadlines_.begin()->first > now_ns) return nullptr;
  return remove(deadlines_.begin()->second);
}

std::unique_ptr<Request> Scheduler::remove_first() {
  if (!running_.empty()) return remove(running_.front()->id);
  return waiting_.empty() ? nullptr : remove(waiting_.back()->id);
}

std::unique_ptr<Request> Scheduler::remove_last() {
  return running_.empty() ? nullptr : remove(running_.back()->id);
}

size_t Scheduler::victim(size_t first) const {
  size_t best = first;
  for (size_t i = first + 1; i < running_.size(); ++i) {
    const Request &a = *running_[i], &b = *running_[best];
    if (std::pair(a.spec.priority, a.cached) <= std::pair(b.spec.priority, b.cached)) best = i;
  }
  return best;
}

// The victim goes back to its place in the queue. Its window is kept as it is, final but unstored
// blocks included: the rebuild computes the positions below the window, and the first decode step
// stores those blocks as it would have.
void Scheduler::preempt(size_t running_index) {
  std::unique_ptr<Request> victim = take_running(running_index);
  victim->phase = Phase::kWaiting;
  victim->preempted = true;
  ++victim->preemptions;
  schedule_.preempted.push_back(victim.get());
  ++preempted_;
  insert_backwards(waiting_, std::move(victim));
}

// Makes sure that running_[index] owns pages for `positions`, at the cost of requests behind
// it, which have no part in this step yet. False when even that is not enough.
bool Scheduler::make_room(size_t index, int32_t positions) {
  Request& request = *running_[index];
  while (!cache_.grow(request.pages, positions)) {
    if (index + 1 >= running_.size()) return false;
    preempt(victim(index + 1));
  }
  return true;
}

// The first time, the window goes along. When the prompt is computed again it does not: its blocks
// are denoised under another mask. But the prompt tokens in it do, as keys.
int32_t Scheduler::whole_prompt_rows(const Request& request) {
  if (!request.whole_prompt || request.cached >= request.prompt_end()) return 0;
  const bool again = request.window.forwards > 0;
  return again ? request.window.prompt_len : request.prompt_end() + window_room(request);
}

// Gives a request with pages its rows: what is missing below the window, then the window itself.
bool Scheduler::place(Request& request, int32_t& budget) {
  const int32_t b = request.block_size();
  const int32_t missing = request.window.left - request.cached;
  ScheduledRequest row{&request, 0, 0, -1, 0};
  const int32_t whole = whole_prompt_rows(request);
  if (whole > budget) return false;
  const bool again = whole > 0 && request.window.forwards > 0;
  row.rows = again ? whole : std::min(missing, budget / b * b);
  row.store_len = again ? request.prompt_end() : row.rows;
  if (!again && row.rows == missing && row.rows + window_room(request) <= budget)
    cover_window(row, missing == 0);
  if (row.rows == 0) return false;
  budget -= row.rows;
  schedule_.rows.push_back(row);
  return true;
}

// Admits the request at the front of the queue when its committed prefix fits, leaving one page for
// each running request.
bool Scheduler::admit_front(int32_t& budget) {
  Request& request = *waiting_.back();
  if (free_slots_.empty() || budget < request.block_size()) return false;
  const std::span<const int32_t> tokens = request.tokens();
  // A model that shifts reads the row in front of the window: one forward must compute it.
  const int32_t reusable = request.window.left - request.spec.blocks.shift;
  const int32_t hits = cache_.attach_prefix(request.pages, tokens, reusable);
  const int32_t positions = request.window.left + request.to_cache_blocks() * request.block_size();
  const auto reserve = static_cast<int32_t>(running_.size());
  const bool fits = cache_.missing(request.pages, positions) + reserve <= cache_.free_pages();
  if (!fits || !cache_.grow(request.pages, positions)) {
    cache_.release(request.pages);
    return false;
  }
  request.slot = free_slots_.back();
  free_slots_.pop_back();
  request.cached = hits;
  request.prefix_hits = hits;
  request.phase = Phase::kRunning;
  cache_.count_reuse(request.pages);
  insert_forwards(running_, take_waiting(waiting_.size() - 1));
  request.preempted = false;
  schedule_.admitted.push_back(&request);
  place(request, budget);
  return true;
}

const Schedule& Scheduler::schedule() {
  schedule_.rows.clear();
  schedule_.admitted.clear();
  schedule_.preempted.clear();
  return_spare_pages();
  int32_t budget = limits_.max_batched_tokens;
  // Decoding first: the budget holds a full window for every running request, so none of them waits
  // for a prompt that can be computed in chunks. For one that cannot, its rows are kept free.
  int32_t reserved = 0;
  for (size_t i = 0; i < running_.size() && reserved == 0; ++i)
    reserved = whole_prompt_rows(*running_[i]);
  budget -= reserved;
  for (size_t i = 0; i < running_.size(); ++i) {
    Request& request = *running_[i];
    if (!request.prefilled()) continue;
    const int32_t stored = request.to_cache_blocks() * request.block_size();
    if (make_room(i, request.window.left + stored)) place(request, budget);
  }
  // Prompts and rebuilds own their pages since admission.
  budget += reserved;
  for (const std::unique_ptr<Request>& request : running_)
    if (!request->prefilled()) place(*request, budget);
  if (schedule_.rows.empty() && running_.size() > 1) preempt(victim(1));
  while (!waiting_.empty() && schedule_.preempted.empty() && admit_front(budget)) {
  }
  return schedule_;
}

int Scheduler::reserve_ahead(int most) {
  const bool admits = !waiting_.empty() && !free_slots_.empty();
  const bool all_run = schedule_.rows.size() == running_.size();
  if (admits || !all_run || !std::ranges::all_of(schedule_.rows, can_go_on)) return 0;
  const auto free = cache_.free_pages() - static_cast<int32_t>(running_.size());
  const auto missing = [this](int steps) {
    int64_t pages = 0;
    for (const std::unique_ptr<Request>& r : running_)
      pages += cache_.missing(r->pages, positions_ahead(*r, steps));
    return pages;
  };
  while (most > 0 && missing(most) > std::max(free, 0)) most /= 2;
  for (size_t i = 0; most > 0 && i < running_.size(); ++i)
    cache_.grow(running_[i]->pages, positions_ahead(*running_[i], most));
  spare_pages_ = most > 0;
  return most;
}

void Scheduler::return_spare_pages() {
  if (!spare_pages_) return;
  for (const std::unique_ptr<Request>& r : running_) {
    cache_.shrink(r->pages, r->window.left + r->to_cache_blocks() * r->block_size());
    r->sent_pages = std::min(r->sent_pages, static_cast<int32_t>(r->pages.pages.size()));
  }
  spare_pages_ = false;
}

bool Scheduler::follow() {
  schedule_.admitted.clear();
  schedule_.preempted.clear();
  bool any = false;
  for (ScheduledRequest& row : schedule_.rows) {
    row = ScheduledRequest{row.request};
    if (row.request == nullptr) continue;
    cover_window(row, true);
    any = true;
  }
  return any;
}

void Scheduler::drop_scheduled(std::vector<std::unique_ptr<Request>>& finished) {
  for (const ScheduledRequest& row : schedule_.rows)
    if (row.request != nullptr) finished.push_back(remove(row.request->id));
  schedule_.rows.clear();
}

void Scheduler::undo() {
  for (const ScheduledRequest& row : schedule_.rows)
    if (row.request != nullptr && row.aged) decide::close_block(row.request->window, row.opened);
  schedule_.rows.clear();
}

void Scheduler::settle(std::vector<std::unique_ptr<Request>>& finished) {
  for (ScheduledRequest& row : schedule_.rows) {
    if (row.request == nullptr) continue;
    Request& request = *row.request;
    cache_.publish(request.pages, request.tokens(), request.cached);
    if (request.window.finish != decide::kRunning) row.request = nullptr;
  }
  for (size_t i = running_.size(); i-- > 0;) {
    if (running_[i]->window.finish == decide::kRunning) continue;
    running_[i]->phase = Phase::kFinished;
    forget_deadline(*running_[i]);
    finished.push_back(take_running(i));
  }
}

}  // namespace diffulex

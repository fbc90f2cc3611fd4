#include "client.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

namespace diffulex_soak {
namespace {

constexpr size_t kMostLive = 8, kMostConversations = 16;
constexpr uint32_t kLongestNew = 200;  // prompt tokens that no earlier request had

}  // namespace

Client::Client(World& world, Ledger& ledger, Findings& findings, uint64_t seed)
    : world_(world), ledger_(ledger), findings_(findings), random_(seed) {}

void Client::run() {
  while (!world_.stop.load() && world_.budget.load() > 0) {
    act();
    close_ended();
    std::this_thread::sleep_for(std::chrono::microseconds(random_.below(2000)));
  }
  unpin();
}

void Client::act() {
  if (live_.size() < kMostLive && random_.chance(0.5f)) submit();
  if (!live_.empty()) {
    Live& request = live_[random_.below(static_cast<uint32_t>(live_.size()))];
    if (random_.chance(0.3f)) look_at(request);
    if (random_.chance(0.2f)) look_at_canvas(request);
    if (random_.chance(0.004f)) (void)diffulex_request_abort(world_.engine, request.id);
  }
  if (random_.chance(0.05f)) look_at_engine();
  if (random_.chance(0.05f)) use_cache();
}

// New tokens, behind a prefix that others have too, or behind an earlier answer.
Tokens Client::next_prompt() {
  Tokens prompt;
  const float kind = random_.unit();
  if (kind < 0.4f) {
    prompt = world_.prefixes[random_.below(static_cast<uint32_t>(world_.prefixes.size()))];
  } else if (kind < 0.7f && !conversations_.empty()) {
    const size_t which = random_.below(static_cast<uint32_t>(conversations_.size()));
    prompt = std::move(conversations_[which]);
    conversations_.erase(conversations_.begin() + static_cast<ptrdiff_t>(which));
  }
  const auto room = static_cast<uint32_t>(world_.max_prompt - prompt.size());
  const uint32_t count = random_.between(1, std::min(kLongestNew, room));
  const Tokens more = random_tokens(random_, world_.vocabulary, count);
  prompt.insert(prompt.end(), more.begin(), more.end());
  return prompt;
}

void Client::submit() {
  if (world_.budget.fetch_sub(1) <= 0) return;
  RandomRequest wish = random_request(random_, world_.vocabulary, next_prompt());
  diffulex_error* error = nullptr;
  Live request;
  const diffulex_status status = diffulex_request_submit(
      world_.engine, wish.prompt.data(), wish.prompt.size(), wish.pointed(), &request.id, &error);
  if (status != DIFFULEX_OK) ++world_.budget;
  if (status == DIFFULEX_E_QUEUE_FULL) ledger_.refused();
  if (status == DIFFULEX_OK) ledger_.submitted();
  if (!fine(status, error, "submit", {DIFFULEX_E_QUEUE_FULL})) return;
  request.prompt = std::move(wish.prompt);
  live_.push_back(std::move(request));
}

void Client::look_at(Live& request) {
  (void)read_tokens(request);
  (void)read_text(request);
  diffulex_request_info info{};
  info.struct_size = sizeof(info);
  diffulex_error* error = nullptr;
  if (!fine(diffulex_request_get_info(world_.engine, request.id, &info, &error), error, "get_info"))
    return;
  findings_.expect(info.committed_len >= request.output.size(), "info is behind the tokens");
  findings_.expect(info.prompt_len == request.prompt.size(), "the prompt has another length");
}

// All that there are; S_END when there will be no more.
diffulex_status Client::read_tokens(Live& request) {
  diffulex_token piece[32];
  while (true) {
    size_t count = 0;
    diffulex_error* error = nullptr;
    const diffulex_status status = diffulex_request_read_tokens(
        world_.engine, request.id, request.output.size(), piece, std::size(piece), &count, &error);
    if (!fine(status, error, "read_tokens")) return status;
    request.output.insert(request.output.end(), piece, piece + count);
    if (status == DIFFULEX_S_END || count == 0) return status;
  }
}

diffulex_status Client::read_text(Live& request) {
  char piece[64];
  while (true) {
    size_t size = 0;
    diffulex_error* error = nullptr;
    const diffulex_status status = diffulex_request_read_text(
        world_.engine, request.id, request.text_bytes, piece, sizeof(piece), &size, &error);
    if (!fine(status, error, "read_text")) return status;
    request.text_bytes += size;
    if (status == DIFFULEX_S_END || size == 0) return status;
  }
}

void Client::look_at_canvas(const Live& request) {
  diffulex_snapshot snapshot{};
  snapshot.struct_size = sizeof(snapshot);
  diffulex_slot slots[64];
  diffulex_block blocks[8];
  diffulex_error* error = nullptr;
  if (!fine(diffulex_request_snapshot(world_.engine, request.id, &snapshot, slots, sizeof(slots[0]),
                                      std::size(slots), blocks, sizeof(blocks[0]),
                                      std::size(blocks), &error),
            error, "snapshot"))
    return;
  findings_.expect(snapshot.committed_len >= request.output.size(),
                   "the canvas is behind the tokens");
  const size_t count = std::min<size_t>(snapshot.slot_count, std::size(slots));
  for (size_t i = 0; i < count; ++i)
    findings_.expect((slots[i].state == DIFFULEX_SLOT_EMPTY) == (slots[i].token == -1),
                     "a slot is empty and has a token, or neither");
}

void Client::look_at_engine() {
  diffulex_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  diffulex_error* error = nullptr;
  if (fine(diffulex_engine_get_stats(world_.engine, &stats, &error), error, "get_stats"))
    findings_.expect(stats.kv_pages_free <= stats.kv_pages_total, "more pages free than there are");
  diffulex_step_stats steps[16];
  size_t count = 0;
  const uint64_t first = stats.steps > std::size(steps) ? stats.steps - std::size(steps) : 0;
  (void)fine(diffulex_engine_read_steps(world_.engine, first, steps, sizeof(steps[0]),
                                        std::size(steps), &count, &error),
             error, "read_steps");
}

void Client::use_cache() {
  const Tokens& prefix =
      world_.prefixes[random_.below(static_cast<uint32_t>(world_.prefixes.size()))];
  diffulex_error* error = nullptr;
  size_t count = 0;
  (void)fine(
      diffulex_cache_match(world_.engine, prefix.data(), prefix.size(), nullptr, &count, &error),
      error, "cache_match");
  findings_.expect(count <= prefix.size(), "the cache knows more tokens than it was asked for");
  (void)fine(
      diffulex_cache_list(world_.engine, nullptr, sizeof(diffulex_cache_entry), 0, &count, &error),
      error, "cache_list", {DIFFULEX_E_BUFFER_TOO_SMALL});
  if (pin_ != 0) {
    unpin();
  } else if (random_.chance(0.3f)) {
    (void)fine(diffulex_cache_pin(world_.engine, prefix.data(), prefix.size(), nullptr, &pin_,
                                  nullptr, &error),
               error, "cache_pin", {DIFFULEX_E_NOT_FOUND, DIFFULEX_E_HOST_MEMORY});
  }
  if (random_.chance(0.05f))
    (void)fine(diffulex_cache_clear(world_.engine, &error), error, "cache_clear");
}

void Client::unpin() {
  if (pin_ == 0) return;
  diffulex_error* error = nullptr;
  (void)fine(diffulex_cache_unpin(world_.engine, std::exchange(pin_, 0), &error), error,
             "cache_unpin");
}

void Client::close_ended() {
  for (Live& request : live_)
    if (ledger_.ended(request.id)) close(request);
  std::erase_if(live_, [](const Live& request) { return request.id == 0; });
}

void Client::close(Live& request) {
  const std::string who = "request " + std::to_string(request.id) + ": ";
  findings_.expect(read_tokens(request) == DIFFULEX_S_END, who + "its tokens have no end");
  findings_.expect(read_text(request) == DIFFULEX_S_END, who + "its text has no end");
  diffulex_request_info info{};
  info.struct_size = sizeof(info);
  diffulex_error* error = nullptr;
  (void)fine(diffulex_request_get_info(world_.engine, request.id, &info, &error), error,
             "get_info");
  const LedgerEntry entry = ledger_.close(request.id, request.output.size());
  findings_.expect(info.state == DIFFULEX_REQ_FINISHED, who + "ended and runs");
  findings_.expect(info.finish == entry.finish, who + "its info gives another reason");
  findings_.expect(
      info.committed_len == request.output.size() && entry.committed == request.output.size(),
      who + "tokens, info and events count differently");
  findings_.expect(
      std::count(request.output.begin(), request.output.end(), world_.vocabulary.mask) == 0,
      who + "a mask was committed");
  findings_.expect(diffulex_request_release(world_.engine, request.id) == DIFFULEX_OK,
                   who + "cannot be released");
  remember(request);
  request.id = 0;
}

void Client::remember(const Live& request) {
  Tokens all = request.prompt;
  all.insert(all.end(), request.output.begin(), request.output.end());
  if (all.size() + 1 >= world_.max_prompt) return;
  if (conversations_.size() == kMostConversations) conversations_.erase(conversations_.begin());
  conversations_.push_back(std::move(all));
}

bool Client::fine(diffulex_status status, diffulex_error* const& error, const char* call,
                  std::initializer_list<diffulex_status> allowed) {
  if (status >= 0) return true;
  if (std::find(allowed.begin(), allowed.end(), status) == allowed.end())
    findings_.add(std::string(call) + ": " + diffulex_error_message(error));
  diffulex_error_free(error);
  return false;
}

}  // namespace diffulex_soak

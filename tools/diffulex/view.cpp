#include "view.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "terminal.h"

namespace diffulex_command {
namespace {

uint64_t now_ns() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

// Colour of a slot: committed plain, tentative by confidence, empty dim.
const char* colour_of(const diffulex_slot& slot) {
  if (slot.state == DIFFULEX_SLOT_COMMITTED) return "";
  if (slot.token < 0) return "\x1b[2m";
  if ((slot.flags & DIFFULEX_SLOT_REVEALED) != 0) return "\x1b[1;33m";
  return slot.confidence > 0.9f ? "\x1b[32m" : "\x1b[36m";
}

int columns_of(const std::string& text) {  // one per code point: enough for what a canvas shows
  int columns = 0;
  for (const char c : text) columns += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  return columns;
}

}  // namespace

ViewKind view_kind(const std::string& name) {
  if (name == "live") return ViewKind::kLive;
  if (name == "plain") return ViewKind::kPlain;
  if (name == "none") return ViewKind::kNone;
  return isatty(STDOUT_FILENO) != 0 ? ViewKind::kLive : ViewKind::kPlain;
}

void View::clear_drawing() {
  if (lines_drawn_ > 1) std::printf("\x1b[%dA", lines_drawn_ - 1);
  if (lines_drawn_ > 0) std::printf("\r\x1b[J");
  lines_drawn_ = 0;
}

// The output's slots, block by block, wrapped at the terminal's width.
std::string View::canvas(int columns) {
  const bool colours = colours_wanted();
  std::string out;
  int used = 0;
  lines_drawn_ = 1;
  const auto put = [&](const std::string& text, const char* colour) {
    const int width = columns_of(text);
    if (used + width > columns) {
      out += "\n";
      ++lines_drawn_;
      used = 0;
    }
    if (colours && *colour != '\0') out += colour;
    out += text;
    if (colours && *colour != '\0') out += "\x1b[0m";
    used += width;
  };
  for (const diffulex_block& block : blocks_) {
    const bool open = block.state < DIFFULEX_BLOCK_COMMITTED;
    if (open) put("▏", "\x1b[2m");
    for (uint32_t i = 0; i < block.length; ++i) {
      const size_t index = block.start - snapshot_.first_position + i;
      if (index >= slots_.size()) break;
      const diffulex_slot& slot = slots_[index];
      if ((slot.flags & DIFFULEX_SLOT_PROMPT) != 0) continue;
      std::string text = slot.token < 0 ? "░░ " : session_.token_text(slot.token);
      for (char& c : text)
        if (c == '\n' || c == '\t' || c == '\r') c = ' ';
      put(text, colour_of(slot));
    }
  }
  return out;
}

std::string View::status(const diffulex_request_info& info, bool last) const {
  const double seconds = static_cast<double>(now_ns() - started_ns_) * 1e-9;
  char line[256];
  std::snprintf(line, sizeof(line), "step %u | %u blocks active | %u tokens | %.2f tokens per denoising forward | %.0f tokens/s%s%s",
                info.steps, info.active_blocks, info.committed_len,
                info.denoise_steps > 0 ? static_cast<double>(info.committed_len) / info.denoise_steps : 0.0,
                seconds > 0 ? info.committed_len / seconds : 0.0, last ? " | " : "", last ? finish_name(info.finish) : "");
  return line;
}

void View::draw(diffulex_request_id id, bool last) {
  const diffulex_request_info info = session_.info(id);
  clear_drawing();
  const int columns = terminal_columns();
  if (last) {
    std::printf("%s\n", session_.text(id).c_str());
    if (status_line_) std::printf("%s%s%s\n", colours_wanted() ? "\x1b[2m" : "", status(info, true).c_str(), colours_wanted() ? "\x1b[0m" : "");
    std::fflush(stdout);
    return;
  }
  snapshot_.struct_size = sizeof(snapshot_);
  diffulex_error* error = nullptr;
  check(diffulex_request_snapshot(session_.engine(), id, &snapshot_, nullptr, 0, 0, nullptr, 0, 0, &error), error);
  slots_.resize(snapshot_.slot_count);
  blocks_.resize(snapshot_.block_count);
  check(diffulex_request_snapshot(session_.engine(), id, &snapshot_, slots_.data(), sizeof(diffulex_slot), slots_.size(), blocks_.data(),
                                  sizeof(diffulex_block), blocks_.size(), &error),
        error);
  const std::string picture = canvas(columns);
  std::printf("%s\n%.*s", picture.c_str(), columns - 1, status(info, false).c_str());
  ++lines_drawn_;
  std::fflush(stdout);
}

std::string View::run(diffulex_request_id id) {
  started_ns_ = now_ns();
  size_t shown = 0;
  if (kind_ == ViewKind::kLive) std::printf("\x1b[?25l");
  while (session_.step()) {
    if (interrupted()) {
      (void)diffulex_request_abort(session_.engine(), id);
      continue;
    }
    if (kind_ == ViewKind::kLive) draw(id, false);
    if (kind_ == ViewKind::kPlain) {
      const std::string fresh = session_.text(id, shown);
      std::fwrite(fresh.data(), 1, fresh.size(), stdout);
      std::fflush(stdout);
      shown += fresh.size();
    }
  }
  if (kind_ == ViewKind::kLive) {
    draw(id, true);
    std::printf("\x1b[?25h");
    std::fflush(stdout);
  }
  if (kind_ == ViewKind::kPlain) std::printf("%s\n", session_.text(id, shown).c_str());
  clear_interrupt();
  return session_.text(id);
}

}  // namespace diffulex_command

#include "view.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "slot_text.h"
#include "terminal.h"

namespace diffulex_command {
namespace {

constexpr char kDim[] = "2";
constexpr char kEmptySlot[] = "░░ ";
constexpr char kBoundary[] = "▏";

uint64_t now_ns() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

// From red (a guess) to green (sure); bold in the step that reveals the slot.
const char* colour_of(const diffulex_slot& slot) {
  const bool fresh = (slot.flags & DIFFULEX_SLOT_REVEALED) != 0;
  if (slot.confidence >= 0.9f) return fresh ? "1;32" : "32";
  if (slot.confidence >= 0.6f) return fresh ? "1;33" : "33";
  return fresh ? "1;31" : "31";
}

std::string without_newlines(std::string text) {
  for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos;) text.replace(at, 1, "↵");
  return text;
}

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

ViewKind view_kind(const std::string& name) {
  if (name == "live") return ViewKind::kLive;
  if (name == "plain") return ViewKind::kPlain;
  if (name == "none") return ViewKind::kNone;
  return stdout_is_terminal() ? ViewKind::kLive : ViewKind::kPlain;
}

View::~View() {
  if (lines_drawn_ > 0) print("\n");  // a failure is reported below the drawing
}

void View::take_committed(diffulex_request_id id) {
  committed_ += session_.text(id, committed_.size());
}

void View::take_snapshot(diffulex_request_id id) {
  snapshot_.struct_size = sizeof(snapshot_);
  diffulex_error* error = nullptr;
  const auto take = [&] {
    check(diffulex_request_snapshot(session_.engine(), id, &snapshot_, slots_.data(),
                                    sizeof(diffulex_slot), slots_.size(), blocks_.data(),
                                    sizeof(diffulex_block), blocks_.size(), &error),
          error);
  };
  take();
  if (snapshot_.slot_count > slots_.size() || snapshot_.block_count > blocks_.size()) {
    slots_.resize(snapshot_.slot_count);
    blocks_.resize(snapshot_.block_count);
    take();
  }
}

// What is behind the committed text, block by block.
void View::draw_tentative(Canvas& canvas) const {
  SlotText text(session_.tokenizer());
  const uint32_t committed_end = snapshot_.prompt_len + snapshot_.committed_len;
  for (uint32_t b = 0; b < snapshot_.block_count; ++b) {
    const diffulex_block& block = blocks_[b];
    const uint32_t end =
        std::min(block.start + block.length, snapshot_.first_position + snapshot_.slot_count);
    uint32_t position = std::max(block.start, committed_end);
    if (position >= end) continue;
    canvas.put(kBoundary, kDim);
    for (; position < end; ++position) {
      const diffulex_slot& slot = slots_[position - snapshot_.first_position];
      if (slot.token < 0) {
        canvas.put(text.end(), kDim);
        canvas.put(kEmptySlot, kDim);
      } else {
        canvas.put(without_newlines(text.next(slot.token)), colour_of(slot));
      }
    }
  }
  canvas.put(text.end(), kDim);
}

std::string View::status(const diffulex_request_info& info) const {
  const double seconds = static_cast<double>(now_ns() - started_ns_) * 1e-9;
  const double tokens = info.committed_len;
  char line[256];
  std::snprintf(line, sizeof(line),
                "step %u | %u blocks active | %u tokens | %.2f tokens per denoising forward | %.0f "
                "tokens/s",
                info.steps, info.active_blocks, info.committed_len,
                info.denoise_steps > 0 ? tokens / info.denoise_steps : 0.0,
                seconds > 0 ? tokens / seconds : 0.0);
  return line;
}

std::string View::erase_drawing() {
  std::string out = lines_drawn_ > 0 ? "\r" : "";
  if (lines_drawn_ > 1) out += "\x1b[" + std::to_string(lines_drawn_ - 1) + "A";
  if (lines_drawn_ > 0) out += "\x1b[J";
  lines_drawn_ = 0;
  return out;
}

void View::draw(diffulex_request_id id) {
  take_snapshot(id);
  const TerminalSize size = terminal_size(STDOUT_FILENO);
  Canvas canvas(size.columns, colours_wanted());
  canvas.put(committed_, "");
  draw_tentative(canvas);
  // A drawing taller than the terminal could not be erased: its end is shown.
  const size_t room = static_cast<size_t>(std::max(size.rows - 1, 1));
  const std::vector<std::string>& lines = canvas.lines();
  std::string frame = erase_drawing();
  for (size_t i = lines.size() > room ? lines.size() - room : 0; i < lines.size(); ++i) {
    frame += lines[i] + "\n";
    ++lines_drawn_;
  }
  frame += status(session_.info(id)).substr(0, static_cast<size_t>(size.columns - 1));
  ++lines_drawn_;
  print(frame);  // at once, or it flickers
}

void View::draw_result(diffulex_request_id id) {
  const diffulex_request_info info = session_.info(id);
  std::string out = erase_drawing() + committed_ + "\n";
  if (status_line_) {
    char end[128];
    std::snprintf(end, sizeof(end), " | %u prompt tokens, %u cached | %s", info.prompt_len,
                  info.cached_len, finish_name(info.finish));
    const bool dim = colours_wanted();
    out.append(dim ? "\x1b[2m" : "").append(status(info)).append(end);
    out.append(dim ? "\x1b[0m\n" : "\n");
  }
  print(out);
}

std::string View::run(diffulex_request_id id) {
  const HiddenCursor cursor(kind_ == ViewKind::kLive);
  started_ns_ = now_ns();
  while (session_.step()) {
    if (interrupted()) (void)diffulex_request_abort(session_.engine(), id);
    take_committed(id);
    if (kind_ == ViewKind::kLive) draw(id);
    if (kind_ == ViewKind::kPlain) {
      print(committed_.substr(printed_));
      printed_ = committed_.size();
    }
  }
  take_committed(id);
  if (kind_ == ViewKind::kLive) draw_result(id);
  if (kind_ == ViewKind::kPlain) print(committed_.substr(printed_) + "\n");
  return committed_;
}

}  // namespace diffulex_command

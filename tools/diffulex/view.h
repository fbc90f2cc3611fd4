// How a running request is shown: live (the canvas, redrawn after each step), plain (committed text
// as it comes), or not at all.
#pragma once

#include <string>
#include <vector>

#include "canvas.h"
#include "session.h"

namespace diffulex_command {

enum class ViewKind { kLive, kPlain, kNone };
ViewKind view_kind(const std::string& name);  // "auto": live on a terminal, plain elsewhere

// Runs a request to its end under a view; returns its committed text. An interruption aborts the
// request. One view per request.
class View {
 public:
  View(Session& session, ViewKind kind, bool status_line)
      : session_(session), kind_(kind), status_line_(status_line) {}
  ~View();
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  std::string run(diffulex_request_id id);

 private:
  void take_committed(diffulex_request_id id);
  void take_snapshot(diffulex_request_id id);
  void draw(diffulex_request_id id);
  void draw_result(diffulex_request_id id);
  void draw_tentative(Canvas& canvas) const;
  std::string erase_drawing();
  std::string status(const diffulex_request_info& info) const;

  Session& session_;
  ViewKind kind_;
  bool status_line_;
  std::string committed_;  // text so far
  size_t printed_ = 0;     // bytes of it that plain has printed
  diffulex_snapshot snapshot_{};
  std::vector<diffulex_slot> slots_;
  std::vector<diffulex_block> blocks_;
  size_t lines_drawn_ = 0;
  uint64_t started_ns_ = 0;
};

}  // namespace diffulex_command
